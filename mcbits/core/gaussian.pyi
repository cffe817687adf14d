from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from mcbits._rans import Stack

_I32 = NDArray[np.int32]
_U32 = NDArray[np.uint32]
_F64 = NDArray[np.float64]

MEAN_FRAC: int
LOG_SCALE_FRAC: int
"""Fractional bits of fixed-point means and of log-scales."""
TABLE_DRAWS: int
"""From so many draws on, a table of all buckets costs less than a cdf for each symbol."""

def gaussian_table(mean: _I32, log_scale: _I32, edges: _F64, leak: int, precision: int) -> _U32: ...
def gaussian_intervals(
    symbols: _I32, mean: _I32, log_scale: _I32, edges: _F64, leak: int, precision: int
) -> tuple[_U32, _U32]: ...
def gaussian_push(
    stack: Stack, symbols: _I32, mean: _I32, log_scale: _I32, edges: _F64, leak: int, precision: int
) -> None: ...

@disjoint_base
class Buckets:
    def __new__(cls, edges: _F64) -> Self: ...

def gaussian_pop(
    stack: Stack, draws: int, mean: _I32, log_scale: _I32, buckets: Buckets, leak: int, precision: int
) -> _I32: ...
