"""A layer that is no product changes each integer by itself: shift, clamp, table, sum or another place; all exact."""

from math import prod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from mcbits.core import fixed
from mcbits.errors import ModelError
from mcbits.exact.backends import Backend
from mcbits.exact.fixed import HEAD_LIMIT, FixedPoint, Shape, dtype_for, shift_round
from mcbits.exact.layer import (
    Frac,
    Index,
    Layer,
    Pass,
    Rounded,
    Step,
    Take,
    Tensors,
    channels_first,
    channels_last,
    integers,
    magnitudes,
)
from mcbits.exact.products import Affine, Conv2d, ConvTranspose2d, Linear

_C_NAMES: dict[str, Literal["float", "double"]] = {"float32": "float", "float64": "double"}


class Scale(Layer):
    """The same value with `bits` more fractional bits; multiplying by a power of two is exact."""

    op: Literal["scale"] = "scale"
    inputs: tuple[Index]
    bits: Frac

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        return FixedPoint(shape=x.shape, frac=x.frac + self.bits, bound=x.bound << self.bits).checked()

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype, factor = self.result(args, tensors).dtype, 1 << self.bits
        return lambda take, x: np.multiply(x, factor, out=take("result", x.shape, dtype), dtype=dtype)


class Add(Layer):
    """The sum of two values that have the same shape and the same fractional bits."""

    op: Literal["add"] = "add"
    inputs: tuple[Index, Index]

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        a, b = args
        if (a.shape, a.frac) != (b.shape, b.frac):
            raise ModelError(f"it adds shapes {a.shape} and {b.shape}, fractional bits {a.frac} and {b.frac}")
        return FixedPoint(shape=a.shape, frac=a.frac, bound=a.bound + b.bound).checked()

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype = self.result(args, tensors).dtype
        return lambda take, a, b: np.add(a, b, out=take("result", a.shape, dtype), dtype=dtype)


class Multiply(Layer):
    """The elementwise product of two values of the same shape; its fractional bits are the sum of theirs."""

    op: Literal["multiply"] = "multiply"
    inputs: tuple[Index, Index]

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        a, b = args
        if a.shape != b.shape:
            raise ModelError(f"it multiplies shapes {a.shape} and {b.shape}")
        return FixedPoint(shape=a.shape, frac=a.frac + b.frac, bound=a.bound * b.bound).checked()

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype = self.result(args, tensors).dtype
        return lambda take, a, b: np.multiply(a, b, out=take("result", a.shape, dtype), dtype=dtype)


class Reshape(Layer):
    """The elements of each row of the batch, in torch's order, in another shape."""

    op: Literal["reshape"] = "reshape"
    inputs: tuple[Index]
    shape: Shape

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        if prod(self.shape) != x.size:
            raise ModelError(f"it reshapes {x.shape} to {self.shape}")
        return FixedPoint(shape=self.shape, frac=x.frac, bound=x.bound)

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        def step(take: Take, x: np.ndarray) -> np.ndarray:
            return channels_last(channels_first(x).reshape(len(x), *self.shape))

        return step


class Slice(Layer):
    """The channels from `start` up to, but not including, `stop`."""

    op: Literal["slice"] = "slice"
    inputs: tuple[Index]
    start: Index
    stop: Index

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        if not self.start < self.stop <= x.shape[0]:
            raise ModelError(f"it takes channels {self.start} to {self.stop} of {x.shape[0]}")
        return FixedPoint(shape=(self.stop - self.start, *x.shape[1:]), frac=x.frac, bound=x.bound)

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        return lambda take, x: np.ascontiguousarray(x[..., self.start : self.stop])


class Round(Pass):
    """The value rounded half up to `frac` fractional bits, then clamped to [low, high]; low = 0 is ReLU."""

    op: Literal["round"] = "round"
    frac: Frac
    low: Rounded = -HEAD_LIMIT
    high: Rounded = HEAD_LIMIT

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        if self.frac > x.frac or self.low > self.high:
            raise ModelError(f"it rounds {x.frac} fractional bits to {self.frac} in [{self.low}, {self.high}]")
        extent = shift_round(x.bound, x.frac - self.frac)
        ends = [min(max(end, self.low), self.high) for end in (-extent, extent)]
        return FixedPoint(shape=x.shape, frac=self.frac, bound=max(map(abs, ends))).checked()

    def build_with_bias(self, x: FixedPoint, tensors: Tensors, bias: np.ndarray) -> Step:
        dtype = self.result([x], tensors).dtype
        shift, low, high = x.frac - self.frac, self.low, self.high
        kernel = fixed.round_clamp[_C_NAMES[x.dtype], _C_NAMES[dtype]]

        def step(take: Take, acc: np.ndarray) -> np.ndarray:
            out = take("result", acc.shape, dtype)
            kernel(_rows(acc), bias, shift, low, high, _rows(out))
            return out

        return step


class Lookup(Pass):
    """A table of outputs with `frac` fractional bits, indexed by the value rounded to `index_frac` fractional bits.

    The first entry is at index `low`. Below the table the result is the first entry. Above the table it is the last
    entry, or, with `identity_above`, the value itself.
    """

    op: Literal["lookup"] = "lookup"
    table: Index
    low: Rounded
    index_frac: Frac
    frac: Frac
    identity_above: bool

    def tensor_names(self, index: int) -> dict[str, str]:
        return {"table": f"table.{self.table}"}

    def reach(self, x: FixedPoint, table: np.ndarray) -> tuple[int, int, bool]:
        """Return the first and the last index that values within the bound reach, and whether any is above the table.

        Raises ModelError if the precisions do not fit or if no value reaches the table.
        """
        if not max(self.index_frac, self.frac * self.identity_above) <= x.frac:
            raise ModelError(f"it rounds {x.frac} fractional bits to an index with {self.index_frac}")
        extent, last = shift_round(x.bound, x.frac - self.index_frac), self.low + len(table) - 1
        if not -last <= extent >= self.low:
            # The offset of such a table, in units of x, might not fit int64.
            raise ModelError(f"no value reaches its table from {self.low} to {last}: values end at +-{extent}")
        first, top = (min(max(end, self.low), last) for end in (-extent, extent))
        return first, top, self.identity_above and extent > last

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        table = integers(tensors, "table", 1)
        first, top, above = self.reach(x, table)
        bound = int(magnitudes(table[first - self.low : top - self.low + 1]).max())
        if dtype_for(bound) != "float32":
            raise ModelError(f"its table reaches {bound}, beyond 2^24")
        if above:
            bound = max(bound, shift_round(x.bound, x.frac - self.frac))
        return FixedPoint(shape=x.shape, frac=self.frac, bound=bound).checked()

    def build_with_bias(self, x: FixedPoint, tensors: Tensors, bias: np.ndarray) -> Step:
        dtype = self.result([x], tensors).dtype
        first, top, above = self.reach(x, tensors["table"])
        table = tensors["table"][first - self.low : top - self.low + 1].astype(np.float32)
        shift, identity_shift = x.frac - self.index_frac, x.frac - self.frac if above else 0
        kernel = fixed.lookup[_C_NAMES[x.dtype], _C_NAMES[dtype]]

        def step(take: Take, acc: np.ndarray) -> np.ndarray:
            out = take("result", acc.shape, dtype)
            kernel(_rows(acc), bias, shift, first, table, above, identity_shift, _rows(out))
            return out

        return step


AnyLayer = Annotated[
    Linear | Conv2d | ConvTranspose2d | Affine | Scale | Add | Multiply | Reshape | Slice | Round | Lookup,
    Field(discriminator="op"),
]


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])
