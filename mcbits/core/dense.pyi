from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

class _Stage(Protocol):
    @property
    def source(self) -> int:
        """What it reads: 0 is the input, s + 1 the result of stage s."""
    @property
    def width(self) -> int: ...
    @property
    def weight(self) -> NDArray[np.int16]:
        """(panels of 16 columns, pairs of rows, 16, 2), zeros where there is no column or row."""
    @property
    def bias(self) -> NDArray[np.int32]:
        """(16 panels,), with what rounds half up and what moves the table's first index to 0."""
    @property
    def shift(self) -> NDArray[np.int32]:
        """(16 panels,), of each column."""
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...
    @property
    def table(self) -> NDArray[np.int16] | None:
        """Indexed by the clamped value, and one entry longer; None for the value itself."""
    @property
    def output(self) -> int | None:
        """The output of the network that it computes, int32; None where another stage reads it, as int16."""

@disjoint_base
class Dense:
    def __new__(cls, inputs: int, bound: int, factor: int, stages: Sequence[_Stage]) -> Self: ...
    def run(self, x: NDArray[Any], outs: Sequence[NDArray[np.int32]]) -> bool: ...
