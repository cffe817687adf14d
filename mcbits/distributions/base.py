"""A distribution at precision r is a strictly rising integer cdf from 0 to 2^r: whatever is in the support can be
coded."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import codelengths
from mcbits.errors import DataError, UsageError

CODELENGTH_UNIT = 2.0**-16
"""Codelengths are integers in this many bits."""

MAX_PRECISION = 30
"""So that every entry of a cdf, 2^r among them, is a non-negative int32."""


class Distribution(ABC):
    """Independent discrete distributions, one for each lane (axis 0) and dimension.

    Attributes: `shape` of the symbols, (lanes, dims) or (lanes, particles, dims); `precision` r in bits;
    `num_symbols` K, symbols being the integers 0 ... K - 1 (int32; int64 where K needs it).
    """

    shape: tuple[int, ...]
    precision: int
    num_symbols: int

    @abstractmethod
    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        """Encode symbols (`shape`), the last one of a lane first. DataError when one is outside the support."""

    @abstractmethod
    def pop(self, stack: Stack) -> NDArray[np.signedinteger]:
        """Decode symbols (`shape`), the first one of a lane first."""

    @abstractmethod
    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """cdf and frequency of each symbol, both in `shape`."""

    @abstractmethod
    def inverse(self, quantiles: ArrayLike) -> NDArray[np.signedinteger]:
        """The symbol whose interval holds each integer 0 ... 2^r - 1, in `shape`."""

    def codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        """What pushing each symbol would cost, in `shape`, in units of 2^-16 bits."""
        freqs = self.intervals(symbols)[1]
        return codelengths(freqs.reshape(-1), self.precision).reshape(freqs.shape)

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        """`codelength` summed over the last axis, dims."""
        total: NDArray[np.int64] = self.codelength(symbols).sum(axis=-1)
        return total

    @abstractmethod
    def expand(self, num_particles: int) -> "Distribution":
        """num_particles draws from each of these (lanes, dims): shape (lanes, num_particles, dims)."""

    def in_lanes(self, lanes: int) -> "Distribution":
        """The same distributions, in C order, as the dimensions of so many lanes: shape (lanes, size / lanes)."""
        raise UsageError(f"{type(self).__name__} does not know how to lie in other lanes")

    def particle(self, j: NDArray[np.integer]) -> "Distribution":
        """Of (lanes, particles, dims), each particle a distribution of its own, the one particle j (lanes,) of each
        lane: shape (lanes, dims)."""
        raise UsageError(f"{type(self).__name__} has no distribution of its own for each particle: see Particles")

    def cdf(self) -> NDArray[np.uint64]:
        """The whole table, `shape` + (K + 1,): of families that hold none, K calls of `intervals`."""
        rows = [self.intervals(np.full(self.shape, k, np.int32)) for k in range(self.num_symbols)]
        return np.stack([start for start, _ in rows] + [rows[-1][0] + rows[-1][1]], axis=-1)


class Repeatable(Distribution):
    """A distribution (lanes, dims) whose methods also take symbols (lanes, particles, dims) and share one set of
    parameters."""

    def pop(self, stack: Stack) -> NDArray[np.signedinteger]:
        return self.pop_draws(stack, 1)[:, 0]

    def expand(self, num_particles: int) -> "Expanded":
        return Expanded(self, num_particles)

    @abstractmethod
    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.signedinteger]:
        """Decode (lanes, draws, dims) symbols."""


class Expanded(Distribution):
    """Draws from one distribution, an axis of particles between lanes and dims."""

    def __init__(self, base: Repeatable, num_particles: int):
        if num_particles < 0:
            raise UsageError(f"a distribution cannot be drawn from {num_particles} times")
        self.base = base
        self.shape = (base.shape[0], num_particles, base.shape[1])
        self.precision = base.precision
        self.num_symbols = base.num_symbols

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        self.base.push(stack, symbols)

    def pop(self, stack: Stack) -> NDArray[np.signedinteger]:
        return self.base.pop_draws(stack, self.shape[1])

    def expand(self, num_particles: int) -> "Expanded":
        raise UsageError("an expanded distribution cannot be expanded again")

    def cdf(self) -> NDArray[np.uint64]:
        return np.repeat(self.base.cdf()[:, None], self.shape[1], axis=1)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        return self.base.intervals(symbols)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.signedinteger]:
        return self.base.inverse(quantiles)

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        return self.base.total_codelength(symbols)


def check_precision(precision: int, num_symbols: int) -> int:
    """The precision, if num_symbols fit in 2^precision; UsageError otherwise."""
    if not 1 <= precision <= MAX_PRECISION:
        raise UsageError(f"precision {precision} must be between 1 and {MAX_PRECISION} bits")
    if not 1 <= num_symbols <= 1 << precision:
        raise UsageError(
            f"{num_symbols} symbols do not fit in precision {precision}: use at least {(num_symbols - 1).bit_length()}"
        )
    return precision


def draws(symbols: ArrayLike, dtype: type = np.int32) -> NDArray[Any]:
    """Symbols as a contiguous (lanes, draws, dims) array of the kernels' dtype; DataError where that would change a
    value."""
    given = np.asarray(symbols)
    if given.dtype == dtype and given.flags.c_contiguous and 2 <= given.ndim <= 3:
        return given if given.ndim == 3 else given[:, None]
    if given.dtype.kind not in "iub" or given.ndim not in (2, 3):
        raise DataError(
            "symbols must be integers of shape (lanes, dims) or (lanes, particles, dims), "
            f"not {given.dtype} {given.shape}"
        )
    cast: NDArray[Any] = np.ascontiguousarray(given, dtype)
    if cast.dtype.itemsize < given.dtype.itemsize and (cast != given).any():
        raise DataError("a symbol does not fit in 32 bits")
    return cast if cast.ndim == 3 else cast[:, None]
