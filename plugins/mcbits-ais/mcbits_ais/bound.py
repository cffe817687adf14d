"""AIS is the expected log weight of an annealed chain: the ELBO at T = 0, log p(x) for T -> infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from mcbits.bounds.base import Bound
from mcbits.errors import UsageError
from mcbits_ais.chains import flips
from mcbits_ais.schedules import inverse_temperatures

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.models.base import Model
    from mcbits.models.vae import VAE


class AIS(Bound):
    """The annealed-importance-sampling bound (Neal 2001); its negative is the ideal rate of BB-AIS (Ruan et al. 2021).

    More chains N only reduce the noise of the estimate. The chain takes the same steps as the coder, on quantiles of q
    in units of 2^-32 instead of the coder's precision. So, under the float network and the densities of z, the
    estimate is an unbiased one of minus the mean codelength of BB-AIS.
    Use it for evaluation only: gradients do not flow through the choices of a step, so training with it is biased.
    """

    name = "ais"

    def __init__(self, num_steps: int = 16, schedule: str = "linear"):
        self.num_steps, self.schedule = num_steps, schedule

    @classmethod
    def of(cls, coder: Any) -> Self:
        return cls(coder.num_steps, coder.schedule)

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        """Return the estimate in nats, (B,), for a VAE and x float (B, prod(shape)). Raises UsageError if not a VAE."""
        from mcbits.models.vae import VAE

        if not isinstance(model, VAE):
            raise UsageError(f"the bound ais needs a VAE, which {type(model).__name__} is not: choose another bound")
        weigh = _Weights(model, x.repeat_interleave(num_particles, 0))
        walk = self._metropolis_hastings if model.latent_dim == 1 else self._flips
        nats: Tensor = walk(weigh).unflatten(0, (len(x), num_particles)).mean(1)
        return nats

    def _metropolis_hastings(self, weigh: _Weights) -> Tensor:
        """Return sum_k (beta_{k+1} - beta_k) log w(z_k) in nats, (B,)."""
        import torch

        beta = (inverse_temperatures(self.num_steps + 1, self.schedule) * 2.0**-16).tolist()
        log_w = weigh(weigh.draw())
        bound: Tensor = beta[1] * log_w
        for k in range(1, self.num_steps + 1):
            proposed = weigh(weigh.draw())
            accepted = torch.rand_like(log_w).log() < beta[k] * (proposed - log_w)
            log_w = torch.where(accepted, proposed, log_w)
            bound = bound + (beta[k + 1] - beta[k]) * log_w
        return bound.squeeze(1)

    def _flips(self, weigh: _Weights) -> Tensor:
        """Return log w(z_0) in nats if T = 0, else sum_k (log sum_j w_j^beta_k - log sum_j w_j^beta_{k-1}), (B,)."""
        import torch

        beta = (inverse_temperatures(self.num_steps, self.schedule) * 2.0**-16).tolist()
        u = weigh.draw()
        s = torch.tensor(flips(len(beta), u.shape[2]), device=u.device)
        log_w = weigh(u)
        bound = torch.zeros_like(log_w[:, 0]) if self.num_steps else log_w[:, 0]
        for k in range(1, self.num_steps + 1):
            u_j = u ^ s[k]
            log_w_j = torch.cat([log_w, weigh(u_j[:, 1:])], 1)
            bound = bound + (beta[k] * log_w_j).logsumexp(1) - (beta[k - 1] * log_w_j).logsumexp(1)
            j = torch.distributions.Categorical(logits=beta[k] * log_w_j).sample().unsqueeze(1)
            u, log_w = u_j.take_along_dim(j.unsqueeze(2), 1), log_w_j.take_along_dim(j, 1)
        return bound


class _Weights:
    """The function log w in nats, of quantiles u of q(z|x): integers (B, N, latent_dim) in units of 2^-32."""

    def __init__(self, model: VAE, x: Tensor):
        self.model, self.x = model, x
        self.mean, self.log_scale = (each.unsqueeze(1) for each in model.encoder(x))

    def draw(self) -> Tensor:
        """Draw and return uniform u, (B, 1, latent_dim)."""
        import torch

        return torch.randint(1 << 32, self.mean.shape, device=self.mean.device)

    def __call__(self, u: Tensor) -> Tensor:
        from torch.special import ndtri

        from mcbits.models.base import standard_normal_log_prob

        noise = ndtri((u.double() + 0.5) * 2.0**-32).to(self.mean.dtype)
        log_q = standard_normal_log_prob(noise) - self.log_scale.sum(-1)
        log_w: Tensor = self.model.log_joint(self.x, self.mean + self.log_scale.exp() * noise) - log_q
        return log_w
