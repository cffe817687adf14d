"""Weights become integers with the most bits for which the sums of their layer are still exact."""

from dataclasses import dataclass, replace
from math import ceil, log2, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import ModelError
from mcbits.exact.fixed import ACTIVATION_FRAC, MAX_FRAC, SIGNIFICAND_BITS, FixedPoint, narrowest
from mcbits.exact.products import AnyProduct

WEIGHT_BITS = 8
"""A layer whose largest weight would have fewer bits than this in float32 is computed in float64."""

COARSE = 1 / 64
"""Most error that rounding the weights may leave in a channel, in real units and relative to the channel's size.

A layer with a channel whose error is beyond both gets fractional bits of its own for each channel. In the published
models no channel comes near both: those with a large relative error are latents that are not used.
"""

ROW_BITS, ROW_FRAC = 15, 24
"""Most bits of a weight, and fractional bits of a sum, where each channel has its own: `exact.dense` takes these."""


NARROW_SUM_BITS = 31
"""Sums of products of 16-bit integers, and what rounds them half up, stay below 2^31."""


@dataclass(frozen=True)
class Floats:
    """A product in floating point: the kind of layer, its fields, its weight and its bias (channels,), in float64."""

    layer: type[AnyProduct]
    fields: dict[str, Any]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @property
    def _summed(self) -> tuple[int, ...]:
        # The axes of the weight that one channel sums over: its last axis, and the first of 5 (groups), are channels.
        return {1: (), 2: (0,), 5: (1, 2, 3)}[self.weight.ndim]

    def of_scaled(self, scale: float, offset: float) -> "Floats":
        """Return the product that gives for x what this one gives for scale * x + offset, where nothing is padded."""
        bias = self.bias + offset * self.weight.sum(axis=self._summed).ravel()
        return replace(self, weight=scale * self.weight, bias=bias)

    def by_channel(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return numbers (channels,) in a shape that the weight can be multiplied by."""
        if self.weight.ndim < 5:
            return numbers
        return numbers.reshape(len(self.weight), 1, 1, 1, -1)

    def rounded(self, x: FixedPoint, frac: NDArray[np.int64] | int) -> dict[str, NDArray[Any]]:
        """Return weight and bias as integers, those of channel c with frac[c] (and x.frac) fractional bits."""
        scale = np.exp2(np.broadcast_to(frac, self.bias.shape))
        return {
            "weight": narrowest(np.rint(self.weight * self.by_channel(scale)).astype(np.int64)),
            "bias": narrowest(np.rint(self.bias * scale * 2.0**x.frac).astype(np.int64)),
        }

    def coarse(self, x: FixedPoint, frac: int) -> bool:
        """Return whether weights of `frac` fractional bits leave some channel with too much error; see COARSE."""
        fan_in = prod(self.weight.shape[axis] for axis in self._summed)
        # A rounding moves a weight by 12^-1/2 of a unit, rms; inputs are taken to be at their bound.
        error = 2.0**-frac * np.sqrt(fan_in / 12)
        size = np.sqrt(np.square(self.weight).sum(axis=self._summed)).ravel()
        reach = x.bound * 2.0**-x.frac
        return bool(error * reach > COARSE and (error > COARSE * size[size > 0]).any())

    def channels(self, x: FixedPoint, index: int) -> tuple[AnyProduct, dict[str, NDArray[Any]]] | None:
        """Return the layer, reading value `index`, with as many bits for each channel as fit it, or None.

        None: the channel that has the fewest would have fewer than an activation. For float32 only.
        """
        most = ROW_FRAC - x.frac
        frac = np.full(len(self.bias), most)
        probe = self.layer(inputs=(index,), frac=0, **self.fields)
        while frac.min() + x.frac >= ACTIVATION_FRAC and frac.min() >= 0:
            tensors = self.rounded(x, frac)
            _, bounds = probe.bounds(x, tensors)
            largest = np.abs(tensors["weight"].astype(np.int64)).max(axis=self._summed).ravel()
            wide = (np.array(bounds) >= 1 << SIGNIFICAND_BITS["float32"]) | (largest >= 1 << ROW_BITS)
            if not wide.any():
                least = int(frac.min())
                shifts = tuple((frac - least).tolist())
                return self.layer(inputs=(index,), frac=least, shifts=shifts, **self.fields), tensors
            frac = frac - wide
        return None


def narrow_product(floats: Floats, x: FixedPoint, index: int) -> tuple[AnyProduct, dict[str, NDArray[Any]]]:
    """Return the layer that reads value `index`, which is x, and its integers: weights of 16 bits, sums of 32.

    Raises ModelError if the weights are not finite, or are too large for their inputs.
    """
    if not (np.isfinite(floats.weight).all() and np.isfinite(floats.bias).all()):
        raise ModelError("its weights or biases are NaN or infinite: train the model again")
    probe = floats.layer(inputs=(index,), frac=0, **floats.fields)
    for frac in range(MAX_FRAC["float32"] - x.frac, -1, -1):
        if (
            max(np.abs(floats.weight).max() * 2.0**frac, np.abs(floats.bias).max() * 2.0 ** (frac + x.frac - 16))
            >= (1 << ROW_BITS) - 1
        ):
            continue
        tensors = floats.rounded(x, frac)
        rounding = 1 << frac + x.frac >> 1  # what is added before a shift to `ACTIVATION_FRAC`, or more
        if max(probe.bounds(x, tensors)[1]) + rounding < 1 << NARROW_SUM_BITS:
            return floats.layer(inputs=(index,), frac=frac, **floats.fields), tensors
    raise ModelError("its weights are too large for integers of 16 bits: put a clamp (nn.Hardtanh) before it")


def product(floats: Floats, x: FixedPoint, index: int) -> tuple[AnyProduct, dict[str, NDArray[Any]]]:
    """Return the layer that reads value `index`, which is x, and its integers.

    Its weights are the widest that float32 allows; if those have too few bits, they are those of float64.
    Raises ModelError if the weights are not finite, or if no exact bound exists.
    """
    if not (np.isfinite(floats.weight).all() and np.isfinite(floats.bias).all()):
        raise ModelError("its weights or biases are NaN or infinite: train the model again")
    zeros = {"weight": np.zeros(floats.weight.shape, np.int16), "bias": np.zeros(floats.bias.shape, np.int16)}
    # So that a wrong shape has its own error.
    floats.layer(inputs=(index,), frac=0, **floats.fields).result([x], zeros)
    largest, largest_bias = np.abs(floats.weight).max(), np.abs(floats.bias).max()
    for dtype, limit in MAX_FRAC.items():
        cap = limit - x.frac
        widest = min(cap, 30 - ceil(log2(largest))) if largest else cap
        for frac in range(widest, -1, -1):
            if largest_bias * 2.0 ** (frac + x.frac) >= 2.0**53:
                continue
            tensors = floats.rounded(x, frac)
            candidate = floats.layer(inputs=(index,), frac=frac, **floats.fields)
            try:
                needs = candidate.result([x], tensors).dtype
            except ModelError:
                continue
            if needs == "float64" and dtype == "float32":
                continue
            bits = int(np.abs(tensors["weight"].astype(np.int64)).max()).bit_length()
            if frac != cap and bits < WEIGHT_BITS:
                break
            if dtype == "float64" or frac == cap or not floats.coarse(x, frac):
                return candidate, tensors
            if found := floats.channels(x, index):
                return found
            break
    reach = x.bound * 2.0**-x.frac
    raise ModelError(
        f"its weights (up to {largest:.3g}) are too large for any exact bound, or too many for an input that may reach "
        f"{reach:.3g}: expected {WEIGHT_BITS} bits of each, got fewer; put a clamp (nn.Hardtanh) before it"
    )
