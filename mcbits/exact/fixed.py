"""A fixed-point tensor is integers a, of value a * 2^-frac, whose proven bound keeps them exact in floats."""

from math import prod
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mcbits.errors import ModelError

SIGNIFICAND_BITS = {"float32": 24, "float64": 53}
MAX_FRAC = {"float32": 30, "float64": 44}
"""Most fractional bits of a tensor, so that every shift of a 24-bit (53-bit) integer fits int32 (int64)."""

ACTIVATION_FRAC = 8
"""Fractional bits of an activation that enters a product."""

HEAD_LIMIT = 1 << 30
"""Outputs and rounded activations are clamped to +-2^30, so that the sum of two of them fits int32."""

MAX_ELEMENTS = 1 << 26
"""Most elements (of up to 8 bytes) that one row of a batch may need: all values, the outputs and the largest scratch.

This limits what a hostile file can make a network allocate beyond the file's own size. No useful codec needs more.
"""

Dimension = Annotated[int, Field(ge=1, lt=1 << 63)]
Shape = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=8)]
"""A shape without the batch axis, channels first."""


class FixedPoint(BaseModel):
    """A description of a tensor of integers: what is known before the tensor is computed.

    shape: without the batch axis. frac: fractional bits. bound: max|a|, in units of 2^-frac.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Shape
    frac: int = Field(ge=0)
    bound: int = Field(ge=0)

    @property
    def dtype(self) -> str:
        """The floating-point type that holds these integers."""
        return dtype_for(self.bound)

    @property
    def size(self) -> int:
        """The number of elements, without the batch axis."""
        return prod(self.shape)

    def checked(self) -> "FixedPoint":
        """Return self. Raise ModelError if it has too many fractional bits or elements for the runtime."""
        if self.frac > MAX_FRAC[self.dtype]:
            raise ModelError(
                f"{self.frac} fractional bits are more than {self.dtype} integers may have: "
                f"at most {MAX_FRAC[self.dtype]}"
            )
        if self.size > MAX_ELEMENTS:
            raise ModelError(f"a tensor of shape {self.shape} is larger than {MAX_ELEMENTS} elements")
        return self


def dtype_for(bound: int) -> str:
    """Return the narrowest floating-point type in which integers of magnitude up to `bound` are exact.

    Raises ModelError for a bound of 2^53 or more.
    """
    for dtype, bits in SIGNIFICAND_BITS.items():
        if bound < 1 << bits:
            return dtype
    raise ModelError(f"the bound 2^{bound.bit_length() - 1} of a layer is beyond 2^53")


def shift_round(value: int, shift: int) -> int:
    """Return value * 2^-shift rounded to an integer, halves upwards."""
    return (value + (1 << shift >> 1)) >> shift


def narrowest(integers: np.ndarray) -> np.ndarray:
    """Return the same integers, C-contiguous, in the smallest of int16, int32, int64 that holds them."""
    extent = max(-int(integers.min()), int(integers.max()) + 1)
    for dtype in (np.int16, np.int32):
        if extent <= -int(np.iinfo(dtype).min):
            return integers.astype(dtype, order="C")
    return integers.astype(np.int64, order="C")
