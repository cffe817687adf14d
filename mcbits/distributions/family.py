"""A distribution over many symbols whose cdf is evaluated where it is asked for: mixtures of logistics, categoricals."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core.mixture import Family
from mcbits.distributions.base import Distribution, check_precision
from mcbits.distributions.particles import Particles
from mcbits.errors import DataError, UsageError


class FamilyDistribution(Distribution):
    """F(k) = k + floor((2^r - K) P(symbol < k)), F(0) = 0 and F(K) = 2^r, for parameters int32 (lanes, dims, P).

    base: what the means of logistics are relative to.
    """

    def __init__(self, family: Family, parameters: NDArray[np.int32], base: int, precision: int):
        self._family, self._base = family, base
        self._parameters = np.ascontiguousarray(parameters, np.int32)
        self.num_symbols = family.num_symbols
        self.precision = check_precision(precision, self.num_symbols)
        self.shape = self._parameters.shape[:2]

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        stack.push(*self.intervals(symbols), self.precision)

    def pop(self, stack: Stack) -> NDArray[np.int32]:
        return self._family.pop(stack, self._parameters, self._base, self.precision)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        given = np.asarray(symbols)
        if given.shape != self.shape or given.dtype.kind not in "iub":
            raise DataError(f"expected integer symbols of shape {self.shape}, got {given.dtype} {given.shape}")
        if given.size and (given.min() < 0 or given.max() >= self.num_symbols):
            raise DataError(f"a symbol is outside 0 ... {self.num_symbols - 1}")
        flat = np.ascontiguousarray(given, np.int32).reshape(-1)
        start, freq = self._family.intervals(self._rows(), self._base, flat, self.precision)
        return start.astype(np.uint64).reshape(self.shape), freq.astype(np.uint64).reshape(self.shape)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        flat = np.ascontiguousarray(quantiles, np.uint64).reshape(-1)
        return self._family.inverse(self._rows(), self._base, flat, self.precision).reshape(self.shape)

    def in_lanes(self, lanes: int) -> "FamilyDistribution":
        parameters = self._parameters.reshape(lanes, -1, self._parameters.shape[2])
        return FamilyDistribution(self._family, parameters, self._base, self.precision)

    def expand(self, num_particles: int) -> Distribution:
        raise UsageError("draw z, not x, many times: this distribution is of pixels")

    def _rows(self) -> NDArray[np.int32]:
        return self._parameters.reshape(-1, self._parameters.shape[2])


def family_distribution(family: Family, parameters: NDArray[np.int32], base: int, precision: int) -> Distribution:
    """Return p(x|z) for parameters (lanes, P * dims) or (lanes, particles, P * dims), parameter by parameter.

    So a convolutional decoder whose output has P channels fits.
    """

    def make(rows: NDArray[np.int32]) -> Distribution:
        by_dim = rows.reshape(len(rows), family.num_parameters, -1).swapaxes(1, 2)
        return FamilyDistribution(family, by_dim, base, precision)

    return Particles(make, parameters) if parameters.ndim == 3 else make(parameters)
