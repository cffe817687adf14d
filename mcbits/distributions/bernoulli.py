"""Bernoulli from fixed-point logits: one table from logits to frequencies, so that no probability is ever computed
twice."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core.bernoulli import (
    BernoulliSymbols,
    bernoulli_freqs,
    bernoulli_pop,
    bernoulli_push,
    bernoulli_table,
    bernoulli_total,
)
from mcbits.distributions.base import Distribution, check_precision, draws
from mcbits.errors import DataError

_table = cache(bernoulli_table)


@cache
def _both(precision: int) -> BernoulliSymbols:
    return BernoulliSymbols(_table(precision)[0], precision)


class Bernoulli(Distribution):
    """p(1) = sigmoid(logit): `logits` int32 (lanes, dims) or (lanes, particles, dims) in units of 2^-8, clamped to
    [-16, 16).

    >>> p = Bernoulli(np.array([[0, 512, -512]]), precision=16)  # logits 0, 2 and -2
    >>> (p.codelength([[1, 1, 1]]) * 2.0**-16).round(3)
    array([[1.   , 0.183, 3.069]])
    """

    num_symbols = 2

    def __init__(self, logits: NDArray[np.int32], precision: int):
        self.precision = check_precision(precision, 2)
        if logits.dtype.kind not in "iu" or logits.ndim not in (2, 3):
            raise DataError(
                f"logits must be integers (lanes, dims) or (lanes, particles, dims), not {logits.dtype} {logits.shape}"
            )
        self.logits = draws(logits)
        self.shape = logits.shape
        self._freq, self._length = _table(precision)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        bernoulli_push(stack, self.logits, draws(symbols), _both(self.precision))

    def pop(self, stack: Stack) -> NDArray[np.int32]:
        return bernoulli_pop(stack, self.logits, self._freq, self.precision).reshape(self.shape)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        x = np.broadcast_to(self._checked(symbols), self.logits.shape).reshape(self.shape)
        one = bernoulli_freqs(self.logits.reshape(-1), self._freq).reshape(self.shape)
        zero = np.uint64(1 << self.precision) - one
        return np.where(x, zero, np.uint64(0)), np.where(x, one, zero)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        one = bernoulli_freqs(self.logits.reshape(-1), self._freq).reshape(self.shape)
        return (np.asarray(quantiles, np.uint64) >= np.uint64(1 << self.precision) - one).astype(np.int32)

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        """Summed over dims without a probability in memory; symbols (lanes, dims) are shared by all particles."""
        x = draws(symbols)
        total = bernoulli_total(self.logits, x, self._length)
        return total if len(self.shape) == 3 else total[:, 0]

    def expand(self, num_particles: int) -> "Bernoulli":
        return Bernoulli(np.repeat(self.logits, num_particles, axis=1), self.precision)

    def in_lanes(self, lanes: int) -> "Bernoulli":
        return Bernoulli(self.logits.reshape(lanes, -1), self.precision)

    def particle(self, j: NDArray[np.integer]) -> "Bernoulli":
        """Of (lanes, particles, dims), the one particle j (lanes,) of each lane."""
        return Bernoulli(self.logits[np.arange(len(j)), j], self.precision)

    @staticmethod
    def _checked(symbols: ArrayLike) -> NDArray[np.int32]:
        x = draws(symbols)
        if np.any((x < 0) | (x > 1)):
            raise DataError("a symbol is outside 0 ... 1")
        return x
