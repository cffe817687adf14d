"""Uniform over 0 ... n - 1, n any integer up to 2^r, each frequency the floor or the ceiling of 2^r / n."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core import symbols as kernels
from mcbits.distributions.base import Repeatable, check_precision, draws
from mcbits.errors import DataError


class Uniform(Repeatable):
    """F(k) = floor(k 2^r / n). At r = 24 and n <= 2^16 a symbol costs at most 0.006 bits more than log2 n, and on
    average 3e-6.

    `size` n is one integer or an array that broadcasts to `shape` (lanes, dims). Symbols are int64.
    """

    def __init__(self, size: ArrayLike, shape: tuple[int, int], precision: int):
        self.shape = tuple(shape)
        n = np.asarray(size, np.int64)
        try:
            self._size = np.ascontiguousarray(n if n.shape == self.shape else np.broadcast_to(n, shape))
        except ValueError:
            raise DataError(f"sizes of shape {n.shape} do not fit a uniform distribution of shape {shape}") from None
        self.num_symbols, least = (int(n.max()), int(n.min())) if n.size else (1, 1)
        self.precision = check_precision(precision, self.num_symbols)
        check_precision(precision, least)
        # Where every n divides 2^r, all symbols cost the same.
        self._even = n.ndim == 0 and (1 << precision) % self.num_symbols == 0

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        k, n = draws(symbols, np.int64), self._size[:, None]
        if (k.shape[0], k.shape[2]) != self.shape:
            raise DataError(f"symbols {np.shape(symbols)} meet a uniform distribution over {self.shape}")
        if np.any(k < 0) or np.any(k >= n):
            raise DataError("a symbol is outside the support of the uniform distribution")
        start = (k << self.precision) // n
        freq = ((k + 1 << self.precision) // n - start).astype(np.uint64)
        return start.astype(np.uint64).reshape(np.shape(symbols)), freq.reshape(np.shape(symbols))

    def in_lanes(self, lanes: int) -> "Uniform":
        size = self._size.reshape(lanes, -1)
        return Uniform(size, size.shape, self.precision)

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        if self._even:
            total = np.empty(np.shape(symbols)[:-1], np.int64)
            total.fill(self.shape[1] * ((self.num_symbols.bit_length() - 1) << 16))
            return total
        return super().total_codelength(symbols)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int64]:
        q = draws(quantiles, np.uint64)
        n = np.ascontiguousarray(np.broadcast_to(self._size[:, None], q.shape))
        return kernels.uniform_inverse(q.reshape(-1), n.reshape(-1), self.precision).reshape(np.shape(quantiles))

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        kernels.uniform_push(stack, draws(symbols, np.int64), self._size, self.precision)

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int64]:
        size = self._size if draws == 1 else np.tile(self._size, (1, draws))
        return kernels.uniform_pop(stack, size, self.precision).reshape(self.shape[0], draws, self.shape[1])


@lru_cache
def uniform(size: int, shape: tuple[int, int], precision: int) -> Uniform:
    """The Uniform over one `size`, made once: coders ask for the same few again and again."""
    return Uniform(size, shape, precision)
