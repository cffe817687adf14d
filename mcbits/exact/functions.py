"""Elementary functions of arrays that return the same bits on every machine: IEEE + - * / sqrt, in one order.

`numpy.exp`, `torch.exp` and their like do not: their last bit differs between versions, processors, and even between
the elements of one array. So what decides a bit of a file is computed by these. They take float64 of any shape, or
what becomes that, and return float64 of the same shape.

>>> from mcbits.exact import functions
>>> [x.hex() for x in functions.exp([1.0, -20.3]).tolist()]
['0x1.5bf0a8b14576ap+1', '0x1.a3b8dc86d1c8ep-30']
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits.core import numerics


def exp(x: ArrayLike) -> NDArray[np.float64]:
    """Return e^x, within 1e-15 relative."""
    return numerics.exp_array(x)


def log2(x: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm to base 2, within 1e-15 of max(1, |log2 x|); -inf at 0, nan below."""
    return numerics.log2_array(x)


def sigmoid(x: ArrayLike) -> NDArray[np.float64]:
    """Return 1 / (1 + e^-x), within 2e-15 relative in both tails."""
    return numerics.sigmoid_array(x)


def ndtr(x: ArrayLike) -> NDArray[np.float64]:
    """Return the standard normal cdf, within 1e-14 relative also in the lower tail."""
    return numerics.ndtr_array(x)


def ndtri(p: ArrayLike) -> NDArray[np.float64]:
    """Return the standard normal quantile, the inverse of `ndtr`; -inf at 0, inf at 1, nan outside [0, 1]."""
    return numerics.ndtri_array(p)
