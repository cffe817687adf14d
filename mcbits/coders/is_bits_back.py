"""Importance-sampling bits-back, BB-IS: N latents from q, one of them chosen in proportion to its importance weight."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._kernels import log2_mean
from mcbits._rans import Stack
from mcbits.coders.base import Coder, option
from mcbits.distributions import Categorical, Uniform
from mcbits.latent import LatentModel


@dataclass(frozen=True)
class ISBitsBackCoder(Coder):
    """-log2 (1/N) sum_i w_i bits with w_i = p(x, z_i) / q(z_i|x), the negative IWAE bound on average (Ruan et al. 2021, section 3.1).

    The weights come from the codelengths of the discretised distributions, so encoder and decoder agree on them exactly.
    """

    name: ClassVar[str] = "ISBitsBackCoder"
    short: ClassVar[str] = "bb-is"
    bound: ClassVar[str] = "iwae"
    ramped: ClassVar[bool] = True

    num_particles: int = option(1, help="importance samples N per image: more lower the rate and cost time", minimum=1)

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        N, lane = self.num_particles, np.arange(len(x))
        q, p_z = model.posterior(x), model.prior(len(x))
        z = q.expand(N).pop(stack)
        p_x = model.likelihood(z)
        log_w = q.expand(N).total_codelength(z) - p_z.expand(N).total_codelength(z) - p_x.total_codelength(x)
        j = Categorical.from_log2(log_w, model.index_precision).pop(stack)[:, 0]
        q.expand(N - 1).push(stack, without(z, j))
        Uniform(N, (len(x), 1), model.index_precision).push(stack, j[:, None])
        p_x.particle(j).push(stack, x)
        p_z.push(stack, z[lane, j])
        return -log2_mean(log_w)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        N, lanes = self.num_particles, stack.lanes
        p_z = model.prior(lanes)
        z_j = p_z.pop(stack)
        x = model.likelihood(z_j).pop(stack)
        j = Uniform(N, (lanes, 1), model.index_precision).pop(stack)[:, 0]
        q = model.posterior(x)
        z = insert(q.expand(N - 1).pop(stack), j, z_j)
        log_w = q.expand(N).total_codelength(z) - p_z.expand(N).total_codelength(z) - model.likelihood(z).total_codelength(x)
        Categorical.from_log2(log_w, model.index_precision).push(stack, j[:, None])
        q.expand(N).push(stack, z)
        return x


def without(z: NDArray, j: NDArray[np.integer]) -> NDArray:
    """Of z (lanes, N, dims), all particles but j (lanes,), in order: (lanes, N - 1, dims)."""
    keep = np.ones(z.shape[:2], bool)
    keep[np.arange(len(z)), j] = False
    return z[keep].reshape(len(z), z.shape[1] - 1, z.shape[2])


def insert(others: NDArray, j: NDArray[np.integer], z_j: NDArray) -> NDArray:
    """The inverse of `without`: z (lanes, N, dims) with z_j (lanes, dims) at j."""
    lanes, N = len(others), others.shape[1] + 1
    z = np.empty((lanes, N, others.shape[2]), others.dtype)
    keep = np.ones((lanes, N), bool)
    keep[np.arange(lanes), j] = False
    z[keep] = others.reshape(-1, others.shape[2])
    z[np.arange(lanes), j] = z_j
    return z
