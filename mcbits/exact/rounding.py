"""Each weight keeps only the bits that its model's rate feels: a coarser one costs less than it saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import ModelError
from mcbits.exact.fixed import FixedPoint, narrowest
from mcbits.exact.layers import AnyLayer, Lookup, Reshape, Round, Scale
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.products import Linear

MOST_STEP = 24
"""Most bits that a weight loses."""

DAMPING = 1e-3
"""What of the mean square of an input is taken not to follow from others."""

FELT = 2
"""How many times what is estimated rounding costs, as measured: weights are felt together."""

_F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Sensitivity:
    """Mean products of what a linear layer reads, and mean squares of the gradient of a loss by its sums, in integers.

    read: (in + 1, in + 1); the last input is 1, which the bias multiplies. columns: (out,).
    If the weights of channel o move by d, with its bias, that costs about columns[o] * d @ read @ d / 2 (Gauss and
    Newton, taken apart).
    """

    read: _F64
    columns: _F64


def sensitivities(network: FrozenNetwork, values: list[_F64], gradients: Sequence[_F64]) -> dict[int, Sensitivity]:
    """Return the sensitivity of each linear layer by its index.

    values: what `run_float` gives. gradients: for each output (n, channels), of a loss in nats for each of n inputs by
    the output as a real number; if they are random, their covariance is the curvature of the loss.
    Raises ModelError unless the layers are linear, scale, reshape, round or lookup.
    """
    back: list[Any] = [np.zeros(1)] * len(values)
    for output, gradient in zip(network.outputs, gradients, strict=True):
        back[output.value] = back[output.value] + gradient
    found = {}
    for index in range(len(network.layers) - 1, -1, -1):
        layer, here = network.layers[index], len(network.inputs) + index
        read = layer.inputs[0]
        x, known = values[read], network.values[read]
        g = back[here]
        if isinstance(layer, Linear):
            # A gradient by integers is as much smaller as they are finer than real numbers.
            g = np.broadcast_to(g, values[here].shape) * 2.0 ** -np.array(layer.shifts or [0], np.float64)
            with_one = np.concatenate([x, np.ones((len(x), 1))], axis=1)
            columns = np.square(g / 2.0 ** network.values[here].frac).mean(0)
            found[index] = Sensitivity(with_one.T @ with_one / len(x), columns)
            g = g @ network.tensors[f"{index}.weight"].T.astype(np.float64) * 2.0**-layer.frac
        else:
            g = g * _slope(layer, network, x, known)
        back[read] = back[read] + g
    return found


def run_float(network: FrozenNetwork, inputs: NDArray[np.integer]) -> list[_F64]:
    """Return the integers of the input (n, size) and of each layer, as float64 that are not rounded.

    Raises ModelError as `sensitivities` does.
    """
    values: list[_F64] = [inputs.astype(np.float64)]
    for index, layer in enumerate(network.layers):
        read = layer.inputs[0]
        x, known = values[read], network.values[read]
        if isinstance(layer, Linear):
            weight, bias = (network.tensors[f"{index}.{name}"].astype(np.float64) for name in ("weight", "bias"))
            values.append((x @ weight + bias) * 2.0 ** -np.array(layer.shifts or [0], np.float64))
        elif isinstance(layer, Scale):
            values.append(x * 2.0**layer.bits)
        elif isinstance(layer, Reshape):
            values.append(x)
        elif isinstance(layer, Round):
            values.append(np.clip(x * 2.0 ** (layer.frac - known.frac), layer.low, layer.high))
        elif isinstance(layer, Lookup):
            values.append(_looked_up(layer, network, x, known)[0])
        else:
            raise ModelError(f"layer {index} ({layer.op}) cannot have fewer bits yet: linear ones between curves can")
    return values


def _slope(layer: AnyLayer, network: FrozenNetwork, x: _F64, known: FixedPoint) -> _F64 | float:
    """Return the derivative of a layer's result, as a real number, by what it reads."""
    if isinstance(layer, Round):
        y = x * 2.0 ** (layer.frac - known.frac)
        return ((y > layer.low) & (y < layer.high)).astype(np.float64)
    if isinstance(layer, Lookup):
        return _looked_up(layer, network, x, known)[1]
    return 1.0


