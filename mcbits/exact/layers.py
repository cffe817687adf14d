"""A layer knows the bound of its result, from its stored integers, and how to compute the result exactly."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from mcbits.core import fixed
from mcbits.errors import ModelError
from mcbits.exact.backends import Backend
from mcbits.exact.fixed import (
    HEAD_LIMIT,
    MAX_FRAC,
    FixedPoint,
    Shape,
    dtype_for,
    shift_round,
)

Tensors = Mapping[str, np.ndarray]
Take = Callable[[str, tuple[int, ...], str], np.ndarray]
Step = Callable[..., np.ndarray]
"""(take, *arrays) -> array. Arrays are (batch, *spatial, channels): channels last, unlike torch's.

take(name, shape, dtype) returns memory. The name "result" is the layer's own memory. Any other name is scratch that
later layers overwrite.
"""

Index = Annotated[int, Field(ge=0)]
Frac = Annotated[int, Field(ge=0, le=MAX_FRAC["float64"])]
Pair = tuple[Annotated[int, Field(ge=0, le=1 << 12)], Annotated[int, Field(ge=0, le=1 << 12)]]
Steps = tuple[Annotated[int, Field(ge=1, le=1 << 12)], Annotated[int, Field(ge=1, le=1 << 12)]]
Rounded = Annotated[int, Field(ge=-HEAD_LIMIT, le=HEAD_LIMIT)]


class _Layer(BaseModel):
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


class Pass(_Layer):
    """A layer that makes one pass over a value, and adds the bias of the product it reads in the same pass."""

    inputs: tuple[Index]

    def build_with_bias(self, x: FixedPoint, tensors: Tensors, bias: np.ndarray) -> Step:
        """Return the step that adds `bias` (channels,) to the value it reads, then computes the result."""
        raise NotImplementedError


def _integers(tensors: Tensors, name: str, ndim: int, bits: int = 32) -> np.ndarray:
    # Sums of 32-bit magnitudes cannot overflow the int64 that bounds are computed in.
    array = tensors[name]
    if array.dtype.kind != "i" or array.itemsize * 8 > bits or array.ndim != ndim or array.size == 0:
        raise ModelError(
            f"tensor {name!r} is {array.dtype} of shape {array.shape}, not {ndim}-dimensional integers of {bits} bits"
        )
    return array


def _magnitudes(weight: np.ndarray) -> np.ndarray:
    return np.abs(weight.astype(np.int64))


class Product(_Layer):
    """A weight (with `frac` fractional bits) times an activation, plus a bias that has the product's precision."""

    inputs: tuple[Index]
    frac: Frac

    def tensor_names(self, index: int) -> dict[str, str]:
        return {"weight": f"{index}.weight", "bias": f"{index}.bias"}

    def _accumulator(self, shape: tuple[int, ...], x: FixedPoint, sums: np.ndarray, tensors: Tensors) -> FixedPoint:
        # The premise of the theorem, sum_j |w_j| max|a_j| + |bias|, in Python's integers, which cannot overflow.
        bias = _integers(tensors, "bias", 1, bits=64)
        if len(bias) != shape[0]:
            raise ModelError(f"{len(bias)} biases for {shape[0]} channels")
        bound = max(s * x.bound + abs(b) for s, b in zip(sums.ravel().tolist(), bias.tolist(), strict=True))
        return FixedPoint(shape=shape, frac=self.frac + x.frac, bound=bound).checked()


class Linear(Product):
    """The layer torch.nn.Linear; weight (in, out)."""

    op: Literal["linear"] = "linear"

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        weight = _integers(tensors, "weight", 2)
        if x.shape != weight.shape[:1]:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {weight.shape[:1]}")
        return self._accumulator(weight.shape[1:], x, _magnitudes(weight).sum(axis=0), tensors)

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype = self.result(args, tensors).dtype
        weight = engine.prepare(tensors["weight"].astype(dtype))
        width = tensors["weight"].shape[1]

        def step(take: Take, x: np.ndarray) -> np.ndarray:
            return engine.product(x.astype(dtype, copy=False), weight, take("result", (len(x), width), dtype))

        return step


