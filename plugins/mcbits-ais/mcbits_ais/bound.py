"""AIS: E sum_k (beta_{k+1} - beta_k) log w(z_k) along the annealed chain, from the ELBO (T = 0) to log p(x) (T ->
infinity)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from mcbits.bounds.base import Bound
from mcbits_ais.chains import flips
from mcbits_ais.schedules import inverse_temperatures

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.models.vae import VAE


class AIS(Bound):
    """Annealed importance sampling (Neal 2001), the ideal rate of BB-AIS (Ruan et al. 2021); N chains only average
    away its noise.

    An unbiased estimate, under the float network and the densities of z, of what BB-AIS pays on average for its
    buckets: the chain takes the coder's very steps, on the quantiles of q in units of 2^-32 instead of its precision.
    It is for evaluation: gradients do not flow through the choices of a step, so that training on it is biased.
    """

    name = "ais"

    def __init__(self, num_steps: int = 16, schedule: str = "linear"):
        self.num_steps = num_steps
        self.beta = inverse_temperatures(num_steps, schedule)

    @classmethod
    def of(cls, coder: Any) -> Self:
        return cls(coder.num_steps, coder.schedule)

    def __call__(self, model: VAE, x: Tensor, num_particles: int) -> Tensor:
        import torch

        beta = [*(self.beta * 2.0**-16).tolist(), 1.0]
        chains = x.flatten(1).repeat_interleave(num_particles, 0)
        density = _Weights(model, chains)
        s = torch.as_tensor(flips(len(self.beta), model.latent_dim).copy(), device=x.device)
        u = torch.randint(1 << 32, (len(chains), 1, model.latent_dim), device=x.device)
        log_w = density(u)
        bound = beta[1] * log_w[:, 0]
        for k in range(1, self.num_steps + 1):
            if model.latent_dim == 1:
                other = torch.randint_like(u, 1 << 32)
                acceptance = (beta[k] * (density(other) - log_w)).exp()
                j = (torch.rand_like(acceptance) < acceptance).long()
            else:
                other = u ^ s[k, 1:]
                log_f = beta[k] * torch.cat([log_w, density(other)], 1)
                j = torch.distributions.Categorical(logits=log_f).sample().unsqueeze(1)
            u = torch.cat([u, other], 1).gather(1, j.unsqueeze(2).expand(-1, -1, model.latent_dim))
            log_w = density(u)
            bound = bound + (beta[k + 1] - beta[k]) * log_w[:, 0]
        return bound.unflatten(0, (len(x), num_particles)).mean(1)


class _Weights:
    """log w in nats of the z at given quantiles of q(z|x)."""

    def __init__(self, model: VAE, x: Tensor):
        self.model, self.x = model, x
        self.mean, self.log_scale = (each.unsqueeze(1) for each in model.encoder(x))

    def __call__(self, u: Tensor) -> Tensor:
        """(B, N) for u (B, N, latent_dim), integers in units of 2^-32."""
        import math

        noise = ((u.double() + 0.5) * 2.0**-32).special_ndtri().to(self.mean.dtype)
        log_q = -0.5 * (noise.square() + math.log(2 * math.pi)) - self.log_scale
        return self.model.log_joint(self.x, self.mean + self.log_scale.exp() * noise) - log_q.sum(-1)
