"""Coupled particles of a frame are one uniform draw plus N shifts k/N; each dimension has every k once."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcbits.distributions.coupling import integer_shifts


@lru_cache
def strata(num_particles: int, num_frames: int, num_dims: int) -> NDArray[np.int64]:
    """Return k of each frame, particle and dimension, (T, N, D).

    Over the particles, k is a fixed permutation of 0 ... N - 1 that begins with 0. So each of N strata of equal
    probability has one particle, as in a Latin hypercube. Each particle alone is a draw from q. Permutations differ
    between frames, so neighbours in one frame are usually not neighbours in the next.
    """
    k = integer_shifts(num_particles, num_frames * num_dims).argsort(axis=0).argsort(axis=0)
    return k.reshape(num_particles, num_frames, num_dims).swapaxes(0, 1)