class Conv2d(Product):
    """The layer torch.nn.Conv2d with zero padding; weight (groups, height, width, in / groups, out / groups)."""

    op: Literal["conv2d"] = "conv2d"
    stride: Steps
    padding: Pair
    dilation: Steps

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        weight = _integers(tensors, "weight", 5)
        groups, *kernel, depth, width = weight.shape
        if len(x.shape) != 3 or x.shape[0] != groups * depth:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {groups * depth} channels")
        sizes = self._sizes(x, kernel)
        if min(sizes) < 1:
            raise ModelError(f"its kernel is larger than its input of shape {x.shape}")
        sums = _magnitudes(weight).sum(axis=(1, 2, 3))
        return self._accumulator((groups * width, *sizes), x, sums, tensors)

    def _padded(self, x: FixedPoint) -> list[int]:
        return [n + 2 * p for n, p in zip(x.shape[1:], self.padding, strict=True)]

    def _sizes(self, x: FixedPoint, kernel: list[int]) -> list[int]:
        return [
            (n - d * (k - 1) - 1) // s + 1
            for n, d, k, s in zip(self._padded(x), self.dilation, kernel, self.stride, strict=True)
        ]

    def scratch(self, args: list[FixedPoint], tensors: Tensors) -> int:
        (x,) = args
        groups, *kernel, depth, width = tensors["weight"].shape
        pixels = prod(self._sizes(x, kernel))
        patches: int = pixels * prod(kernel) * groups * depth
        product: int = pixels * groups * width if groups > 1 else 0
        return prod(self._padded(x)) * x.shape[0] + patches + product

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        result = self.result(args, tensors)
        dtype, (channels, rows, cols) = result.dtype, result.shape
        groups, high, wide, depth, width = tensors["weight"].shape
        weight = engine.prepare(tensors["weight"].astype(dtype).reshape(groups, high * wide * depth, width))
        (top, left), (down, across) = self.padding, self.dilation

        def step(take: Take, x: np.ndarray) -> np.ndarray:
            n = len(x)
            padded = take("padded", (n, x.shape[1] + 2 * top, x.shape[2] + 2 * left, x.shape[3]), dtype)
            padded[:] = 0
            padded[:, top : top + x.shape[1], left : left + x.shape[2]] = x
            windows = np.lib.stride_tricks.sliding_window_view(
                padded, (down * (high - 1) + 1, across * (wide - 1) + 1), axis=(1, 2)
            )[:, :: self.stride[0], :: self.stride[1], :, ::down, ::across]
            windows = windows.reshape(n, rows, cols, groups, depth, high, wide).transpose(3, 0, 1, 2, 5, 6, 4)
            patches = take("patches", windows.shape, dtype)
            patches[:] = windows
            out = take("result" if groups == 1 else "product", (groups, n * rows * cols, width), dtype)
            engine.product(patches.reshape(groups, n * rows * cols, -1), weight, out)
            if groups > 1:
                by_group, out = out, take("result", (n * rows * cols, groups, width), dtype)
                out[:] = by_group.transpose(1, 0, 2)
            return out.reshape(n, rows, cols, channels)

        return step


