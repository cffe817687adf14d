"""What freezing believes: a trace that hides nothing of what the module does, and outputs that agree with the module's.

A trace shows calls, not what changes them: a hook of a layer, or an activation that overwrites its input.
"""

import inspect
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from mcbits.errors import FreezeError
from mcbits.exact.fixed import HEAD_LIMIT, FixedPoint
from mcbits.exact.network import FrozenNetwork, Output
from mcbits.exact.rules import RULES

_SETS_WEIGHTS = (WeightNorm, SpectralNorm, BasePruningMethod)
"""Hooks that only set weights, before a layer is called."""

_VIEWS = {"identity", "flatten", "unflatten", "reshape", "chunk", "split", "getitem"}
"""Rules for calls whose result may be the memory of what they read."""

_ROWS = 8
_RANGE = 256
"""Most that an input of a comparison is, in its own units, unless its bound is smaller."""

_SHARE, _SLACK = 0.5, 1 / 16
"""How much frozen outputs may differ from those of the module: a share of these, and what rounding does to small ones.

Both are far beyond what rounding does to a network that is of use, and far below what another network does.
"""


def one_line(error: Exception) -> str:
    """Return the first line of an error's text, or its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def rule_of(module: nn.Module) -> str | None:
    """Return the rule that freezes a module, parametrized or not; None if there is none."""
    return RULES.get(type_before_parametrizations(module))


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Let a module, with all modules in it, be in evaluation during a `with` block."""
    modes = {each: each.training for each in module.modules()}
    try:
        for each in modes:
            each.training = False
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return rule_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


def trace(module: nn.Module, name: str) -> tuple[nn.Module, fx.Graph]:
    """Return a module and the graph of its calls.

    Raises FreezeError if it cannot be traced or if the graph would hide what it does.
    """
    tracer = _Tracer()
    root = nn.Sequential(module) if tracer.is_leaf_module(module, "") else module
    _check_hooks(root, f"network '{name}'")
    try:
        graph = tracer.trace(root)
    except Exception as error:  # tracing runs the module's own code, which may raise any exception
        raise FreezeError(f"network '{name}' cannot be traced: {one_line(error)}") from None
    return root, graph


def check_call(node: fx.Node, root: nn.Module, place: str) -> None:
    """Check that a call does what its layer does: no hooks, no input that it overwrites before another call reads it.

    Raises FreezeError otherwise. Sets the weights that are set by a hook of weight_norm, spectral_norm or pruning.
    """
    if node.op == "call_module":
        _check_hooks(root.get_submodule(str(node.target)), place)
    if (overwritten := _overwritten(node, root)) is not None:
        order = {each: index for index, each in enumerate(node.graph.nodes)}
        for same in _same_memory(overwritten, node, root):
            if any(order[user] > order[node] and _rule(user, root) != "shape" for user in same.users):
                raise FreezeError(
                    f"{place} cannot be frozen: it overwrites its input, which is read again later: set inplace=False"
                )


def _check_hooks(module: nn.Module, place: str) -> None:
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    if "forward" in vars(module):
        hooks.append(module.forward)
    for hook in hooks:
        if not isinstance(hook, _SETS_WEIGHTS):
            what = getattr(hook, "__name__", type(hook).__name__)
            raise FreezeError(f"{place} cannot be frozen: its hook {what} may change what it computes: remove the hook")
    with torch.no_grad():
        for hook in hooks:
            hook(module, ())


def _rule(node: fx.Node, root: nn.Module) -> str | None:
    if node.op == "call_module":
        return rule_of(root.get_submodule(str(node.target)))
    return RULES.get(node.target) if node.op in ("call_function", "call_method") else None


