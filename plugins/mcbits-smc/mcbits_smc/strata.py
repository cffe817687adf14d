"""Coupled particles of a frame are one uniform draw under N shifts that are k/N, every k once, in each dimension."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.coupling import integer_shifts


@cache
def strata(num_particles: int, num_dims: int) -> NDArray[np.int64]:
    """k of each particle and dimension, (N, D): in each dimension a fixed permutation of 0 ... N - 1 that begins with 0.

    So the particles lie one in each of N strata of equal probability, as in a Latin hypercube, and each alone is a
    draw from q.
    """
    return integer_shifts(num_particles, num_dims).argsort(axis=0).argsort(axis=0)
