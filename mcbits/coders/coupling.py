"""The coupled particles are one uniform draw under N fixed shifts modulo 1, each a bijection that both sides know."""

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def integer_shifts(num_particles: int, num_dims: int) -> NDArray[np.uint32]:
    """Shifts s_i (N, D) in units of 2^-32 with s_0 = 0, the others as if drawn uniformly: splitmix64 of their index."""
    with np.errstate(over="ignore"):
        x = np.arange(1, num_particles * num_dims + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    s = (x >> np.uint64(32)).astype(np.uint32).reshape(num_particles, num_dims)
    s[0] = 0
    s.flags.writeable = False
    return s


def shifts(num_particles: int, num_dims: int) -> NDArray[np.float64]:
    """The same shifts (N, D) as fractions in [0, 1)."""
    return integer_shifts(num_particles, num_dims) * np.float64(2.0**-32)