def _looked_up(layer: Lookup, network: FrozenNetwork, x: _F64, known: FixedPoint) -> tuple[_F64, _F64]:
    """Return the integers that a table gives, and their slope as real numbers."""
    table = network.tensors[f"table.{layer.table}"].astype(np.float64)
    index = np.floor(x * 2.0 ** (layer.index_frac - known.frac) + 0.5).astype(np.int64) - layer.low
    step = 1 << max(0, layer.index_frac - 3)
    low, at, high = (np.clip(index + moved, 0, len(table) - 1) for moved in (-step, 0, step))
    y, slope = table[at], (table[high] - table[low]) * 2.0 ** (layer.index_frac - layer.frac) / (2 * step)
    if layer.identity_above:
        above = index >= len(table)
        y, slope = np.where(above, x * 2.0 ** (layer.frac - known.frac), y), np.where(above, 1.0, slope)
    return y, slope


def rounded(network: FrozenNetwork, felt: dict[int, Sensitivity], count: float) -> FrozenNetwork:
    """Return the network with as many bits of each weight as pay for themselves when `count` inputs are coded.

    Weights of a channel are rounded one after the other, and those that follow make up for what was rounded away (as
    Frantar et al. 2023, GPTQ). So a step d of a weight costs count * v[i] * columns[o] * d^2 / 24 nats, v[i] being what
    of input i does not follow from later ones; it saves log2 d bits, and is best at d^2 = 12 / (count * v[i] *
    columns[o]). No layer becomes wider than it was.
    """
    values, layers, tensors = list(network.inputs), [], dict(network.tensors)
    for index, layer in enumerate(network.layers):
        names = layer.tensor_names(index)
        if isinstance(layer, Linear) and index in felt:
            x = values[layer.inputs[0]]
            own = _rounded(layer, x, {local: tensors[name] for local, name in names.items()}, felt[index], count)
            tensors |= {names[local]: tensor for local, tensor in own.items()}
        value = layer.result([values[i] for i in layer.inputs], {local: tensors[name] for local, name in names.items()})
        layers.append(layer.model_copy(update={"bound": value.bound}))
        values.append(value)
    return FrozenNetwork(network.inputs, tuple(layers), network.outputs, tensors, network.backend_name)


def _rounded(
    layer: Linear, x: FixedPoint, own: dict[str, NDArray[np.integer]], felt: Sensitivity, count: float
) -> dict[str, NDArray[np.integer]]:
    weight, bias = (own[name].astype(np.int64) for name in ("weight", "bias"))
    # A row or column that was never felt in the sample is felt once in all that is coded.
    read = felt.read + np.diag(np.maximum(felt.read.diagonal() * DAMPING, 1 / count))
    # The upper triangle U with U^T U = 1 / read: 1 / U[i, i]^2 is what of input i does not follow from later ones.
    upper = np.linalg.cholesky(np.linalg.inv(read)).T
    rows = np.log2(upper.diagonal())
    columns = np.log2(12 / (FELT * count) / np.maximum(felt.columns, felt.columns.max() / count + 2.0**-200)) / 2
    base = rows[:-1].min()
    by_row = np.clip(np.rint(rows[:-1] - base), 0, MOST_STEP).astype(np.int64)
    by_column = np.clip(np.rint(columns + base), 0, MOST_STEP).astype(np.int64)
    step = np.concatenate([by_row[:, None] + by_column, np.clip(np.rint(columns), 0, MOST_STEP).astype(np.int64)[None]])
    whole = np.concatenate([weight, bias[None]])
    left, near = whole.astype(np.float64), np.zeros_like(whole)
    for i, unit in enumerate(2.0**step):
        near[i] = np.rint(left[i] / unit) * unit
        left[i + 1 :] -= np.outer(upper[i, i + 1 :], (left[i] - near[i]) / upper[i, i])
    old, new = (np.abs(each[:-1]).sum(axis=0) * x.bound + np.abs(each[-1]) for each in (whole, near))
    most, widest = np.abs(near[:-1]).max(axis=0), int(np.abs(weight).max())
    wide = (new > _limit(int(old.max()), layer.frac + x.frac)) | (most > max(widest, (1 << 15) - 1))
    # Towards 0 no bound grows.
    near = np.where(wide, np.sign(whole) * (np.abs(whole) >> step << step), near)
    return {"weight": narrowest(near[:-1]), "bias": narrowest(near[-1])}


def _limit(bound: int, frac: int) -> int:
    """Return how far sums of this bound may go in the same type, with what rounds them."""
    return next((each for each in ((1 << 24) - 1, (1 << 31) - (1 << frac)) if bound <= each), bound)
