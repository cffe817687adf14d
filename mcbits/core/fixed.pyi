from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

_C = Literal["int32_t", "float", "double"]

class _Fused(Protocol):
    def __getitem__(self, types: tuple[_C, _C]) -> Callable[..., None]:
        """The kernel for these C types of acc and out: choosing it once is cheaper than at every call."""

def is_integral(a: NDArray[np.float32], bound: float) -> bool:
    """Whether every element of a (n,) is an integer of magnitude at most `bound` < 2^24."""

round_clamp: _Fused
"""round_clamp[types](acc, bias, shift, low, high, out): out = clamp((acc + bias) * 2^-shift, low, high).

Rounds half up. acc (rows, channels) and bias (channels,) are integer-valued, both float32 with
|acc + bias| < 2^24 and shift <= 30, or both float64 with 2^53 and 44; out (rows, channels) is int32, float32
or float64.
"""

lookup: _Fused
"""lookup[types](acc, bias, shift, low, table, identity_above, identity_shift, out): out = table[i - low].

i = (acc + bias) * 2^-shift rounded half up, clamped to the float32 table; with `identity_above`, an i above
the table gives (acc + bias) * 2^-identity_shift rounded half up instead. acc and bias as above; out is
float32 or float64.
"""

def set_wide(wide: int) -> None:
    """Use AVX2 (1), the plain loops (0), or what the processor has (-1): for tests, the results being equal."""
