"""Nothing is the distribution of no dimensions: what a model without latents has for a prior and a posterior."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.distributions.base import Repeatable


class Nothing(Repeatable):
    """A distribution of shape (n, 0), for n images of a step, however many lanes they lie in. It costs no bits."""

    precision = 1
    num_symbols = 1

    def __init__(self, num_images: int):
        self.shape = (num_images, 0)

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        pass

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        return np.empty((self.shape[0], draws, 0), np.int32)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        empty = np.empty(np.shape(symbols), np.uint64)
        return empty, empty.copy()

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        return np.empty(np.shape(quantiles), np.int32)
