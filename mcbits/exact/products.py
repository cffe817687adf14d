"""The sums of a product stay within its bound, so that they are exact in any order: linear layers and convolutions."""

from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from mcbits.errors import ModelError
from mcbits.exact.backends import Backend
from mcbits.exact.fixed import FixedPoint, shift_round
from mcbits.exact.layer import Frac, Index, Layer, Step, Take, Tensors, integers, magnitudes

Pair = tuple[Annotated[int, Field(ge=0, le=1 << 12)], Annotated[int, Field(ge=0, le=1 << 12)]]
Steps = tuple[Annotated[int, Field(ge=1, le=1 << 12)], Annotated[int, Field(ge=1, le=1 << 12)]]


class Product(Layer):
    """A weight (with `frac` fractional bits) times an activation, plus a bias that has the product's precision.

    shifts: how many more fractional bits the weights and the bias of each channel have. They are rounded away from the
    channel's sum. Empty if there are none, and then the file does not have it.
    """

    inputs: tuple[Index]
    frac: Frac
    shifts: tuple[Frac, ...] = ()

    @model_serializer(mode="wrap")
    def _without_empty_shifts(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if not self.shifts:
            del fields["shifts"]
        return fields

    def tensor_names(self, index: int) -> dict[str, str]:
        return {"weight": f"{index}.weight", "bias": f"{index}.bias"}

    def sums(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], np.ndarray]:
        """Return the shape of the result, and for each channel the largest sum of magnitudes of weights.

        Raises ModelError if the weight does not fit the input.
        """
        raise NotImplementedError

    def bounds(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], list[int]]:
        """Return the shape of the result, and the bound of the sums of each channel."""
        # The premise of the theorem, sum_j |w_j| max|a_j| + |bias|, in Python's integers, which cannot overflow.
        shape, sums = self.sums(x, tensors)
        bias = integers(tensors, "bias", 1, bits=64)
        if len(bias) != shape[0]:
            raise ModelError(f"{len(bias)} biases for {shape[0]} channels")
        return shape, [s * x.bound + abs(b) for s, b in zip(sums.ravel().tolist(), bias.tolist(), strict=True)]

    def result(self, args: list[FixedPoint], tensors: Tensors) -> FixedPoint:
        (x,) = args
        shape, bounds = self.bounds(x, tensors)
        most = max(self.shifts, default=0)
        sums = FixedPoint(shape=shape, frac=self.frac + x.frac + most, bound=max(bounds)).checked()
        if not self.shifts:
            return sums
        if len(self.shifts) != shape[0]:
            raise ModelError(f"{len(self.shifts)} shifts for {shape[0]} channels")
        if sums.dtype != "float32":
            raise ModelError(f"it shifts sums up to {sums.bound}, beyond 2^24")
        bound = max(shift_round(b, shift) for b, shift in zip(bounds, self.shifts, strict=True))
        return FixedPoint(shape=shape, frac=self.frac + x.frac, bound=bound)


class Linear(Product):
    """The layer torch.nn.Linear; weight (in, out)."""

    op: Literal["linear"] = "linear"

    def sums(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], np.ndarray]:
        weight = integers(tensors, "weight", 2)
        if x.shape != weight.shape[:1]:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {weight.shape[:1]}")
        return weight.shape[1:], magnitudes(weight).sum(axis=0)

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

    def sums(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], np.ndarray]:
        weight = integers(tensors, "weight", 5)
        groups, *kernel, depth, width = weight.shape
        if len(x.shape) != 3 or x.shape[0] != groups * depth:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {groups * depth} channels")
        sizes = self._sizes(x, kernel)
        if min(sizes) < 1:
            raise ModelError(f"its kernel is larger than its input of shape {x.shape}")
        return (groups * width, *sizes), magnitudes(weight).sum(axis=(1, 2, 3))

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

    def sums(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], np.ndarray]:
        weight = integers(tensors, "weight", 5)
        groups, depth, *kernel, width = weight.shape
        if len(x.shape) != 3 or x.shape[0] != groups * depth:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {groups * depth} channels")
        full = self._full(x, kernel)
        sizes = [n - 2 * p for n, p in zip(full, self.padding, strict=True)]
        if min(sizes) < 1:
            raise ModelError(f"its padding {self.padding} leaves nothing of its output")
        # Only every stride-th tap of the kernel reaches a given output pixel. If the stride is longer than the
        # kernel, only one tap does.
        taps = magnitudes(weight).sum(axis=1)
        (down, up), (across, over) = ((min(s, k), -(-k // min(s, k))) for s, k in zip(self.stride, kernel, strict=True))
        taps = np.pad(taps, ((0, 0), (0, up * down - kernel[0]), (0, over * across - kernel[1]), (0, 0)))
        phases = taps.reshape(groups, up, down, over, across, width).sum(axis=(1, 3))
        return (groups * width, *sizes), phases.max(axis=(1, 2))

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

    def sums(self, x: FixedPoint, tensors: Tensors) -> tuple[tuple[int, ...], np.ndarray]:
        weight = integers(tensors, "weight", 1)
        if len(weight) != x.shape[0]:
            raise ModelError(f"its input has shape {x.shape}, its weight expects {len(weight)} channels")
        return x.shape, magnitudes(weight)

    def build(self, args: list[FixedPoint], tensors: Tensors, engine: Backend) -> Step:
        dtype = self.result(args, tensors).dtype
        weight = tensors["weight"].astype(dtype)
        return lambda take, x: np.multiply(x, weight, out=take("result", x.shape, dtype), dtype=dtype)


AnyProduct = Linear | Conv2d | ConvTranspose2d | Affine
