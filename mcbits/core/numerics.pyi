"""Elementary functions that give the same bits on every platform: IEEE + - * / sqrt and powers of two, nothing else.

Every function takes float64 values of any shape and returns float64 of the same shape.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

def exp_array(x: ArrayLike) -> NDArray[np.float64]:
    """e^x, within 1e-15 relative."""

def log2_array(x: ArrayLike) -> NDArray[np.float64]:
    """Base-2 logarithm, within 1e-15 of max(1, |log2 x|); -inf at 0, nan below."""

def ndtr_array(x: ArrayLike) -> NDArray[np.float64]:
    """Standard normal cdf, within 1e-14 relative also in the lower tail."""

def ndtri_array(p: ArrayLike) -> NDArray[np.float64]:
    """Standard normal quantile, the inverse of `ndtr_array`; -inf at 0, inf at 1, nan outside [0, 1]."""
