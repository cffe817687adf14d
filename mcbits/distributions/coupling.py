"""The coupled particles are one uniform draw under N fixed shifts modulo 1, each a bijection that both sides know."""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.distributions import Distribution, Uniform
from mcbits.distributions.base import MAX_PRECISION


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


def quantile_shifts(num_particles: int, q: Distribution) -> NDArray[np.int64]:
    """The same shifts (N, D) in units of 2^-r, r the precision of q (lanes, D)."""
    return _at_precision(num_particles, q.shape[1], q.precision)


@lru_cache(maxsize=1)
def _at_precision(num_particles: int, num_dims: int, precision: int) -> NDArray[np.int64]:
    s = (integer_shifts(num_particles, num_dims) >> np.uint32(32 - precision)).astype(np.int64)
    s.flags.writeable = False
    return s


def within_bucket(q: Distribution, freq: NDArray[np.uint64], stack: Stack) -> Uniform:
    """Where in a bucket of `freq` (lanes, D) counts of q the uniform draw lies."""
    # Eight more bits than a count has keep what floor(2^p / f) loses near 1e-6 bits a latent; many more, and the
    # precision nears lprec, where rANS itself begins to lose.
    return Uniform(freq, (freq.shape[0], freq.shape[1]), min(q.precision + 8, stack.lprec, MAX_PRECISION))


def shifts(num_particles: int, num_dims: int) -> NDArray[np.float64]:
    """The same shifts (N, D) as fractions in [0, 1)."""
    return integer_shifts(num_particles, num_dims) * np.float64(2.0**-32)
