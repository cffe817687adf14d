from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from mcbits._rans import Stack

@disjoint_base
class Family:
    def __new__(cls, name: str, K: int, M: int = 1, unit: int = 0) -> Self: ...
    @property
    def num_symbols(self) -> int: ...
    @property
    def num_parameters(self) -> int: ...
    def intervals(
        self, parameters: NDArray[np.int32], base: int, symbols: NDArray[np.int32], precision: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]: ...
    def inverse(
        self, parameters: NDArray[np.int32], base: int, quantiles: NDArray[np.uint64], precision: int
    ) -> NDArray[np.int32]: ...
    def pop(self, stack: Stack, parameters: NDArray[np.int32], base: int, precision: int) -> NDArray[np.int32]: ...
