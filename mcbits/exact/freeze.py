"""Freezing turns a torch network into integers whose products are proven exact, or names the layer that prevents it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from mcbits.errors import FreezeError, ModelError
from mcbits.exact.fixed import ACTIVATION_FRAC, HEAD_LIMIT, MAX_FRAC, FixedPoint, narrowest
from mcbits.exact.layer import Pass
from mcbits.exact.layers import Add, AnyLayer, Lookup, Multiply, Reshape, Round, Scale, Slice
from mcbits.exact.network import FrozenNetwork, Output
from mcbits.exact.products import Affine, AnyProduct, Conv2d, ConvTranspose2d, Linear
from mcbits.exact.rules import CURVES, RULES, SCALED, Call, Traced, tails_fit
from mcbits.exact.settings import own_settings
from mcbits.exact.traced import check_call, check_outputs, evaluating, one_line, rule_of, trace
from mcbits.exact.weights import Floats, narrow_product, product
from mcbits.plugins.registry import registry

INDEX_FRAC = 10
"""Tables have one entry for each 2^-10 of their argument."""

GATE_FRAC = 10
"""Fractional bits of the gates of a recurrent cell, which multiply its state."""

NARROW_BITS, NARROW_FRAC = 30, 24
"""Bits of the bound, and fractional bits, to which an accumulator is rounded before it is added or scaled.