def _overwritten(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """Return the node whose value a call overwrites; None if it overwrites none."""
    overwrites, target = False, node.target
    if node.op == "call_module":
        overwrites = bool(getattr(root.get_submodule(str(target)), "inplace", False))
    elif target is operator.iadd:
        overwrites = True
    elif node.op == "call_function" and inspect.isfunction(target):
        try:
            overwrites = bool(inspect.signature(target).bind(*node.args, **node.kwargs).arguments.get("inplace"))
        except TypeError:  # the call is wrong; its rule will say how
            overwrites = False
    if not overwrites or _rule(node, root) == "identity":  # a dropout leaves its input alone
        return None
    return node.all_input_nodes[0] if node.all_input_nodes else None


def _same_memory(node: fx.Node, without: fx.Node, root: nn.Module) -> set[fx.Node]:
    """Return the nodes whose values may share memory with that of `node`, but for `without` and what is made of it."""
    found, waiting = {without}, [node]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += [user for user in each.users if _rule(user, root) in _VIEWS]
            if _rule(each, root) in _VIEWS:
                waiting += each.all_input_nodes
    return found - {without}


def check_outputs(module: nn.Module, network: FrozenNetwork, name: str) -> None:
    """Check that a few outputs of the frozen network are about those of the module.

    Raises FreezeError otherwise. The caller's random state does not change.
    """
    generator = np.random.default_rng(0)
    for drawn in (_usual, _wide):
        inputs = [drawn(known, generator) for known in network.inputs]
        floats = _floats(module, inputs, network, name)
        for index, (output, frozen, expected) in enumerate(
            zip(network.outputs, network.run(*inputs), floats, strict=True)
        ):
            if not _alike(output, frozen * 0.5**output.frac, expected):
                which = f"output {index} of " if len(network.outputs) > 1 else ""
                raise FreezeError(
                    f"{which}network '{name}' cannot be frozen: its frozen values are not those of the module, which "
                    "does something that tracing does not show, or has values too large or too close for integers"
                )


def _usual(known: FixedPoint, generator: np.random.Generator) -> np.ndarray:
    drawn = np.rint(generator.standard_normal((_ROWS, *known.shape)) * 2.0**known.frac)
    return np.clip(drawn, -known.bound, known.bound).astype(np.int64)


def _wide(known: FixedPoint, generator: np.random.Generator) -> np.ndarray:
    bound = min(known.bound, _RANGE << known.frac)
    return generator.integers(0, bound, (_ROWS, *known.shape), endpoint=True)


def _floats(module: nn.Module, inputs: list[np.ndarray], network: FrozenNetwork, name: str) -> list[np.ndarray]:
    like = next((each for each in [*module.parameters(), *module.buffers()] if each.is_floating_point()), None)
    dtype, device = (torch.float32, torch.device("cpu")) if like is None else (like.dtype, like.device)
    tensors = [
        torch.tensor(x * 0.5**known.frac, dtype=dtype, device=device)
        for x, known in zip(inputs, network.inputs, strict=True)
    ]
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            result = module(*tensors)
    except Exception as error:  # the module's own code may raise any exception
        raise FreezeError(f"network '{name}' cannot compute inputs as they are declared: {one_line(error)}") from None
    leaves: list[Any] = []
    fx.node.map_aggregate(result, leaves.append)
    return [leaf.double().cpu().numpy() for leaf in leaves]


def _alike(output: Output, frozen: np.ndarray, expected: np.ndarray) -> bool:
    if frozen.shape != expected.shape:
        return False
    if output.kind == "sigmoid":
        with np.errstate(over="ignore"):
            frozen = 1 / (1 + np.exp(-frozen))
    elif output.kind == "exp":  # values that float32 cannot hold say nothing
        held = (expected > 1e-30) & (expected < 1e30)
        frozen, expected = frozen[held], np.log(expected[held])
    limit = HEAD_LIMIT * 0.5**output.frac
    finite = np.isfinite(expected)
    frozen, expected = frozen[finite], np.clip(expected[finite], -limit, limit)
    return _size(frozen - expected) <= _SHARE * _size(expected) + _SLACK + 4 * 0.5**output.frac


def _size(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0
