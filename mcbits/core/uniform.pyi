import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]

def uniform_inverse(quantiles: _U64, sizes: _I64, precision: int) -> _I64: ...
def uniform_push(stack: Stack, symbols: _I64, sizes: _I64, precision: int) -> None: ...
def uniform_pop(stack: Stack, sizes: _I64, precision: int) -> _I64: ...
