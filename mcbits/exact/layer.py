"""A layer knows the bound of its result, from its stored integers, and how to compute the result exactly."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mcbits.errors import ModelError
from mcbits.exact.backends import Backend
from mcbits.exact.fixed import HEAD_LIMIT, MAX_FRAC, FixedPoint

Tensors = Mapping[str, np.ndarray]
Take = Callable[[str, tuple[int, ...], str], np.ndarray]
Step = Callable[..., np.ndarray]
"""(take, *arrays) -> array. Arrays are (batch, *spatial, channels): channels last, unlike torch's.

take(name, shape, dtype) returns memory. The name "result" is the layer's own memory. Any other name is scratch that
later layers overwrite.
"""

Index = Annotated[int, Field(ge=0)]
Frac = Annotated[int, Field(ge=0, le=MAX_FRAC["float64"])]
Rounded = Annotated[int, Field(ge=-HEAD_LIMIT, le=HEAD_LIMIT)]


class Layer(BaseModel):
    """A layer of a frozen network.

    inputs: indices of the values it reads; the network's inputs count first, then the result of each layer.
    bound: max|a| of its result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: tuple[Index, ...]
    bound: int = 0

    def tensor_names(self, index: int) -> dict[str, str]:
        """Return the tensors it reads: {its own name: the name in the file}; `index` is the layer's position."""
        return {}

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        """Return shape, fractional bits and proven bound of the result.

        Raises ModelError if its arguments and tensors do not fit, or if no exact bound exists.
        """
        raise NotImplementedError

    def scratch(self, args: list[FixedPoint], tensors: Tensors) -> int:
        """Return the number of elements per row of a batch that it needs besides its result."""
        return 0

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        """Return the step that computes the result. A Product's step leaves the bias out."""
        raise NotImplementedError


class Pass(Layer):
    """A layer that makes one pass over a value, and adds the bias of the product it reads in the same pass."""

    inputs: tuple[Index]

    def build_with_bias(self, x: FixedPoint, tensors: Tensors, bias: np.ndarray) -> Step:
        """Return the step that adds `bias` (channels,) to the value it reads, then computes the result."""
        raise NotImplementedError


def integers(tensors: Tensors, name: str, ndim: int, bits: int = 32) -> np.ndarray:
    # Sums of 32-bit magnitudes cannot overflow the int64 that bounds are computed in.
    array = tensors[name]
    if array.dtype.kind != "i" or array.itemsize * 8 > bits or array.ndim != ndim or array.size == 0:
        raise ModelError(
            f"tensor {name!r} is {array.dtype} of shape {array.shape}, not {ndim}-dimensional integers of {bits} bits"
        )
    return array


def magnitudes(weight: np.ndarray) -> np.ndarray:
    return np.abs(weight.astype(np.int64))


def channels_first(x: np.ndarray) -> np.ndarray:
    """Return an array (batch, *spatial, channels) as torch stores it, (batch, channels, *spatial), C-contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 2 else x


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return an array (batch, channels, *spatial) as the layers here store it, channels last, C-contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim > 2 else x
