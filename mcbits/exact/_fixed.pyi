import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32] | NDArray[np.float64]

def is_integral(a: NDArray[np.float32], bound: float) -> bool:
    """Whether every element of a (n,) is an integer of magnitude at most `bound` < 2^24."""

def round_clamp(
    acc: Float, bias: Float, shift: int, low: int, high: int, out: NDArray[np.int32] | Float
) -> None:
    """out = clamp((acc + bias) * 2^-shift rounded half up, low, high).

    acc (rows, channels) and bias (channels,) are integer-valued and of one dtype, |acc + bias| < 2^24 (2^53).
    """

def lookup(
    acc: Float,
    bias: Float,
    shift: int,
    low: int,
    table: NDArray[np.float32],
    identity_above: bool,
    identity_shift: int,
    out: Float,
) -> None:
    """out = table[clamp(i - low, 0, len(table) - 1)], i = (acc + bias) * 2^-shift rounded half up.

    With `identity_above`, an i above the table gives (acc + bias) * 2^-identity_shift rounded half up instead.
    """
