"""A VAE is p(z) = N(0, I), a decoder for p(x|z), and an encoder for q(z|x) = N(mean, exp(log_scale)^2)."""

from math import prod

from torch import Tensor, nn

from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC
from mcbits.exact.fixed import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.latents.vae import FrozenVAE
from mcbits.models.base import Model, normal_noise, standard_normal_log_prob
from mcbits.observations.base import ObservationModel


class VAE(Model):
    """A variational auto-encoder (Kingma & Welling 2014) with a diagonal Gaussian posterior.

    encoder: x (B, prod(shape)) -> (mean, log_scale), each (B, latent_dim).
    decoder: z (B, latent_dim) -> parameters of `observation`, (B, observation.num_parameters(prod(shape))).
    Both must be modules that torch.fx can trace, so that they can be frozen.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        shape: tuple[int, ...],
        latent_dim: int,
        observation: ObservationModel,
    ) -> None:
        super().__init__(shape=shape, latent_dim=latent_dim, observation=observation)
        self.encoder = encoder
        self.decoder = decoder

    def posterior_particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        """Draw z_1..z_N ~ q(z|x), reparameterised. Return z (B, N, latent_dim) and log q(z|x) in nats (B, N)."""
        mean, log_scale = self.encoder(x.flatten(1))
        noise = normal_noise(len(x), num_particles, self.latent_dim, mean, coupled)
        z = mean.unsqueeze(1) + log_scale.exp().unsqueeze(1) * noise
        log_q = standard_normal_log_prob(noise) - log_scale.sum(1, keepdim=True)
        return z, log_q

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x, z) in nats, (B, N), for x (B, *shape) and z (B, N, latent_dim). Calls the decoder once."""
        parameters = self.decoder(z.flatten(0, 1)).reshape(*z.shape[:2], -1)
        log_likelihood = self.observation.log_prob(parameters, x.flatten(1).unsqueeze(1))
        return log_likelihood + standard_normal_log_prob(z)

    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        z, log_q = self.posterior_particles(x, num_particles, coupled)
        log_joint = self.log_joint(x, z)
        if self.training and self.kl_weight is not None:
            log_joint = log_joint - (1 - self.kl_weight) * (standard_normal_log_prob(z) - log_q)
        return log_joint, log_q

    def freeze(self, backend: str = "numpy") -> FrozenVAE:
        x = FixedPoint(shape=(prod(self.shape),), frac=0, bound=self.observation.num_symbols - 1)
        z = FixedPoint(shape=(self.latent_dim,), frac=CENTRE_FRAC, bound=1024)
        networks = {
            "encoder": freeze(self.encoder, [x], [MEAN_FRAC, LOG_SCALE_FRAC]),
            "decoder": freeze(self.decoder, [z], [self.observation.frac_bits]),
        }
        return FrozenVAE.pack(networks, observation=self.observation, shape=self.shape, backend=backend)
