"""Coupled particles of a frame are one uniform draw under N shifts that are k/N, every k once, in each dimension."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mcbits.distributions.coupling import integer_shifts


@lru_cache
def strata(num_particles: int, num_frames: int, num_dims: int) -> NDArray[np.int64]:
    """k of each frame, particle and dimension, (T, N, D): a fixed permutation of 0 ... N - 1 that begins with 0.

    So the particles lie one in each of N strata of equal probability, as in a Latin hypercube, each alone is a draw
    from q, and two that are neighbours in one frame are none in the next.
    """
    k = integer_shifts(num_particles, num_frames * num_dims).argsort(axis=0).argsort(axis=0)
    return k.reshape(num_particles, num_frames, num_dims).swapaxes(0, 1)
