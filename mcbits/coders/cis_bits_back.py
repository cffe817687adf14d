"""Coupled importance-sampling bits-back, BB-CIS: N latents from one uniform draw, so that only one need be paid for
at first."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._kernels import log2_mean
from mcbits._rans import Stack
from mcbits.coders.base import Coder, log_weights, option
from mcbits.coders.coupling import integer_shifts
from mcbits.distributions import Categorical, Distribution, Uniform, uniform
from mcbits.distributions.base import MAX_PRECISION
from mcbits.latent import LatentModel


@dataclass(frozen=True)
class CISBitsBackCoder(Coder):
    """As BB-IS with z_i = F^-1(T_i(u)), F the cdf of q(z|x) at precision r, u uniform on [0, 2^r)^D and T_i(u) = u +
    s_i modulo 2^r (Ruan et al. 2021, section 3.4). Only u is popped: r D initial bits whatever N is.

    Given z_j, u_j is uniform within its bucket [F(z_j), F(z_j) + f): coding it there returns all but -log2 q(z_j|x)
    bits.
    """

    name: ClassVar[str] = "CISBitsBackCoder"
    short: ClassVar[str] = "bb-cis"
    bound: ClassVar[str] = "ciwae"

    num_particles: int = option(
        1, help="coupled importance samples N per image: more lower the rate and cost time", minimum=1, maximum=1 << 20
    )

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        N, lane = self.num_particles, np.arange(len(x))
        q, p_z = model.posterior(x), model.prior(len(x))
        s = self._shifts(q)
        u = (uniform(1 << q.precision, q.shape, q.precision).pop(stack)[:, None] + s) % (1 << q.precision)
        z = q.expand(N).inverse(u)
        p_x = model.likelihood(z)
        log_w = log_weights(q, p_z, p_x, z, x)
        j = Categorical.from_log2(log_w, model.index_precision).pop(stack)[:, 0]
        start, freq = q.intervals(z[lane, j])
        self._within(q, freq, stack).push(stack, u[lane, j] - start.astype(np.int64))
        uniform(N, (len(x), 1), model.index_precision).push(stack, j[:, None])
        p_x.particle(j).push(stack, x)
        p_z.push(stack, z[lane, j])
        return -log2_mean(log_w)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        N, lanes = self.num_particles, stack.lanes
        p_z = model.prior(lanes)
        z_j = p_z.pop(stack)
        x: NDArray[np.int32] = model.likelihood(z_j).pop(stack)
        j = uniform(N, (lanes, 1), model.index_precision).pop(stack)[:, 0]
        q = model.posterior(x)
        s = self._shifts(q)
        start, freq = q.intervals(z_j)
        u_j = start.astype(np.int64) + self._within(q, freq, stack).pop(stack)
        u = ((u_j - s[j])[:, None] + s) % (1 << q.precision)
        z = q.expand(N).inverse(u)
        log_w = log_weights(q, p_z, model.likelihood(z), z, x)
        Categorical.from_log2(log_w, model.index_precision).push(stack, j[:, None])
        uniform(1 << q.precision, q.shape, q.precision).push(stack, u[:, 0])
        return x

    def _shifts(self, q: Distribution) -> NDArray[np.int64]:
        return (integer_shifts(self.num_particles, q.shape[1]) >> np.uint32(32 - q.precision)).astype(np.int64)

    @staticmethod
    def _within(q: Distribution, freq: NDArray[np.uint64], stack: Stack) -> Uniform:
        # Eight more bits than a count has keep what floor(2^p / f) loses near 1e-6 bits a latent; many more, and the
        # precision nears lprec, where rANS itself begins to lose.
        return Uniform(freq, freq.shape, min(q.precision + 8, stack.lprec, MAX_PRECISION))
