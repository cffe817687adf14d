"""Coupled importance-sampling bits-back, BB-CIS, makes N latents from one uniform draw: initial bits for one latent."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder, log_weights, option
from mcbits.core.codelengths import log2_mean
from mcbits.distributions import Categorical, uniform
from mcbits.distributions.coupling import quantile_shifts, within_bucket
from mcbits.latents.base import LatentModel


@dataclass(frozen=True)
class CISBitsBackCoder(Coder):
    """A coder like BB-IS whose particles are z_i = F^-1(T_i(u)) with T_i(u) = u + s_i modulo 2^r.

    F is the cdf of q(z|x) at precision r, D is the number of dimensions of z, and u is uniform on [0, 2^r)^D.
    Only u is popped, so there are r D initial bits for every N.
    Given z_j, u_j is uniform within its bucket [F(z_j), F(z_j) + f). Coding u_j in the bucket returns all bits but
    -log2 q(z_j|x).
    Source: Ruan et al. 2021, section 3.4.
    """

    name: ClassVar[str] = "CISBitsBackCoder"
    short: ClassVar[str] = "bb-cis"
    bound: ClassVar[str] = "ciwae"

    num_particles: int = option(
        10, help="coupled importance samples N per image: more lower the rate and cost time", minimum=1, maximum=1 << 16
    )

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        N, lane = self.num_particles, np.arange(len(x))
        q = model.posterior(x)
        s = quantile_shifts(N, q)
        # The mask is modulo 2^r, for negative integers too.
        u = (uniform(1 << q.precision, q.shape, q.precision).pop(stack)[:, None] + s) & ((1 << q.precision) - 1)
        z = q.expand(N).inverse(u)
        p = model.joint(z)
        log_w = log_weights(q, p, z, x)
        j = Categorical.from_log2(log_w, model.index_precision).pop(stack)[:, 0]
        start, freq = q.intervals(z[lane, j])
        within_bucket(q, freq, stack).push(stack, u[lane, j] - start.astype(np.int64))
        uniform(N, (len(x), 1), model.index_precision).push(stack, j[:, None])
        p.particle(j).push(stack, x)
        return -log2_mean(log_w)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        N, lanes = self.num_particles, stack.lanes
        z_j, x = model.pop(stack)
        j = uniform(N, (lanes, 1), model.index_precision).pop(stack)[:, 0]
        q = model.posterior(x)
        s = quantile_shifts(N, q)
        start, freq = q.intervals(z_j)
        u_j = start.astype(np.int64) + within_bucket(q, freq, stack).pop(stack)
        u = ((u_j - s[j])[:, None] + s) & ((1 << q.precision) - 1)
        z = q.expand(N).inverse(u)
        log_w = log_weights(q, model.joint(z), z, x)
        Categorical.from_log2(log_w, model.index_precision).push(stack, j[:, None])
        uniform(1 << q.precision, q.shape, q.precision).push(stack, u[:, 0])
        return x
