"""Categorical under integer weights: one count for every symbol, the other 2^r - K shared out in proportion."""

from copy import copy

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import weights_from_log2
from mcbits.core.table import leaky_cdf, table_intervals, table_inverse, table_pop, table_push
from mcbits.distributions.base import Repeatable, check_precision, draws
from mcbits.errors import DataError


class Categorical(Repeatable):
    """Fast leaky rounding: F(k) = k + floor((2^r - K) * sum_{i<k} w_i / sum_i w_i), now and then one less: the
    division rounds.

    `weights` are non-negative integers (lanes, dims, K) whose last axis adds up to more than 0 and less than 2^53.

    >>> p = Categorical([[[1, 2, 5]]], precision=8)
    >>> p.cdf()
    array([[[  0,  32,  96, 256]]], dtype=uint64)
    >>> p.codelength([[0]]) * 2.0**-16  # in bits: its interval has 32 of 256 quantiles
    array([[3.]])
    """

    def __init__(self, weights: ArrayLike, precision: int):
        w = np.asarray(weights)
        if w.ndim != 3 or w.dtype.kind not in "iu" or (w.dtype.kind == "i" and np.any(w < 0)):
            raise DataError("weights must be non-negative integers of shape (lanes, dims, K)")
        self._set(np.ascontiguousarray(w, np.uint64), precision)

    def _set(self, w: NDArray[np.uint64], precision: int) -> None:
        self.num_symbols = w.shape[2]
        self.precision = check_precision(precision, self.num_symbols)
        self.shape = w.shape[:2]
        self._table = leaky_cdf(w.reshape(-1, w.shape[2]), precision).reshape(*self.shape, -1)

    @classmethod
    def from_log2(cls, log_w: NDArray[np.int64], precision: int) -> "Categorical":
        """One categorical a lane from log weights (lanes, K) in units of 2^-16 bits, shape (lanes, 1)."""
        self = cls.__new__(cls)
        self._set(weights_from_log2(log_w)[:, None], precision)
        return self

    def in_lanes(self, lanes: int) -> "Categorical":
        part = copy(self)
        part._table = self._table.reshape(lanes, -1, self._table.shape[-1])
        part.shape = part._table.shape[:2]
        return part

    def cdf(self) -> NDArray[np.uint64]:
        return self._table.astype(np.uint64)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        table_push(stack, self._table, draws(symbols), self.precision)

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        return table_pop(stack, self._table, draws, self.precision)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        start, freq = table_intervals(self._table, draws(symbols))
        return start.reshape(np.shape(symbols)), freq.reshape(np.shape(symbols))

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        found = table_inverse(self._table, draws(quantiles, np.uint64), self.precision)
        return found.reshape(np.shape(quantiles))
