"""Importance-sampling bits-back, BB-IS, pops N latents from q and chooses one of them by its importance weight."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder, log_weights, option
from mcbits.core.codelengths import log2_mean
from mcbits.distributions import Categorical, uniform
from mcbits.latents.base import LatentModel


@dataclass(frozen=True)
class ISBitsBackCoder(Coder):
    """A coder that uses -log2 (1/N) sum_i w_i bits for an x, with w_i = p(x, z_i) / q(z_i|x).

    On average this is the negative IWAE bound. The weights come from the codelengths of the discretised
    distributions, so encoder and decoder compute exactly the same weights.
    Source: Ruan et al. 2021, section 3.1.

    >>> from mcbits.studies.toy import mixture
    >>> model, stack, coder = mixture(), Stack(), ISBitsBackCoder(num_particles=4)
    >>> x = model.sample(1, seed=0)
    >>> bits = coder.encode(stack, x, model) * 2.0**-16
    >>> bits.round(2), stack.net_bits().round(2)  # what it should cost, and what it did
    (array([5.33]), array([5.33]))
    >>> bool((coder.decode(stack, model) == x).all())
    True
    """

    name: ClassVar[str] = "ISBitsBackCoder"
    short: ClassVar[str] = "bb-is"
    bound: ClassVar[str] = "iwae"
    ramped: ClassVar[bool] = True

    num_particles: int = option(
        10, help="importance samples N per image: more lower the rate and cost time", minimum=1, maximum=1 << 16
    )

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        N, lanes = self.num_particles, len(x)
        q = model.posterior(x)
        z = q.expand(N).pop(stack)
        p = model.joint(z)
        log_w = log_weights(q, p, z, x)
        j = Categorical.from_log2(log_w, model.index_precision).pop(stack)[:, 0]
        p = p.particle(j)
        swap_with_last(z, j)
        q.expand(N - 1).push(stack, z[:, :-1])
        uniform(N, (lanes, 1), model.index_precision).push(stack, j[:, None])
        p.push(stack, x)
        return -log2_mean(log_w)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        N, lanes = self.num_particles, stack.lanes
        z_j, x = model.pop(stack)
        j = uniform(N, (lanes, 1), model.index_precision).pop(stack)[:, 0]
        q = model.posterior(x)
        z = np.concatenate([q.expand(N - 1).pop(stack), z_j[:, None]], axis=1, dtype=np.int32)
        swap_with_last(z, j)
        log_w = log_weights(q, model.joint(z), z, x)
        Categorical.from_log2(log_w, model.index_precision).push(stack, j[:, None])
        q.expand(N).push(stack, z)
        return x


def swap_with_last(z: NDArray[np.int32], j: NDArray[np.integer]) -> None:
    """Exchange, in z (lanes, N, dims), particle j (lanes,) of each lane with the last one. Twice is the identity."""
    lane = np.arange(len(z))
    z_j = z[lane, j]
    z[lane, j] = z[:, -1]
    z[:, -1] = z_j
