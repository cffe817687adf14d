from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
    def shift(self) -> int: ...
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

class Dense:
    """Stages (a W + bias) * 2^-shift, clamped to [low, high], through a table: what is kept between them is int16.

    inputs: numbers a row, of magnitude at most `bound`; factor: 0, or each input a is read as the two a and factor a.
    Sums of |a w| + |bias| must stay below 2^31.
    """

    def __init__(self, inputs: int, bound: int, factor: int, stages: Sequence[_Stage]) -> None: ...
    def run(self, x: NDArray[Any], outs: Sequence[NDArray[np.int32]]) -> bool:
        """Fill outs (batch, width) from x (batch, inputs) of uint8, int16, int32, int64 or float32, both C-contiguous.

        False when x holds what is no integer within the bound. Threads may run it at the same time.
        """

def width() -> int:
    """Which registers are used: 2 for AVX-512, 1 for AVX2, 0 for neither."""

def set_wide(level: int) -> None:
    """Use AVX-512 (2), AVX2 (1), the plain loops (0), or what the processor has (-1): for tests: equal results."""
