"""FIVO is the log of a particle filter's estimate of p(x); its expectation is a lower bound on log p(x)."""

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
    """The filtering variational objective (Maddison et al. 2017); its negative is the ideal rate of BB-SMC.

    resampling: "adaptive" (when the effective sample size is below N / 2), "always", or "never", which gives the IWAE.
    No gradient passes through the choice of ancestors.
    """

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
        """Return standard normal noise (B, N, T, D) for the particles, with the dtype and device of `like`."""
        return like.new_empty(B, N, T, D).normal_()


class CoupledFIVO(FIVO):
    """The FIVO whose particles come from one uniform draw per frame; its negative is the ideal rate of bb-csmc."""

    name = "cfivo"
    coupled = True

    def noise(self, B: int, N: int, T: int, D: int, like: Tensor) -> Tensor:
        u = like.new_empty((B, 1, T, D)).double().uniform_()
        shifts = u.new_tensor(strata(N, T, D).swapaxes(0, 1) / N)
        # The clamp is half a step of the grid of float64 uniforms: 0 then has a finite quantile. The largest value has
        # one anyway.
        return (2 * ((u + shifts) % 1).clamp(min=2.0**-54) - 1).erfinv().mul(2**0.5).to(like.dtype)


def _of(state: Tensor, ancestors: Tensor) -> Tensor:
    """Return the rows (B * N, size) of the state in the order of ancestors (B, N)."""
    B, N = ancestors.shape
    return state.view(B, N, -1).take_along_dim(ancestors.unsqueeze(2), 1).flatten(0, 1)
