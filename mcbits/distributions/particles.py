"""A distribution of its own for each particle: those of all particles are made together, as rows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.distributions.base import Distribution
from mcbits.errors import UsageError


class Particles(Distribution):
    """p(x|z_i) for z (lanes, particles, ...), of any family: shape (lanes, particles, dims).

    `make` turns parameters (rows, P) into a distribution (rows, dims) that has `in_lanes`; `parameters` are (lanes,
    particles, P). An x (lanes, dims) is shared by all particles wherever symbols are looked up.
    """

    def __init__(self, make: Callable[[NDArray[Any]], Distribution], parameters: NDArray[Any]):
        self._make, self._parameters = make, parameters
        self._rows = make(parameters.reshape(-1, parameters.shape[2]))
        self.shape = (*parameters.shape[:2], self._rows.shape[1])
        self.precision, self.num_symbols = self._rows.precision, self._rows.num_symbols

    def particle(self, j: NDArray[np.integer]) -> Distribution:
        """The one particle j (lanes,) of each lane, (lanes, dims)."""
        return self._make(self._parameters[np.arange(len(j)), j])

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        lanes = self.shape[0]
        self._rows.in_lanes(lanes).push(stack, np.reshape(symbols, (lanes, -1)))

    def pop(self, stack: Stack) -> NDArray[np.signedinteger]:
        return self._rows.in_lanes(self.shape[0]).pop(stack).reshape(self.shape)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        start, freq = self._rows.intervals(self._in_rows(symbols))
        return start.reshape(self.shape), freq.reshape(self.shape)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.signedinteger]:
        return self._rows.inverse(self._in_rows(quantiles)).reshape(self.shape)

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        return self._rows.total_codelength(self._in_rows(symbols)).reshape(self.shape[:2])

    def expand(self, num_particles: int) -> Distribution:
        """UsageError: these are draws already."""
        raise UsageError("a distribution of particles cannot be expanded")

    def _in_rows(self, symbols: ArrayLike) -> NDArray[Any]:
        given = np.asarray(symbols)
        every = given[:, None] if given.ndim == 2 else given
        return np.broadcast_to(every, self.shape).reshape(-1, self.shape[2])