So the result stays far below 2^53. No fewer fractional bits than those of an activation are left: bounds grow with
the depth of a network, and what it computes does not. So values are clamped to +-2^22 rather than made coarser.
"""

BATCH = object()
"""Stands for x.shape[0] while tracing, since a frozen network works for every batch size."""


@own_settings()
def freeze(
    module: nn.Module,
    inputs: Sequence[FixedPoint],
    output_frac: Sequence[int],
    *,
    name: str = "",
    narrow: bool = False,
) -> FrozenNetwork:
    """Return the network in integers, as it is in evaluation (no dropout, BatchNorm by its running statistics).

    inputs: one per argument of `module.forward`, without the batch axis.
    output_frac: fractional bits of each output. An output that ends in exp or sigmoid is frozen up to the argument of
    that function (see `Output.kind`).
    name: what errors call the network.
    narrow: give weights 16 bits and sums 32, for networks that the core multiplies so itself: `FrozenNetwork.dense`.

    Weights get the most bits that the theorem of `mcbits.exact` allows. The new state of an LSTMCell or GRUCell has
    the precision and the bound that are declared for its old state, so that it can be fed back. For this, c of an
    LSTM is clamped to the bound.
    Raises FreezeError, which names the layer, if a layer has no exact form, and if the outputs are not the module's.
    """
    with evaluating(module):
        root, graph = trace(module, name or type(module).__name__)
        frozen = _Freezer(root, graph, tuple(inputs), tuple(output_frac), name, narrow).freeze()
        check_outputs(module, frozen, name or type(module).__name__)
    return frozen


class _Freezer:
    """A walk over the traced graph that appends, for each call, the layers that compute it."""

    def __init__(
        self,
        root: nn.Module,
        graph: fx.Graph,
        inputs: tuple[FixedPoint, ...],
        output_frac: tuple[int, ...],
        name: str,
        narrow: bool,
    ) -> None:
        self.root, self.graph, self.inputs, self.output_frac = root, graph, inputs, output_frac
        self.name, self.narrow = name or type(root).__name__, narrow
        self.values = list(inputs)
        self.layers: list[AnyLayer] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.tables: dict[bytes, int] = {}
        self.settled: dict[Traced, Traced] = {}
        self.places: list[str] = []
        self.place = ""

    def freeze(self) -> FrozenNetwork:
        env: dict[fx.Node, Any] = {}
        returned = self._returned()
        heads: dict[fx.Node, int] = {}
        for node, frac in returned:
            if all(user.op == "output" for user in node.users):
                heads[node] = max(frac, heads.get(node, 0))
        indices = iter(range(len(self.inputs)))
        for node in self.graph.nodes:
            if node.op == "placeholder":
                env[node] = self._argument(node, indices)
            elif node.op != "output":
                args = fx.node.map_arg(node.args, env.__getitem__)
                kwargs = fx.node.map_arg(node.kwargs, env.__getitem__)
                self.place = self._place(node)
                check_call(node, self.root, self.place)
                try:
                    env[node] = self._apply(node, args, kwargs, heads.get(node))
                except FreezeError:
                    raise
                except Exception as error:  # a rule may raise any exception on a call that it does not expect
                    raise FreezeError(f"{self.place} cannot be frozen: {one_line(error)}") from None
        if next(indices, None) is not None:
            raise FreezeError(f"network '{self.name}' has fewer arguments than the {len(self.inputs)} inputs given")
        outputs = tuple(self._output(env[node], frac) for node, frac in returned)
        network = FrozenNetwork(self.inputs, tuple(self.layers), outputs, self.tensors)
        self._tell_if_slow(network)
        return network

    def _tell_if_slow(self, network: FrozenNetwork) -> None:
        """Tell of a layer that keeps a chain of dense layers off the fast path; other networks are slower by design."""
        if not all(isinstance(layer, Linear | Affine | Pass | Scale | Reshape) for layer in self.layers):
            return
        if (slow := network.slow_layer) is not None:
            index, reason = slow
            place = f"network '{self.name}':" if index is None else self.places[index]
            message = f"{place} {reason}: so the frozen network cannot use 16-bit products, and is several times slower"
            registry().hook.mcbits_notice(message=message)

    def _returned(self) -> list[tuple[fx.Node, int]]:
        nodes: list[fx.Node] = []
        fx.node.map_arg(next(node for node in self.graph.nodes if node.op == "output").args, nodes.append)
        if len(nodes) != len(self.output_frac):
            raise FreezeError(
                f"network '{self.name}' has {len(nodes)} outputs, but output_frac has {len(self.output_frac)}"
            )
        return list(zip(nodes, self.output_frac, strict=True))

    def _argument(self, node: fx.Node, indices: Iterator[int]) -> Any:
        index = next(indices, None)
        if index is not None:
            return Traced(index, accumulator=False)
        if node.args:
            return node.args[0]
        raise FreezeError(f"network '{self.name}' has an argument '{node.target}' that no input describes")

    def _output(self, x: Traced, frac: int) -> Output:
        index = self._with_frac(self._settled(x), frac).index
        return Output(value=index, kind=x.kind, frac=frac, shape=self.values[index].shape)

    def _place(self, node: fx.Node) -> str:
        if node.op == "call_module":
            path, what = str(node.target), type(self.root.get_submodule(str(node.target))).__name__
        else:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            path, what = stack[-1][0] if stack else "", getattr(node.target, "__name__", str(node.target))
        return f"layer '{'.'.join(filter(None, (self.name, path)))}' ({what})"

    def _apply(self, node: fx.Node, args: Any, kwargs: Any, head: int | None) -> Any:
        target: Any = node.target
        if node.op == "call_module":
            function: Any = self.root.get_submodule(target)
            rule = rule_of(function)
        else:
            function = target if node.op == "call_function" else _method(target)
            rule = None if node.op == "get_attr" else RULES.get(target)
        if rule is None:
            able = ", ".join(sorted({key.__name__ for key in RULES if isinstance(key, type)}))
            raise FreezeError(f"{self.place} cannot be frozen; layers that can: {able}")
        if rule not in SCALED | {"arithmetic"}:
            args, kwargs = (fx.node.map_aggregate(x, self._settled) for x in (args, kwargs))
        call = Call(function, tuple(args), dict(kwargs), head)
        if any(x.kind != "linear" for x in call.operands):
            raise FreezeError(
                f"{self.place} cannot be frozen: it reads exp or sigmoid, but only an output may read these"
            )
        if rule in CURVES:
            return self._curve(rule, call)
        if rule in ("exp", "clamp", "arithmetic"):
            return getattr(self, f"_{rule}")(call)
        module = function if node.op == "call_module" else None
        return getattr(self, f"_{rule}")(module, *call.args, **call.kwargs)

    # Emitting layers

    def _emit(self, layer: AnyLayer, tensors: dict[str, np.ndarray] | None = None) -> int:
        tensors = tensors or {}
        for local, stored in layer.tensor_names(len(self.layers)).items():
            self.tensors[stored] = tensors[local]
        value = layer.result([self.values[i] for i in layer.inputs], tensors)
        self.layers.append(layer.model_copy(update={"bound": value.bound}))
        self.places.append(self.place)
        self.values.append(value)
        return len(self.values) - 1

    def _with_frac(self, x: Traced, frac: int) -> Traced:
        """Return the same value with at least `frac` fractional bits."""
        missing = frac - self.values[x.index].frac
        return replace(x, index=self._emit(Scale(inputs=(x.index,), bits=missing))) if missing > 0 else x

    def _rounded(self, x: Traced, frac: int) -> Traced:
        return Traced(self._emit(Round(inputs=(x.index,), frac=frac)), accumulator=False)

    def _activation(self, x: Traced) -> Traced:
        """Return the value rounded to the fractional bits of an activation, if it has more."""
        if x.accumulator and self.values[x.index].frac > ACTIVATION_FRAC:
            return self._rounded(x, ACTIVATION_FRAC)
        return x

    def _narrow(self, x: Traced) -> Traced:
        value = self.values[x.index]
        surplus = max(value.bound.bit_length() - NARROW_BITS, value.frac - NARROW_FRAC)
        least = min(value.frac, ACTIVATION_FRAC)
        return self._rounded(x, max(value.frac - surplus, least)) if surplus > 0 else x

    def _product(
        self, layer: type[AnyProduct], x: Traced, weight: np.ndarray, bias: np.ndarray, **fields: Any
    ) -> Traced:
        if x.offset and (layer is ConvTranspose2d or any(fields.get("padding", ()))):
            x = self._activation(self._settled(x))  # at a border, fewer weights than all meet the offset
        floats = Floats(layer, fields, weight, bias)
        if (x.scale, x.offset) != (1.0, 0.0):
            floats = floats.of_scaled(x.scale, x.offset)
        as_integers = narrow_product if self.narrow else product
        return Traced(self._emit(*as_integers(floats, self.values[x.index], x.index)))

    def _settled(self, x: Any) -> Any:
        """Return a value as one without scale and offset, computed by a layer if it has any; all else as it is."""
        if not isinstance(x, Traced) or (x.scale, x.offset) == (1.0, 0.0):
            return x
        if x not in self.settled:
            channels = self.values[x.index].shape[0]
            scale, offset = np.full(channels, x.scale), np.full(channels, x.offset)
            self.settled[x] = self._product(Affine, self._narrow(replace(x, scale=1.0, offset=0.0)), scale, offset)
        return self.settled[x]

    def _is_input(self, index: int) -> bool:
        """Return whether the value has the numbers of an input of the network, if perhaps in another shape."""
        while index >= len(self.inputs):
            layer = self.layers[index - len(self.inputs)]
            if not isinstance(layer, Reshape | Slice):
                return False
            (index,) = layer.inputs
        return True

    # Rules

    def _identity(self, module: Any, x: Traced) -> Traced:
        return x

    def _linear(self, module: nn.Linear, x: Traced) -> Traced:
        return self._product(
            Linear, self._activation(x), _numpy(module.weight).T, _bias(module.bias, module.out_features)
        )

    def _conv2d(self, module: nn.Conv2d, x: Traced) -> Traced:
        if module.padding_mode != "zeros":
            raise ModelError(f"its padding mode is {module.padding_mode!r}, not 'zeros'")
        padding = module.padding
        if padding == "same":
            spans = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
            if any(span % 2 for span in spans):
                raise ModelError("its 'same' padding is not the same on both sides: use kernels of odd size")
            padding = tuple(span // 2 for span in spans)
        elif padding == "valid":
            padding = (0, 0)
        groups, weight = module.groups, _numpy(module.weight)
        weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(0, 3, 4, 2, 1)
        fields = {"stride": module.stride, "padding": padding, "dilation": module.dilation}
        return self._product(Conv2d, self._activation(x), weight, _bias(module.bias, module.out_channels), **fields)

    def _conv_transpose2d(self, module: nn.ConvTranspose2d, x: Traced) -> Traced:
        if module.dilation != (1, 1):
            raise ModelError(f"its dilation is {module.dilation}, not 1")
        groups, weight = module.groups, _numpy(module.weight)
        weight = weight.reshape(groups, -1, *weight.shape[1:]).transpose(0, 1, 3, 4, 2)
        fields = {"stride": module.stride, "padding": module.padding, "output_padding": module.output_padding}
        bias = _bias(module.bias, module.out_channels)
        return self._product(ConvTranspose2d, self._activation(x), weight, bias, **fields)

    def _batch_norm(self, module: nn.BatchNorm1d | nn.BatchNorm2d, x: Traced) -> Traced:
        if module.running_mean is None or module.running_var is None:
            raise ModelError("it keeps no running statistics: use track_running_stats=True")
        weight = 1 / np.sqrt(_numpy(module.running_var) + module.eps)
        if module.weight is not None:
            weight = weight * _numpy(module.weight)
        bias = _bias(module.bias, module.num_features) - _numpy(module.running_mean) * weight
        return self._product(Affine, self._narrow(x), weight, bias)

    def _arithmetic(self, call: Call) -> Traced:
        if len(call.operands) == 2:
            points = ((1.0, 2.0), (2.0, 1.0), (2.0, 3.0))
            values = [float(call.function(a, b, *call.args[2:], **call.kwargs)) for a, b in points]
            a, b = map(self._settled, call.operands)
            if values == [2.0, 2.0, 6.0]:
                return self._multiplied(a, b)
            if values == [3.0, 3.0, 5.0]:
                return self._added(a, b)
            if values == [-1.0, 1.0, -1.0]:
                return self._added(a, self._scaled(b, -1.0, 0.0))
            raise ModelError("two values can be added, subtracted or multiplied only")
        (x,) = call.operands
        offset, one, two = call.at([0.0, 1.0, 2.0]).tolist()
        if not abs(offset + 2 * (one - offset) - two) <= 1e-9 * (abs(offset) + abs(one)):
            raise ModelError("it is not a linear function of its operand")
        return self._scaled(x, one - offset, offset)

    def _added(self, a: Traced, b: Traced) -> Traced:
        a, b = self._narrow(a), self._narrow(b)
        frac = max(self.values[a.index].frac, self.values[b.index].frac)
        a, b = self._with_frac(a, frac), self._with_frac(b, frac)
        return Traced(self._emit(Add(inputs=(a.index, b.index))))

    def _multiplied(self, a: Traced, b: Traced) -> Traced:
        a, b = self._narrow(a), self._narrow(b)
        try:
            return Traced(self._emit(Multiply(inputs=(a.index, b.index))))
        except ModelError as error:
            raise ModelError(f"{error}; put a clamp (nn.Hardtanh) before it") from None

    def _scaled(self, x: Traced, scale: float, offset: float) -> Traced:
        if self._is_input(x.index):
            return replace(x, scale=scale * x.scale, offset=scale * x.offset + offset)
        channels = self.values[x.index].shape[0]
        return self._product(Affine, self._narrow(x), np.full(channels, scale), np.full(channels, offset))

    def _clamp(self, call: Call) -> Traced:
        (x,) = call.operands
        frac = min(ACTIVATION_FRAC if call.head is None else call.head, MAX_FRAC["float32"])
        x = self._with_frac(x, frac)
        ends = call.at([-inf, inf]) * 2.0**frac
        low, high = np.clip(np.rint(ends), -HEAD_LIMIT, HEAD_LIMIT).astype(int).tolist()
        return Traced(self._emit(Round(inputs=(x.index,), frac=frac, low=low, high=high)), accumulator=False)

    def _exp(self, call: Call) -> Traced:
        (x,) = call.operands
        if call.head is None:
            raise ModelError("exp can only end an output")
        return replace(x, kind="exp")

    def _curve(self, name: str, call: Call) -> Traced:
        (x,) = call.operands
        if name == "sigmoid" and call.head is not None:
            return replace(x, kind="sigmoid")
        return self._tabulated(name, call, ACTIVATION_FRAC if call.head is None else call.head)

    def _tabulated(self, name: str, call: Call, frac: int) -> Traced:
        (x,) = call.operands
        curve = CURVES[name]
        while not tails_fit(curve, call, frac):
            curve = replace(curve, low=2 * curve.low, high=2 * curve.high)
            if curve.high > 64:
                raise ModelError(f"{name} with these parameters is too wide for a table")
        low, high = curve.low << INDEX_FRAC, curve.high << INDEX_FRAC
        table = narrowest(np.rint(call.at(np.arange(low, high) / (1 << INDEX_FRAC)) * 2.0**frac).astype(np.int64))
        number = self.tables.setdefault(table.tobytes(), len(self.tables))
        x = self._with_frac(x, max(INDEX_FRAC, frac if curve.identity_above else 0))
        layer = Lookup(
            inputs=(x.index,),
            table=number,
            low=low,
            index_frac=INDEX_FRAC,
            frac=frac,
            identity_above=curve.identity_above,
        )
        return Traced(self._emit(layer, {"table": table}), accumulator=False)

    # Recurrent cells, in the symbols of torch's documentation. A new state is rounded and clamped to the precision and
    # the bound of the old state, so that it can be the old state of the next step.

    def _lstm_cell(
        self, module: nn.LSTMCell, x: Traced, hx: tuple[Traced, Traced] | None = None
    ) -> tuple[Traced, Traced]:
        if hx is None:
            raise ModelError("it needs its state (h, c): make h and c inputs of the network")
        h, c = hx
        gates = self._added(*self._gates(module, x, h))
        i, f, g, o = self._split(None, gates, module.hidden_size, 1)
        i, f, o = (self._gate("sigmoid", gate) for gate in (i, f, o))
        kept, new = self._multiplied(f, c), self._multiplied(i, self._gate("tanh", g))
        c_next = self._state(self._added(kept, new), c)
        return self._state(self._multiplied(o, self._gate("tanh", c_next)), h), c_next

    def _gru_cell(self, module: nn.GRUCell, x: Traced, hx: Traced | None = None) -> Traced:
        if hx is None:
            raise ModelError("it needs its state h: make h an input of the network")
        (r, z, n), (r_h, z_h, n_h) = (
            self._split(None, gates, module.hidden_size, 1) for gates in self._gates(module, x, hx)
        )
        r, z = self._gate("sigmoid", self._added(r, r_h)), self._gate("sigmoid", self._added(z, z_h))
        n = self._gate("tanh", self._added(n, self._multiplied(r, n_h)))
        change = self._multiplied(z, self._added(hx, self._scaled(n, -1.0, 0.0)))
        return self._state(self._added(n, change), hx)

    def _gates(self, module: nn.LSTMCell | nn.GRUCell, x: Traced, h: Traced) -> tuple[Traced, Traced]:
        """Return the two terms of the arguments of all gates: the term of x and the term of h."""
        from_x, from_h = (
            self._product(Linear, self._activation(v), _numpy(weight).T, _bias(bias, len(weight)))
            for v, weight, bias in (
                (x, module.weight_ih, module.bias_ih),
                (h, module.weight_hh, module.bias_hh),
            )
        )
        return from_x, from_h

    def _gate(self, name: str, x: Traced) -> Traced:
        return self._tabulated(name, Call(getattr(torch, name), (x,), {}, None), GATE_FRAC)

    def _state(self, x: Traced, old: Traced) -> Traced:
        known = self.values[self._narrow(old).index]
        x = self._with_frac(x, known.frac)
        return Traced(self._emit(Round(inputs=(x.index,), frac=known.frac, low=-known.bound, high=known.bound)))

    def _shape_of(self, x: Traced) -> tuple[Any, ...]:
        return (BATCH, *self.values[x.index].shape)

    def _shape(self, module: None, x: Traced, what: Any = "shape") -> Any:
        shape = self._shape_of(x)
        if what == "shape":
            return shape
        if isinstance(what, int):
            return shape[what]
        raise ModelError(f"attribute '{what}' is not supported: only shape is")

    def _getitem(self, module: None, x: Any, index: Any) -> Any:
        if not isinstance(x, Traced):
            return x[index]
        every, channels = index
        if every != slice(None) or not isinstance(channels, slice):
            raise ModelError("only x[:, start:stop] can be indexed")
        start, stop, step = channels.indices(self.values[x.index].shape[0])
        if step != 1:
            raise ModelError("only x[:, start:stop] can be indexed")
        return self._sliced(x, start, stop)

    def _sliced(self, x: Traced, start: int, stop: int) -> Traced:
        return replace(x, index=self._emit(Slice(inputs=(x.index,), start=start, stop=stop)))

    def _chunk(self, module: None, x: Traced, chunks: int, dim: int = 0) -> tuple[Traced, ...]:
        return self._split(module, x, -(-self.values[x.index].shape[0] // chunks), dim)

    def _split(self, module: None, x: Traced, sizes: int | Sequence[int], dim: int = 0) -> tuple[Traced, ...]:
        channels, rank = self.values[x.index].shape[0], len(self.values[x.index].shape) + 1
        if dim % rank != 1:
            raise ModelError("only dimension 1 can be split")
        if isinstance(sizes, int):
            sizes = [min(sizes, channels - start) for start in range(0, channels, sizes)]
        stops = np.cumsum(sizes).tolist()
        return tuple(self._sliced(x, stop - size, stop) for size, stop in zip(sizes, stops, strict=True))

    def _flatten(self, module: nn.Flatten | None, x: Traced, start_dim: int = 0, end_dim: int = -1) -> Traced:
        start, end = (module.start_dim, module.end_dim) if module else (start_dim, end_dim)
        shape = self._shape_of(x)
        start, end = start % len(shape), end % len(shape)
        if start == 0:
            raise ModelError("it would flatten the batch; use start_dim=1")
        return self._reshaped(x, (*shape[1:start], prod(shape[start : end + 1]), *shape[end + 1 :]))

    def _unflatten(self, module: nn.Unflatten | None, x: Traced, dim: int = 1, sizes: Sequence[int] = ()) -> Traced:
        dim, sizes = (module.dim, module.unflattened_size) if module else (dim, sizes)
        shape = self._shape_of(x)
        dim %= len(shape)
        if dim == 0 or not isinstance(dim, int):
            raise ModelError("it would unflatten the batch; use dim=1 or more")
        return self._reshaped(x, (*shape[1:dim], *_resolved(sizes, shape[dim]), *shape[dim + 1 :]))

    def _reshape(self, module: None, x: Traced, *shape: Any) -> Traced:
        first, *rest = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        if (first is not BATCH and first != -1) or any(size is BATCH for size in rest):
            raise ModelError("it changes the batch size; its first size must be -1 or x.shape[0]")
        if first == -1 and -1 in rest:
            raise ModelError("only one size can be -1")
        return self._reshaped(x, _resolved(rest, self.values[x.index].size))

    def _reshaped(self, x: Traced, shape: tuple[int, ...]) -> Traced:
        if shape == self.values[x.index].shape:
            return x
        return replace(x, index=self._emit(Reshape(inputs=(x.index,), shape=shape)))


def _method(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


def _numpy(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().cpu().double().numpy()


def _bias(parameter: torch.Tensor | None, channels: int) -> np.ndarray:
    return np.zeros(channels) if parameter is None else _numpy(parameter)


def _resolved(sizes: Sequence[int], total: int) -> tuple[int, ...]:
    """Return the sizes, with -1 replaced by `total` divided by the other sizes."""
    known = prod(size for size in sizes if size != -1)
    return tuple(total // known if size == -1 else size for size in sizes)
