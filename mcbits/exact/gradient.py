"""The gradient of a frozen network is as exact as the network: all sums in its products are integers below 2^53."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import ModelError, UsageError
from mcbits.exact.backends import backend, self_test
from mcbits.exact.fixed import HEAD_LIMIT, SIGNIFICAND_BITS, FixedPoint, dtype_for
from mcbits.exact.layers import AnyLayer, Lookup, Round, Scale
from mcbits.exact.network import FrozenNetwork, Output
from mcbits.exact.products import Linear

_SPAN_BITS = 2
"""The slope of a table is its difference over an interval of 2^-2, since neighbours differ by less than a rounding."""

_MAX_INDEX_FRAC, _MAX_EXPONENT = 16, 512
_DTYPE = "float64"


class Gradient:
    """The transposed Jacobian of a frozen MLP: linear layers, ReLU, and activations that are tables.

    Between two products, values are float64 and every operation on them is elementwise, so IEEE 754 fixes the result.
    Before a product, values are rounded to integers. They keep as many bits as the theorem of `mcbits.exact` allows
    for the transposed weights.
    Raises UsageError, which names the layer, for any other network; ModelError if no bits are left.
    """

    def __init__(self, network: FrozenNetwork, bound: int, name: str = "network") -> None:
        """Prepare the products of `pull`.

        bound: largest magnitude of the integers that `pull` will be given. name: what errors call the network.
        """
        engine = backend(network.backend_name)
        self_test(engine, _DTYPE)
        self._engine = engine
        layers, outputs, tensors = list(network.layers), [network.outputs[0]], dict(network.tensors)
        self._steps: list[_Product | int] = []
        exponent, reach = 0, bound
        for index, layer in _backwards(network, name):
            args = [network.values[i] for i in layer.inputs]
            if isinstance(layer, Linear):
                weight = tensors[f"{index}.weight"].T
                sums = int(np.abs(weight.astype(np.int64)).sum(axis=0).max())
                # Channels of different precision are brought to the largest.
                most = max(layer.shifts, default=0)
                reach <<= most
                shift = max(0, (reach * sums).bit_length() + 1 - SIGNIFICAND_BITS[_DTYPE])
                # The premise of the theorem. dtype_for raises if weights beyond 2^52 leave no bits.
                reach = ((reach >> shift) + 1) * sums
                dtype_for(reach)
                scale = np.exp2(most - shift - np.array(layer.shifts or [0]))
                self._steps.append(_Product(scale, engine.prepare(weight.astype(_DTYPE)), weight.shape[1]))
                exponent += shift - layer.frac - most
            elif (slopes := _slopes(layer, args, tensors)) is not None:
                table = 1 + max((each.table for each in layers if isinstance(each, Lookup)), default=-1)
                lookup = Lookup(
                    inputs=(layer.inputs[0],),
                    table=table,
                    low=slopes.low,
                    index_frac=slopes.index_frac,
                    frac=slopes.frac,
                    identity_above=False,
                )
                value = lookup.result(args, {"table": slopes.table})
                tensors[f"table.{table}"] = slopes.table
                layers.append(lookup.model_copy(update={"bound": value.bound}))
                position = len(network.inputs) + len(layers) - 1
                self._steps.append(len(outputs))
                outputs.append(Output(value=position, kind="linear", frac=slopes.frac, shape=value.shape))
                exponent, reach = exponent - slopes.frac, reach * value.bound
        if exponent > _MAX_EXPONENT:
            raise ModelError(f"the {name} is too deep for an exact gradient; turn iterative inference off")
        self._unit = 2.0**exponent
        self._network = FrozenNetwork(network.inputs, tuple(layers), tuple(outputs), tensors, network.backend_name)

    def run(self, x: NDArray[Any]) -> tuple[NDArray[np.int32], ...]:
        """Return the network's output for x (rows, inputs), followed by the slopes that `pull` needs."""
        return self._network.run(x)

    def pull(self, g: NDArray[np.float64], ran: tuple[NDArray[np.int32], ...]) -> NDArray[np.float64]:
        """Return g (rows, outputs) times the Jacobian in real units, float64 (rows, inputs).

        g: float64 that holds integers within the bound. ran: what `run` returned.
        """
        for step in self._steps:
            if isinstance(step, int):
                g = g * ran[step]
            else:
                a = np.ascontiguousarray(np.rint(g * step.scale))
                g = self._engine.product(a, step.weight, np.empty((len(a), step.width)))
        return g * self._unit


@dataclass(frozen=True)
class _Product:
    """A product: scale by powers of two and round, then multiply by the transposed weight (outputs, `width`)."""

    scale: NDArray[np.float64]
    weight: Any
    width: int


@dataclass(frozen=True)
class _Slopes:
    """A table of slopes with `frac` fractional bits, in the form of a `Lookup`."""

    table: NDArray[np.int32]
    low: int
    index_frac: int
    frac: int


def _backwards(network: FrozenNetwork, name: str) -> Iterator[tuple[int, AnyLayer]]:
    value = network.outputs[0].value
    while value >= len(network.inputs):
        index = value - len(network.inputs)
        layer = network.layers[index]
        if not _is_known(layer):
            raise UsageError(
                f"iterative inference does not know the gradient of layer {index} ({layer.op}) of the {name}; "
                "it knows those of linear layers, ReLU and tanh-like activations"
            )
        yield index, layer
        value = layer.inputs[0]


def _is_known(layer: AnyLayer) -> bool:
    if isinstance(layer, Round):
        return layer.low in (0, -HEAD_LIMIT) and layer.high == HEAD_LIMIT
    if isinstance(layer, Lookup):
        fine = _SPAN_BITS < layer.index_frac <= _MAX_INDEX_FRAC and layer.frac >= _SPAN_BITS
        return fine and 2 * abs(layer.low) <= HEAD_LIMIT
    return isinstance(layer, Linear | Scale)


def _slopes(layer: AnyLayer, args: list[FixedPoint], tensors: dict[str, NDArray[Any]]) -> _Slopes | None:
    # Returns None for a layer that only changes the precision.
    if isinstance(layer, Round) and layer.low == 0:
        return _Slopes(np.array([0, 1], np.int32), 0, args[0].frac, 0)
    if isinstance(layer, Lookup):
        half = 1 << layer.index_frac - _SPAN_BITS - 1
        table = tensors[f"table.{layer.table}"].astype(np.float64)
        rise = 2.0 ** (layer.frac - layer.index_frac) if layer.identity_above else 0.0
        above = table[-1] + rise * np.arange(1, 2 * half + 1)
        padded = np.concatenate([np.full(2 * half, table[0]), table, above])
        slopes = np.rint(padded[2 * half :] - padded[: -2 * half]).astype(np.int32)
        return _Slopes(slopes, layer.low - half, layer.index_frac, layer.frac - _SPAN_BITS)
    return None
