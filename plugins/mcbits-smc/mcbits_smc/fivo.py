"""FIVO: log of a particle filter's estimate of p(x), whose expectation bounds log p(x) from below."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Self, cast

from mcbits.bounds.base import Bound
from mcbits_smc.strata import strata

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.models.base import Model
    from mcbits_smc.vrnn import VRNN


class FIVO(Bound):
    """Filtering variational objective (Maddison et al. 2017): the ideal rate of BB-SMC. Resampling is "adaptive", where
    the effective sample size falls below N / 2, "always", or "never", which makes it the IWAE. No gradient passes
    through the choice of ancestors."""

    name = "fivo"

    def __init__(self, resampling: str = "adaptive") -> None:
        self.resampling = resampling

    @classmethod
    def of(cls, coder: Any) -> Self:
        return cls(coder.resampling)

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        model = cast("VRNN", model)  # whatever goes frame by frame as it does
        frames, there = model.frames(x)
        (B, T, _), N = frames.shape, num_particles
        state = model.start(B * N, frames)
        log_w, log_p = frames.new_zeros(B, N), frames.new_zeros(B)
        itself = frames.new_ones(B, N).cumsum(1).long() - 1
        noise = self.noise(B, N, T, model.latent_dim, frames)
        for t in range(T):
            x_t = frames[:, t].repeat_interleave(N, 0)
            log_joint, log_q, state = model.step(state, x_t, noise[:, :, t].flatten(0, 1))
            log_w = log_w + (log_joint - log_q).view(B, N) * there[:, t : t + 1]
            if N == 1 or t == T - 1 or self.resampling == "never":
                continue
            w = log_w.detach().softmax(1)
            resampled = there[:, t + 1]
            if self.resampling == "adaptive":
                resampled = resampled & ((w * w).sum(1) * (N / 2) > 1)
            if resampled.any():
                ancestors = itself.where(~resampled.unsqueeze(1), w.multinomial(N, replacement=True))
                state = (_of(state[0], ancestors), _of(state[1], ancestors))
                log_p = log_p + (log_w.logsumexp(1) - math.log(N)) * resampled
                log_w = log_w * ~resampled.unsqueeze(1)
        return log_p + log_w.logsumexp(1) - math.log(N)

    def noise(self, B: int, N: int, T: int, D: int, like: Tensor) -> Tensor:
        """Standard normal (B, N, T, D), what the particles are made of."""
        return like.new_empty(B, N, T, D).normal_()


class CoupledFIVO(FIVO):
    """FIVO with particles that one uniform drives in each frame: the ideal rate of coupled BB-SMC."""

    name = "cfivo"
    coupled = True

    def noise(self, B: int, N: int, T: int, D: int, like: Tensor) -> Tensor:
        u = like.new_empty((B, 1, T, D)).double().uniform_()
        shifts = u.new_tensor(strata(N, T, D).swapaxes(0, 1) / N)
        # Half a step of the float64 uniform's grid, so that 0 has a finite quantile; the largest value has one.
        return (2 * ((u + shifts) % 1).clamp(min=2.0**-54) - 1).erfinv().mul(2**0.5).to(like.dtype)


def _of(state: Tensor, ancestors: Tensor) -> Tensor:
    """Rows (B * N, size) of the state in the order of ancestors (B, N)."""
    B, N = ancestors.shape
    return state.view(B, N, -1).take_along_dim(ancestors.unsqueeze(2), 1).flatten(0, 1)