class ConvTranspose2d(Product):
    """The layer torch.nn.ConvTranspose2d; weight (groups, in / groups, height, width, out / groups)."""

    op: Literal["conv_transpose2d"] = "conv_transpose2d"
    stride: Steps
    padding: Pair
    output_padding: Pair

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        weight = _integers(tensors, "weight", 5)
        groups, depth, *kernel, width = weight.shape
        if len(x.shape) != 3 or x.shape[0] != groups * depth:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {groups * depth} channels")
        full = self._full(x, kernel)
        sizes = [n - 2 * p for n, p in zip(full, self.padding, strict=True)]
        if min(sizes) < 1:
            raise ModelError(f"its padding {self.padding} leaves nothing of its output")
        # Only every stride-th tap of the kernel reaches a given output pixel. If the stride is longer than the
        # kernel, only one tap does.
        taps = _magnitudes(weight).sum(axis=1)
        (down, up), (across, over) = ((min(s, k), -(-k // min(s, k))) for s, k in zip(self.stride, kernel, strict=True))
        taps = np.pad(taps, ((0, 0), (0, up * down - kernel[0]), (0, over * across - kernel[1]), (0, 0)))
        phases = taps.reshape(groups, up, down, over, across, width).sum(axis=(1, 3))
        return self._accumulator((groups * width, *sizes), x, phases.max(axis=(1, 2)), tensors)

    def _full(self, x: FixedPoint, kernel: list[int]) -> list[int]:
        return [
            (n - 1) * s + k + o
            for n, s, k, o in zip(x.shape[1:], self.stride, kernel, self.output_padding, strict=True)
        ]

    def scratch(self, args: list[FixedPoint], tensors: Tensors) -> int:
        (x,) = args
        groups, _, *kernel, width = tensors["weight"].shape
        taps: int = prod(x.shape[1:]) * groups * prod(kernel) * width
        image: int = prod(self._full(x, kernel)) * groups * width if any(self.padding) else 0
        return taps + image

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        result = self.result(args, tensors)
        dtype, (channels, rows, cols) = result.dtype, result.shape
        groups, depth, high, wide, width = tensors["weight"].shape
        weight = engine.prepare(tensors["weight"].astype(dtype).reshape(groups, depth, high * wide * width))
        full = self._full(args[0], [high, wide])
        (top, left), (down, across) = self.padding, self.stride

        def step(take: Take, x: np.ndarray) -> np.ndarray:
            n, h, w = x.shape[:3]
            a = x.astype(dtype, copy=False).reshape(n * h * w, groups, depth).transpose(1, 0, 2)
            out = take("taps", (groups, n * h * w, high * wide * width), dtype)
            taps = engine.product(np.ascontiguousarray(a), weight, out)
            taps = taps.reshape(groups, n, h, w, high, wide, width).transpose(1, 2, 3, 4, 5, 0, 6)
            image = take("image" if top or left else "result", (n, *full, groups, width), dtype)
            image[:] = 0
            # Loop over taps or over pixels, whichever are fewer: then there are at most sqrt(MAX_ELEMENTS) steps.
            if high * wide <= h * w:
                for i, j in np.ndindex(high, wide):
                    to = image[:, i : i + down * (h - 1) + 1 : down, j : j + across * (w - 1) + 1 : across]
                    to += taps[:, :, :, i, j]
            else:
                for i, j in np.ndindex(h, w):
                    to = image[:, down * i : down * i + high, across * j : across * j + wide]
                    to += taps[:, i, j]
            if top or left:
                whole, image = image, take("result", (n, rows, cols, groups, width), dtype)
                image[:] = whole[:, top : top + rows, left : left + cols]
            return image.reshape(n, rows, cols, channels)

        return step


class Affine(Product):
    """A weight and a bias for each channel: BatchNorm in evaluation, or multiplication by a number."""

    op: Literal["affine"] = "affine"

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        weight = _integers(tensors, "weight", 1)
        if len(weight) != x.shape[0]:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {len(weight)} channels")
        return self._accumulator(x.shape, x, _magnitudes(weight), tensors)

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype = self.result(args, tensors).dtype
        weight = tensors["weight"].astype(dtype)
        return lambda take, x: np.multiply(x, weight, out=take("result", x.shape, dtype), dtype=dtype)


class Scale(_Layer):
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


class Add(_Layer):
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


class Multiply(_Layer):
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


class Reshape(_Layer):
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


class Slice(_Layer):
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
        table = _integers(tensors, "table", 1)
        first, top, above = self.reach(x, table)
        bound = int(_magnitudes(table[first - self.low : top - self.low + 1]).max())
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

_C_NAMES: dict[str, Literal["float", "double"]] = {"float32": "float", "float64": "double"}


def _rows(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, x.shape[-1])


def channels_first(x: np.ndarray) -> np.ndarray:
    """Return an array (batch, *spatial, channels) as torch stores it, (batch, channels, *spatial), C-contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if x.ndim > 2 else x


def channels_last(x: np.ndarray) -> np.ndarray:
    """Return an array (batch, channels, *spatial) as the layers here store it, channels last, C-contiguous."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim > 2 else x
