from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

_C = Literal["int32_t", "float", "double"]

class _Fused(Protocol):
    def __getitem__(self, types: tuple[_C, _C]) -> Callable[..., None]: ...

round_clamp: _Fused
"""round_clamp[types](acc, bias, shift, low, high, out)"""
lookup: _Fused
"""lookup[types](acc, bias, shift, low, table, identity_above, identity_shift, out)"""

def is_integral(a: NDArray[np.float32], bound: float) -> bool: ...
def shift_channels(acc: NDArray[np.float32], bias: NDArray[np.float32], shifts: NDArray[np.int32]) -> None: ...
