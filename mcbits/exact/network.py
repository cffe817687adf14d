"""A frozen network is a list of layers over integers: building it proves its bounds, and running it needs no torch."""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mcbits.core import fixed, simd
from mcbits.core.dense import Dense
from mcbits.errors import DataError, ModelError
from mcbits.exact.backends import backend, self_test
from mcbits.exact.dense import NotDense, dense_form
from mcbits.exact.fixed import HEAD_LIMIT, MAX_ELEMENTS, SIGNIFICAND_BITS, FixedPoint, Shape
from mcbits.exact.layer import Frac, Pass, Step, Take, Tensors, channels_first, channels_last
from mcbits.exact.layers import AnyLayer
from mcbits.exact.products import Product

_DENSE_TYPES = {np.dtype(name) for name in ("uint8", "int16", "int32", "int64", "float32")}


class Output(BaseModel):
    """An output of a network: int32 with `frac` fractional bits, clamped to +-2^30.

    value: index of the value that it reads; the network's inputs count first, then the result of each layer.
    kind: "linear"; or "exp" or "sigmoid" if the float network ends with that function, and then this output is the
    argument of the function.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: Annotated[int, Field(ge=0)]
    kind: Literal["linear", "exp", "sigmoid"]
    frac: Frac
    shape: Shape


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: tuple[FixedPoint, ...] = Field(min_length=1)
    layers: tuple[AnyLayer, ...]
    outputs: tuple[Output, ...] = Field(min_length=1)


class FrozenNetwork:
    """A network of integers, computed exactly (see `mcbits.exact`). Several threads may run it at once.

    inputs, layers, outputs: the specification that `to_tensors` stores. tensors: {name: integers}.
    Raises ModelError unless every stored bound follows from the integers, UsageError for an unknown backend,
    PlatformError if the backend rounds.
    """

    def __init__(
        self,
        inputs: tuple[FixedPoint, ...],
        layers: tuple[AnyLayer, ...],
        outputs: tuple[Output, ...],
        tensors: Tensors,
        backend_name: str = "numpy",
    ) -> None:
        self.inputs, self.layers, self.outputs, self.tensors = inputs, layers, outputs, dict(tensors)
        self.backend_name = backend_name
        self.values = self._prove()
        self._build()

    def _prove(self) -> list[FixedPoint]:
        values = [x.checked() for x in self.inputs]
        if any(x.dtype != "float32" for x in values):
            raise ModelError("an input of the frozen network has a bound beyond 2^24")
        used: set[str] = set()
        # The file already pays for each tensor once. If several layers read a tensor, each builds its own copy, and
        # only these further copies count.
        kept = sum(x.size for x in values) + sum(prod(output.shape) for output in self.outputs)
        kept -= sum(x.size for x in self.tensors.values())
        scratch = 0
        for index, layer in enumerate(self.layers):
            names = layer.tensor_names(index)
            used.update(names.values())
            if max(layer.inputs) >= len(values):
                raise ModelError(
                    f"layer {index} ({layer.op}) of the frozen network reads a later one; the model is damaged"
                )
            try:
                own, args = self._own(index), [values[i] for i in layer.inputs]
                kept += sum(x.size for x in own.values())
                value = layer.result(args, own)
                kept, scratch = kept + value.size, max(scratch, layer.scratch(args, own))
                if kept + scratch > MAX_ELEMENTS:
                    raise ModelError(f"up to this layer one image needs more than {MAX_ELEMENTS} elements")
            except ModelError as error:
                raise ModelError(f"layer {index} ({layer.op}) of the frozen network: {error}") from None
            if value.bound != layer.bound:
                raise ModelError(
                    f"layer {index} ({layer.op}) of the frozen network reaches {value.bound}, "
                    f"but its stored bound is {layer.bound}; the model is damaged"
                )
            values.append(value)
        if unknown := sorted(set(self.tensors) - used):
            raise ModelError(f"the frozen network has a tensor {unknown[0]!r} that no layer reads")
        for output in self.outputs:
            if output.value >= len(values) or values[output.value].shape != output.shape:
                raise ModelError(f"the frozen network has no output of shape {output.shape}; the model is damaged")
            if output.frac > values[output.value].frac:
                raise ModelError(
                    f"an output of the frozen network must have {output.frac} fractional bits, but its value has "
                    f"{values[output.value].frac}; the model is damaged"
                )
        self._elements, self._widest = kept + scratch, max(scratch, *(x.size for x in values))
        return values

    def _own(self, index: int) -> dict[str, np.ndarray]:
        own = self.layers[index].tensor_names(index)
        if missing := sorted(name for name in own.values() if name not in self.tensors):
            raise ModelError(f"tensor {missing[0]!r} is missing")
        return {local: self.tensors[name] for local, name in own.items()}

    def _build(self) -> None:
        engine = backend(self.backend_name)
        for dtype in sorted({value.dtype for value in self.values}):
            self_test(engine, dtype)
        readers: list[list[Any]] = [[] for _ in self.values]
        for layer in self.layers:
            for i in layer.inputs:
                readers[i].append(layer)
        for output in self.outputs:
            readers[output.value].append(output)
        # The pass that rounds a product also adds its bias, unless another kind of layer reads the product too.
        channels = max(value.shape[0] for value in self.values)
        zeros = {dtype: np.zeros(channels, dtype) for dtype in SIGNIFICAND_BITS}
        biases = [zeros[value.dtype][: value.shape[0]] for value in self.values]
        self._steps: list[tuple[Step, tuple[int, ...]]] = []
        for index, layer in enumerate(self.layers):
            own, here = self._own(index), len(self.inputs) + index
            args = [self.values[i] for i in layer.inputs]
            if isinstance(layer, Pass):
                step = layer.build_with_bias(args[0], own, biases[layer.inputs[0]])
            else:
                step = layer.build(args, own, engine)
            if isinstance(layer, Product):
                bias = own["bias"].astype(self.values[here].dtype)
                if layer.shifts:
                    step = _with_shifts(step, bias, np.array(layer.shifts, np.int32))
                elif all(isinstance(reader, Pass | Output) for reader in readers[here]):
                    biases[here] = bias
                else:
                    step = _with_bias(step, bias)
            self._steps.append((step, layer.inputs))
        self._heads = [_head(self.values[o.value], o, biases[o.value]) for o in self.outputs]
        self._rows = max(1, min(engine.elements // self._widest, MAX_ELEMENTS // self._elements))
        self._scratch = threading.local()
        self._dense: Dense | None = None
        if self.backend_name == "numpy" and simd.width():
            with suppress(NotDense):
                self._dense = self._dense_form()

    def _dense_form(self) -> Dense:
        own = [self._own(index) for index in range(len(self.layers))]
        return dense_form(self.values, self.layers, self.outputs, own)

    def dense(self) -> Dense:
        """Return the network as a chain of products of 16-bit integers, for loops of the core that run it themselves.

        Raises ModelError if it does not have that form.
        """
        try:
            return self._dense or self._dense_form()
        except NotDense as error:
            raise ModelError(f"the network is no chain of products of 16-bit integers: {error.reason}") from None

    @property
    def slow_layer(self) -> tuple[int | None, str] | None:
        """The index of a layer that keeps the network off 16-bit products, and why; None if no layer does.

        A network of dense layers is several times faster with these. The index is None if the inputs prevent it.
        """
        try:
            self._dense_form()
        except NotDense as error:
            return error.layer, error.reason
        return None

    def with_backend(self, name: str) -> "FrozenNetwork":
        """Return the same network computed by "numpy", "torch" or "torch:DEVICE". It returns the same bits.

        Raises UsageError for an unknown backend, PlatformError if the backend rounds.
        """
        return FrozenNetwork(self.inputs, self.layers, self.outputs, self.tensors, name)

    def run(self, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return one int32 array (batch, *shape) per output, in units of 2^-frac with the `frac` of that output.

        inputs: one array (batch, *shape) per input, in units of 2^-frac, of an integer type or of a float type that
        holds integers. A row of the result does not depend on the other rows.
        Raises DataError for a wrong number of inputs, a wrong shape, or a number that is not an integer within the
        input's bound.
        """
        if len(inputs) != len(self.inputs):
            raise DataError(f"expected {len(self.inputs)} inputs of the network, got {len(inputs)}")
        if self._dense is not None:
            return self._run_dense(self._dense, inputs[0])
        batch = len(inputs[0])
        if any(len(x) != batch for x in inputs):
            raise DataError(f"all inputs must have the same number of rows, not {[len(x) for x in inputs]}")
        outs = [np.empty((batch, *o.shape[1:], o.shape[0]), np.int32) for o in self.outputs]
        for start in range(0, batch, self._rows):
            rows = slice(start, start + self._rows)
            values = [self._checked(known, x[rows]) for known, x in zip(self.inputs, inputs, strict=True)]
            for index, (step, args) in enumerate(self._steps):
                values.append(step(self._taker(index), *(values[i] for i in args)))
            for head, output, out in zip(self._heads, self.outputs, outs, strict=True):
                head(values[output.value], out[rows])
        return tuple(channels_first(out) for out in outs)

    def _run_dense(self, form: Dense, x: np.ndarray) -> tuple[np.ndarray, ...]:
        known = self.inputs[0]
        _check_shape(known, x)
        if x.dtype not in _DENSE_TYPES:
            x = self._checked(known, x)
        x = np.ascontiguousarray(x)
        outs = tuple([np.empty((len(x), o.shape[0]), np.int32) for o in self.outputs])
        if not form.run(x, outs):
            raise DataError(f"an input is not an integer within +-{known.bound}")
        return outs

    def _checked(self, known: FixedPoint, x: np.ndarray) -> np.ndarray:
        _check_shape(known, x)
        rounded = False
        if not np.can_cast(x.dtype, np.float32):
            if x.dtype.kind not in "iuf":
                raise DataError(f"expected an input of integers, got {x.dtype}")
            with np.errstate(over="ignore"):
                wide, x = x, x.astype(np.float32)
            # The comparison rounds numbers beyond 2^53. These are beyond every bound, so the check below finds them.
            rounded = not np.array_equal(wide, x)
        x = np.ascontiguousarray(channels_last(x), np.float32)
        if rounded or not fixed.is_integral(x.reshape(-1), known.bound):
            raise DataError(f"an input is not an integer within +-{known.bound}")
        return x

    def _taker(self, layer: int) -> Take:
        # Buffers live as long as their thread, because fresh memory for each batch would cost more time than the pass.
        buffers: dict[Any, np.ndarray] = self._scratch.__dict__

        def take(name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
            size = prod(shape)
            key = (layer if name == "result" else None, name, dtype)
            buffer = buffers.get(key)
            if buffer is None or len(buffer) < size:
                buffer = buffers[key] = np.empty(size, dtype)
            return buffer[:size].reshape(shape)

        return take

    def to_tensors(self, prefix: str = "") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return its integers, under names that start with `prefix`, and its specification, JSON only."""
        spec = _Spec(inputs=self.inputs, layers=self.layers, outputs=self.outputs)
        return {prefix + name: x for name, x in self.tensors.items()}, spec.model_dump(mode="json")

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, np.ndarray],
        spec: dict[str, Any],
        prefix: str = "",
        backend_name: str = "numpy",
    ) -> "FrozenNetwork":
        """Return the network that `to_tensors` wrote. Everything in it is checked.

        Raises ModelError if the specification or a tensor is damaged, and as the constructor does.
        """
        try:
            parsed = _Spec.model_validate_json(json.dumps(spec), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise ModelError(f"the model's specification is damaged at {place}: {first['msg']}") from None
        except RecursionError:
            raise ModelError("the model's specification is damaged: it nests too deep") from None
        own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
        return cls(parsed.inputs, parsed.layers, parsed.outputs, own, backend_name)


def _check_shape(known: FixedPoint, x: np.ndarray) -> None:
    if x.shape[1:] != known.shape:
        raise DataError(f"expected an input with rows of shape {known.shape}, got {x.shape[1:]}")


def _with_bias(step: Step, bias: np.ndarray) -> Step:
    def biased(take: Take, *args: np.ndarray) -> np.ndarray:
        out = step(take, *args)
        out += bias
        return out

    return biased


def _with_shifts(step: Step, bias: np.ndarray, shifts: np.ndarray) -> Step:
    def shifted(take: Take, *args: np.ndarray) -> np.ndarray:
        out = step(take, *args)
        fixed.shift_channels(out.reshape(-1, len(shifts)), bias, shifts)
        return out

    return shifted


def _head(value: FixedPoint, output: Output, bias: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
    kernel = fixed.round_clamp["float" if value.dtype == "float32" else "double", "int32_t"]
    shift, channels = value.frac - output.frac, value.shape[0]

    def head(acc: np.ndarray, out: np.ndarray) -> None:
        kernel(acc.reshape(-1, channels), bias, shift, -HEAD_LIMIT, HEAD_LIMIT, out.reshape(-1, channels))

    return head
