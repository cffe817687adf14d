"""Gaussians over K buckets: the normal cdf at fixed edges, scaled to integers and made leaky, rises by at least 1 a
bucket."""

from functools import cache, lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.core import gaussian, numerics
from mcbits.core.gaussian import Buckets, gaussian_intervals, gaussian_pop, gaussian_push, gaussian_table
from mcbits.core.table import table_intervals, table_inverse, table_pop, table_push, table_total
from mcbits.distributions.base import Repeatable, check_precision, draws
from mcbits.errors import DataError, UsageError

MEAN_FRAC = gaussian.MEAN_FRAC
LOG_SCALE_FRAC = gaussian.LOG_SCALE_FRAC
CENTRE_FRAC = 8
"""Fractional bits of fixed-point means, of log-scales (nats), and of the bucket centres that a decoder network
reads."""


@cache
def equal_mass_edges(log_num_bucket: int) -> NDArray[np.float64]:
    """The K + 1 edges of K = 2^log_num_bucket buckets of equal mass under the standard normal, the outer ones
    infinite."""
    if not 0 <= log_num_bucket <= 20:
        raise UsageError(f"log_num_bucket must be between 0 and 20, not {log_num_bucket}")
    num_buckets = 1 << log_num_bucket
    return numerics.ndtri_array(np.arange(num_buckets + 1) / num_buckets)


@cache
def equal_mass_centres(num_buckets: int) -> NDArray[np.float32]:
    """The medians of those buckets as integers in units of 2^-8, clamped to +-4 (1024 units)."""
    medians = numerics.ndtri_array((np.arange(num_buckets) + 0.5) / num_buckets)
    return np.floor(np.clip(medians, -4.0, 4.0) * 2.0**CENTRE_FRAC + 0.5).astype(np.float32)


@cache
def grid_edges(num_buckets: int, low: float, high: float) -> NDArray[np.float64]:
    """The K + 1 edges of equal intervals on [low, high]."""
    if not (num_buckets >= 1 and -1e9 < low < high < 1e9):
        raise UsageError(f"a grid needs at least one bucket and low < high, not {num_buckets} on [{low}, {high}]")
    return low + np.arange(num_buckets + 1) * np.float64((high - low) / num_buckets)


@lru_cache
def _buckets(edges: bytes) -> Buckets:
    return Buckets(np.frombuffer(edges))


def _int32(integers: NDArray[Any]) -> NDArray[np.int32]:
    cast = np.ascontiguousarray(integers, np.int32)
    if cast.dtype != integers.dtype and not np.array_equal(cast, integers):
        raise DataError("a mean or log-scale does not fit in 32 bits")
    return cast


class _Gaussian(Repeatable):
    _made: NDArray[np.uint32] | None = None

    def __init__(
        self,
        mean: NDArray[np.int32],
        log_scale: NDArray[np.int32],
        edges: NDArray[np.float64],
        precision: int,
        leaky: bool,
    ):
        if mean.ndim != 2 or mean.shape != log_scale.shape or not mean.dtype.kind == log_scale.dtype.kind == "i":
            raise DataError(
                f"mean {mean.shape} and log-scale {log_scale.shape} must both be integers of shape (lanes, dims)"
            )
        self.shape = mean.shape
        self.num_symbols = len(edges) - 1
        self.precision = check_precision(precision, self.num_symbols)
        self._parameters = (_int32(mean), _int32(log_scale), edges, int(leaky), precision)

    def rows(self, first: int, last: int) -> Self:
        """Of these lanes, first to last - 1."""
        mean, log_scale, *_ = self._parameters
        return self._of(mean[first:last], log_scale[first:last])

    def in_lanes(self, lanes: int) -> Self:
        mean, log_scale, *_ = self._parameters
        return self._of(mean.reshape(lanes, -1), log_scale.reshape(lanes, -1))

    def _of(self, mean: NDArray[np.int32], log_scale: NDArray[np.int32]) -> Self:
        part = object.__new__(type(self))
        part._parameters = (mean, log_scale, *self._parameters[2:])
        part.shape, part.num_symbols, part.precision = mean.shape, self.num_symbols, self.precision
        return part

    @property
    def _table(self) -> NDArray[np.uint32]:
        if self._made is None:
            self._made = gaussian_table(*self._parameters)
        return self._made

    def cdf(self) -> NDArray[np.uint64]:
        return self._table.astype(np.uint64)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        z = draws(symbols)
        if self._made is None:
            gaussian_push(stack, z, *self._parameters)
        else:
            table_push(stack, self._made, z, self.precision)

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        if draws < gaussian.TABLE_DRAWS:
            mean, log_scale, edges, leak, precision = self._parameters
            return gaussian_pop(stack, draws, mean, log_scale, _buckets(edges.tobytes()), leak, precision)
        return table_pop(stack, self._table, draws, self.precision)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        z = draws(symbols)
        if z.shape[1] < gaussian.TABLE_DRAWS:
            start, freq = (x.astype(np.uint64) for x in gaussian_intervals(z, *self._parameters))
        else:
            start, freq = table_intervals(self._table, z)
        return start.reshape(np.shape(symbols)), freq.reshape(np.shape(symbols))

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        z = draws(symbols)
        if z.shape[1] < gaussian.TABLE_DRAWS:
            return super().total_codelength(symbols)
        return table_total(self._table, z, self.precision)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        found = table_inverse(self._table, draws(quantiles, np.uint64), self.precision)
        return found.reshape(np.shape(quantiles))


class GaussianBuckets(_Gaussian):
    """Normal(mean, e^log_scale) over 2^log_num_bucket buckets of equal mass under the standard normal (Townsend et
    al. 2019).

    `mean` and `log_scale` are int32 (lanes, dims) in units of 2^-12 and 2^-8 (nats; clamped to +-8). The cdf is within
    5e-7 of the normal one. With `leaky=False` the support is the buckets that round to at least one count, which is
    enough for a proposal that is asked only for what was popped from it: at r = 16 the 256 counts that leaking gives
    away are drawn in one of five images of 50 latents, and cost BB-ELBO 0.004 bits/dim on EMNIST.

    >>> prior = GaussianBuckets(np.array([[0]]), np.array([[0]]), 2, precision=16)  # mean 0, scale e^0
    >>> prior.cdf()
    array([[[    0, 16384, 32768, 49151, 65536]]], dtype=uint64)
    """

    def __init__(
        self,
        mean: NDArray[np.int32],
        log_scale: NDArray[np.int32],
        log_num_bucket: int,
        precision: int,
        leaky: bool = True,
    ):
        super().__init__(mean, log_scale, equal_mass_edges(log_num_bucket), precision, leaky)


class GaussianGrid(_Gaussian):
    """Normal(mean, e^log_scale) over num_buckets equal intervals of [low, high], the outer two taking the tails.

    `mean`, `log_scale` and `leaky` as for GaussianBuckets.

    >>> GaussianGrid(np.array([[0]]), np.array([[0]]), 4, -2.0, 2.0, precision=8).cdf()
    array([[[  0,  40, 128, 215, 256]]], dtype=uint64)
    """

    def __init__(
        self,
        mean: NDArray[np.int32],
        log_scale: NDArray[np.int32],
        num_buckets: int,
        low: float,
        high: float,
        precision: int,
        leaky: bool = True,
    ):
        super().__init__(mean, log_scale, grid_edges(num_buckets, low, high), precision, leaky)
