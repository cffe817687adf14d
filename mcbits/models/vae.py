"""A VAE is p(z) = N(0, I), a decoder for p(x|z), and an encoder for q(z|x) = N(mean, exp(log_scale)^2)."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from mcbits.errors import ModelError
from mcbits.models.observation import ObservationModel


class VAE(nn.Module):
    """Variational auto-encoder (Kingma & Welling 2014) with a diagonal Gaussian posterior.

    encoder: x (B, prod(shape)) -> (mean, log_scale), each (B, latent_dim).
    decoder: z (B, latent_dim) -> parameters of `observation`, (B, observation.num_parameters(prod(shape))).
    Both are ordinary modules that torch.fx can trace, so that they can be frozen.

    A subclass is constructed by `cls(shape=..., latent_dim=...)` and adds what else it needs to `get_config`.
    """

    name: str

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        shape: tuple[int, ...],
        latent_dim: int,
        observation: ObservationModel,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.observation = observation

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON only: `cls(**model.get_config())` has the same architecture."""
        return {"shape": list(self.shape), "latent_dim": self.latent_dim}

    @classmethod
    def from_published(cls, state_dict: dict[str, Tensor]) -> Self:
        """The model of a published `model.pt`; ModelError if its tensors are not this architecture's."""
        raise ModelError(f"there are no published checkpoints of {cls.name}; train one with mcbits train")

    def initialise_from_data(self, mean: Tensor) -> None:
        """Start from the data: mean is float (prod(shape),), the average x. By default nothing uses it."""

    def posterior_particles(
        self, x: Tensor, num_particles: int, coupled: bool = False
    ) -> tuple[Tensor, Tensor]:
        """z_1..z_N ~ q(z|x), reparameterised: (z (B, N, latent_dim), log q(z|x) (B, N)).

        coupled: z_i = mean + scale * Phi^-1((u + s_i) mod 1) with one u ~ U(0, 1)^latent_dim per image and
        the fixed shifts s_i of `mcbits.coders.coupling`, so that each z_i alone is a draw from q (Ruan et
        al. 2021, coupled importance sampling).
        """
        mean, log_scale = self.encoder(x.flatten(1))
        if coupled:
            noise = _coupled_noise(len(x), num_particles, self.latent_dim, mean)
        else:
            size = (len(x), num_particles, self.latent_dim)
            noise = torch.randn(size, dtype=mean.dtype, device=mean.device)
        z = mean.unsqueeze(1) + log_scale.exp().unsqueeze(1) * noise
        log_q = _standard_normal_log_prob(noise) - log_scale.sum(1, keepdim=True)
        return z, log_q

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats, (B, N), for x (B, *shape), z (B, N, latent_dim): one call of the decoder."""
        parameters = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        log_likelihood = self.observation.log_prob(parameters, x.flatten(1).unsqueeze(1))
        return log_likelihood + _standard_normal_log_prob(z)

    def log_weights(self, x: Tensor, num_particles: int, coupled: bool = False) -> Tensor:
        """log w_i = log p(x, z_i) - log q(z_i|x) in nats, (B, N), differentiable; Burda et al. 2016, eq. 8.

        x: float (B, *shape) or (B, prod(shape)) of symbols.
        """
        z, log_q = self.posterior_particles(x, num_particles, coupled)
        return self.log_joint(x, z) - log_q


def _standard_normal_log_prob(z: Tensor) -> Tensor:
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _coupled_noise(batch: int, num_particles: int, num_dims: int, like: Tensor) -> Tensor:
    from mcbits.coders.coupling import shifts

    s = torch.as_tensor(shifts(num_particles, num_dims), dtype=torch.float64, device=like.device)
    u = torch.rand(batch, 1, num_dims, dtype=torch.float64, device=like.device)
    # Half a step of the float64 uniform's grid, so that 0 has a finite quantile; the largest value has one.
    shifted = ((u + s) % 1.0).clamp(min=2.0**-54)
    noise: Tensor = torch.special.ndtri(shifted)
    return noise.to(like.dtype)
