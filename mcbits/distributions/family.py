"""A distribution over many symbols evaluates its cdf where it is asked for: mixtures of logistics, categoricals."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core.mixture import Family
from mcbits.distributions.base import Distribution, Repeatable, check_precision, draws
from mcbits.distributions.particles import Particles
from mcbits.errors import DataError


class FamilyDistribution(Repeatable):
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
        start, freq = self.intervals(symbols)
        lanes = self.shape[0]
        stack.push(start.reshape(lanes, -1), freq.reshape(lanes, -1), self.precision)

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        lanes, dims = self.shape
        popped = self._family.pop(
            stack, self._repeated(draws).reshape(lanes, draws * dims, -1), self._base, self.precision
        )
        return popped.reshape(lanes, draws, dims)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        k = draws(symbols)
        if (k.shape[0], k.shape[2]) != self.shape:
            raise DataError(f"symbols {np.shape(symbols)} meet a distribution over {self.shape}")
        start, freq = self._family.intervals(self._rows(k.shape[1]), self._base, k.reshape(-1), self.precision)
        return start.astype(np.uint64).reshape(np.shape(symbols)), freq.astype(np.uint64).reshape(np.shape(symbols))

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        q = draws(quantiles, np.uint64)
        found = self._family.inverse(self._rows(q.shape[1]), self._base, q.reshape(-1), self.precision)
        return found.reshape(np.shape(quantiles))

    def in_lanes(self, lanes: int) -> "FamilyDistribution":
        parameters = self._parameters.reshape(lanes, -1, self._parameters.shape[2])
        return FamilyDistribution(self._family, parameters, self._base, self.precision)

    def _repeated(self, draws: int) -> NDArray[np.int32]:
        return self._parameters if draws == 1 else np.repeat(self._parameters[:, None], draws, axis=1)

    def _rows(self, draws: int) -> NDArray[np.int32]:
        return self._repeated(draws).reshape(-1, self._parameters.shape[2])


def family_distribution(family: Family, parameters: NDArray[np.int32], base: int, precision: int) -> Distribution:
    """Return p(x|z) for parameters (lanes, P * dims) or (lanes, particles, P * dims), parameter by parameter.

    So a convolutional decoder whose output has P channels fits.
    """

    def make(rows: NDArray[np.int32]) -> Distribution:
        by_dim = rows.reshape(len(rows), family.num_parameters, -1).swapaxes(1, 2)
        return FamilyDistribution(family, by_dim, base, precision)

    return Particles(make, parameters) if parameters.ndim == 3 else make(parameters)
