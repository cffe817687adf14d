"""Dense layers whose integers fit 16 bits are multiplied as int16: the same sums, in half the memory and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcbits.core.dense import Dense
from mcbits.exact.fixed import HEAD_LIMIT, FixedPoint
from mcbits.exact.layer import Pass, Tensors
from mcbits.exact.layers import Lookup, Round
from mcbits.exact.products import Linear

PANEL = 16
INT16 = (1 << 15) - 1
INT32 = (1 << 31) - 1
LINE = 32


@dataclass(frozen=True)
class Stage:
    """A linear layer and the one pass, or output of the network, that reads it; `dense.pyi` describes the fields."""

    source: int
    width: int
    weight: NDArray[np.int16]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]
    low: int
    high: int
    table: NDArray[np.int16] | None
    output: int | None


class NotDense(Exception):
    """The network is no chain of int16 products.

    layer: index of the layer that prevents it, None if the inputs do. reason: what of it does.
    """

    def __init__(self, layer: int | None, reason: str) -> None:
        super().__init__(layer, reason)
        self.layer, self.reason = layer, reason


class _After(NamedTuple):
    """What follows a sum: a shift, a clamp, a table; `offset`, subtracted before the shift, makes the first index 0."""

    shift: int
    low: int
    high: int
    table: NDArray[np.int16] | None
    offset: int


def dense_form(
    values: Sequence[FixedPoint], layers: Sequence[Any], outputs: Sequence[Any], tensors: Sequence[Tensors]
) -> Dense:
    """Return the network as a chain of int16 products. Raise NotDense if it does not have that form.

    The form: one input; each Linear is read by exactly one pass or is exactly one output; each pass reads a Linear;
    all integers fit 16 bits, those of the first layers after a split into two; all sums fit 32.
    values: the one input, then each layer's result. tensors: for each layer, the tensors it reads.
    """
    linear = _linear_layers(values, layers)
    x, stage_of = values[0], {0: 0}
    first = [tensors[i - 1]["weight"] for i, layer in linear.items() if layer.inputs == (0,)]
    split = 0 if all(_extent(w) <= INT16 for w in first) else 15 - x.bound.bit_length()
    stages: list[Stage] = []
    for i, layer in linear.items():
        readers = [j for j, reader in enumerate(layers, 1) if i in reader.inputs]
        ends = [j for j, output in enumerate(outputs) if output.value == i]
        if len(readers) + len(ends) != 1:
            raise NotDense(i - 1, "is not read exactly once")
        (read,) = layer.inputs
        if read not in stage_of:
            raise NotDense(i - 1, "reads a linear layer without a nonlinearity between them")
        if ends:
            after = _After(values[i].frac - outputs[ends[0]].frac, -HEAD_LIMIT, HEAD_LIMIT, None, 0)
        else:
            after = _after(readers[0], values, layers, tensors)
            stage_of[readers[0]] = len(stages) + 1
        try:
            weight = _halves(tensors[i - 1]["weight"], split if read == 0 else 0)
            reach = np.full(len(weight), values[read].bound)
            if split and read == 0:
                reach[1::2] <<= split
            bias, shift = _tail(layer, tensors[i - 1]["bias"], after)
            _check_fit(weight, reach, bias)
        except NotDense as error:
            raise NotDense(i - 1, error.reason) from None
        stages.append(
            Stage(
                source=stage_of[read],
                width=len(bias),
                weight=_packed(weight),
                bias=np.pad(bias, (0, -len(bias) % PANEL)).astype(np.int32),
                shift=np.pad(shift, (0, -len(bias) % PANEL)).astype(np.int32),
                low=after.low,
                high=after.high,
                table=after.table,
                output=ends[0] if ends else None,
            )
        )
    if any(output.value not in linear for output in outputs):
        raise NotDense(len(layers) - 1, "ends in an output that is not a linear layer")
    return Dense(x.size, x.bound, 1 << split if split else 0, stages)


def _linear_layers(values: Sequence[FixedPoint], layers: Sequence[Any]) -> dict[int, Linear]:
    """Return the linear layers by the number of their value. Raise NotDense if there are layers of other kinds."""
    if len(values) != len(layers) + 1:
        raise NotDense(None, "the network has more than one input")
    linear = {i: layer for i, layer in enumerate(layers, 1) if isinstance(layer, Linear)}
    for i, layer in enumerate(layers):
        if not isinstance(layer, Linear) and not (isinstance(layer, Pass) and layer.inputs[0] in linear):
            raise NotDense(i, "is neither a linear layer nor a nonlinearity of one")
    x = values[0]
    if len(x.shape) != 1 or x.bound > INT16:
        raise NotDense(None, f"expected rows of integers within +-{INT16} as the input, got {x}")
    return linear


def _after(reader: int, values: Sequence[FixedPoint], layers: Sequence[Any], tensors: Sequence[Tensors]) -> _After:
    """Return what the pass of value `reader` does to the sum that it reads."""
    layer = layers[reader - 1]
    x = values[layer.inputs[0]]
    if values[reader].bound > INT16:
        raise NotDense(
            reader - 1, f"reaches {values[reader].bound}, beyond 16 bits (nn.ReLU6 or nn.Hardtanh would not)"
        )
    if isinstance(layer, Round):
        return _After(x.frac - layer.frac, layer.low, layer.high, None, 0)
    assert isinstance(layer, Lookup)
    own = tensors[reader - 1]["table"]
    first, top, above = layer.reach(x, own)
    table = own[first - layer.low : top - layer.low + 1]
    if above or _extent(table) > INT16:
        raise NotDense(reader - 1, "goes on beyond its table, or has one of more than 16 bits")
    shift = x.frac - layer.index_frac
    return _After(shift, 0, len(table) - 1, np.append(table, 0).astype(np.int16), first << shift)


def _halves(weight: NDArray[Any], split: int) -> NDArray[np.int64]:
    """Return w, or if split > 0 each row of w = 2^split * upper + lower as two rows: lower, then upper."""
    whole = weight.astype(np.int64)
    if not split:
        return whole
    upper = (whole + (1 << split >> 1)) >> split
    return np.stack([whole - (upper << split), upper], axis=1).reshape(-1, whole.shape[1])


def _tail(layer: Linear, bias: NDArray[Any], after: _After) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each column what is added to its sum, and by how much that is shifted then.

    The layer's shift s and the next one t are one: floor((floor(n / 2^s) + h) / 2^t) = floor((n + h 2^s) / 2^(s + t)).
    """
    own = np.array(layer.shifts or [0] * len(bias), np.int64)
    shift = own + after.shift
    if int(shift.max()) > 31:
        raise NotDense(None, f"is shifted by {shift.max()} bits, more than 31")
    half = (1 << after.shift >> 1) - after.offset
    return bias.astype(np.int64) + (1 << own >> 1) + (half << own), shift


def _check_fit(weight: NDArray[np.int64], reach: NDArray[np.int64], bias: NDArray[np.int64]) -> None:
    if (extent := _extent(weight)) > INT16:
        raise NotDense(None, f"has weights up to {extent}, beyond 16 bits")
    most = int((reach @ np.abs(weight) + np.abs(bias)).max())
    if most > INT32:
        raise NotDense(None, f"has sums up to {most}, beyond 32 bits")


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
