"""Dense layers whose integers fit 16 bits are multiplied as int16: the same sums, in half the memory and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.core.dense import Dense
from mcbits.exact.fixed import HEAD_LIMIT, FixedPoint
from mcbits.exact.layers import Linear, Lookup, Pass, Round, Tensors

PANEL = 16
INT16 = (1 << 15) - 1
LINE = 32
MAX_INPUTS = 1 << 15
"""Most inputs: splitting the weights in two adds at most 2^15 to a sum for each input, so sums stay within int32."""


@dataclass(frozen=True)
class Stage:
    """A linear layer and the one pass, or output of the network, that reads it; `dense.pyi` describes the fields."""

    source: int
    width: int
    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    shift: int
    low: int
    high: int
    table: NDArray[np.int16] | None
    output: int | None


def dense_form(
    values: Sequence[FixedPoint], layers: Sequence[Any], outputs: Sequence[Any], tensors: Sequence[Tensors]
) -> Dense | None:
    """Return the network as a chain of int16 products, or None if it does not have that form.

    The form: one input; each Linear is read by exactly one pass or is exactly one output; each pass reads a Linear;
    all integers fit 16 bits, those of the first layers after a split into two.
    values: the one input, then each layer's result. tensors: for each layer, the tensors it reads.
    """
    x, stage_of = values[0], {0: 0}
    stages: list[Stage] = []
    if len(values) != len(layers) + 1 or len(x.shape) != 1 or x.size > MAX_INPUTS or x.bound > INT16:
        return None
    both = zip(layers, tensors, strict=True)
    linear = {i: (layer, own) for i, (layer, own) in enumerate(both, 1) if isinstance(layer, Linear)}
    first = [own["weight"] for layer, own in linear.values() if layer.inputs == (0,)]
    split = 0 if all(_extent(w) <= INT16 for w in first) else 15 - x.bound.bit_length()
    for i, (layer, own) in linear.items():
        readers = [j + 1 for j, reader in enumerate(layers) if i in reader.inputs]
        ends = [j for j, output in enumerate(outputs) if output.value == i]
        if len(readers) + len(ends) != 1 or values[i].dtype != "float32" or layer.inputs[0] not in stage_of:
            return None
        if ends:
            shift, low, high, table, offset = values[i].frac - outputs[ends[0]].frac, -HEAD_LIMIT, HEAD_LIMIT, None, 0
        else:
            found = _pass(values[i], layers[readers[0] - 1], tensors[readers[0] - 1])
            if found is None or values[readers[0]].bound > INT16:
                return None
            shift, low, high, table, offset = found
            stage_of[readers[0]] = len(stages) + 1
        weight = own["weight"].astype(np.int64)
        if split and layer.inputs == (0,):
            # w = 2^split * upper + lower; each row of lower is followed by the same row of upper.
            upper = (weight + (1 << split >> 1)) >> split
            weight = np.stack([weight - (upper << split), upper], axis=1).reshape(-1, weight.shape[1])
        if _extent(weight) > INT16:
            return None
        bias = own["bias"].astype(np.int64) + (1 << shift >> 1) - offset
        stages.append(
            Stage(
                source=stage_of[layer.inputs[0]],
                width=len(bias),
                weight=_packed(weight),
                bias=np.pad(bias, (0, -len(bias) % PANEL)).astype(np.int32),
                shift=shift,
                low=low,
                high=high,
                table=table,
                output=ends[0] if ends else None,
            )
        )
    if len(linear) + len(stage_of) - 1 != len(layers) or any(output.value not in linear for output in outputs):
        return None
    return Dense(x.size, x.bound, 1 << split if split else 0, stages)


def _pass(x: FixedPoint, layer: Pass, own: Tensors) -> tuple[int, int, int, NDArray[np.int16] | None, int] | None:
    """Return the shift, the low and high clamp, the table, and what to subtract so that the first index is 0."""
    if isinstance(layer, Round):
        return x.frac - layer.frac, layer.low, layer.high, None, 0
    if not isinstance(layer, Lookup):
        return None
    first, top, above = layer.reach(x, own["table"])
    table = own["table"][first - layer.low : top - layer.low + 1]
    if above or _extent(table) > INT16:
        return None
    shift = x.frac - layer.index_frac
    return shift, 0, len(table) - 1, np.append(table, 0).astype(np.int16), first << shift


def _extent(integers: NDArray[Any]) -> int:
    return max(-int(integers.min()), int(integers.max()))


def _packed(weight: NDArray[np.int64]) -> NDArray[np.int16]:
    depth, width = weight.shape
    padded = np.zeros((-(-depth // 2) * 2, -(-width // PANEL) * PANEL), np.int16)
    padded[:depth, :width] = weight
    panels = padded.reshape(-1, 2, padded.shape[1] // PANEL, PANEL).transpose(2, 0, 3, 1)
    # Start at a cache line: a vector register is as wide as one line, so no load crosses two lines.
    memory = np.empty(panels.size + LINE, np.int16)
    start = -memory.ctypes.data // memory.itemsize % LINE
    memory[start : start + panels.size] = panels.reshape(-1)
    return memory[start : start + panels.size].reshape(panels.shape)
