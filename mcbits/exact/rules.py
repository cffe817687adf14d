"""Which calls of torch have an exact form, and by which rule of `mcbits.exact.freeze` they get it."""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import fx, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Traced:
    """A value of the network by its index; an accumulator has more precision than may enter a product.

    scale, offset: what is meant is scale * value + offset. Products take these into their weights and biases.
    """

    index: int
    accumulator: bool = True
    kind: Literal["linear", "exp", "sigmoid"] = "linear"
    scale: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Call:
    """A traced call of a module, function or method; `head` is its precision if only an output reads it."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    head: int | None

    @property
    def operands(self) -> list[Traced]:
        leaves: list[Any] = []
        fx.node.map_aggregate((self.args, self.kwargs), leaves.append)
        return [x for x in leaves if isinstance(x, Traced)]

    def at(self, points: Sequence[float] | np.ndarray) -> np.ndarray:
        """What the call, of one operand and elementwise, gives in float64 at these points."""
        x = torch.tensor(points, dtype=torch.float64)
        with torch.no_grad():
            args = [x if isinstance(a, Traced) else a for a in self.args]
            kwargs = {key: x if isinstance(a, Traced) else a for key, a in self.kwargs.items()}
            values: np.ndarray = self.function(*args, **kwargs).numpy()
        return values


@dataclass(frozen=True)
class Curve:
    """A nonlinearity as a table over [low, high): constant below it, above it constant or the identity."""

    low: int
    high: int
    identity_above: bool


CURVES = {
    "tanh": Curve(-4, 4, False),
    "sigmoid": Curve(-8, 8, False),
    "softplus": Curve(-8, 8, True),
    "elu": Curve(-8, 8, True),
    "silu": Curve(-12, 12, True),
}

RULES: dict[Any, str] = {
    nn.Identity: "identity", nn.Dropout: "identity", nn.Dropout2d: "identity", "contiguous": "identity",
    nn.Linear: "linear", nn.Conv2d: "conv2d", nn.ConvTranspose2d: "conv_transpose2d",
    nn.LSTMCell: "lstm_cell", nn.GRUCell: "gru_cell",
    nn.BatchNorm1d: "batch_norm", nn.BatchNorm2d: "batch_norm",
    nn.ReLU: "clamp", nn.ReLU6: "clamp", nn.Hardtanh: "clamp",
    torch.relu: "clamp", F.relu: "clamp", "relu": "clamp", torch.clamp: "clamp", "clamp": "clamp",
    nn.Tanh: "tanh", torch.tanh: "tanh", F.tanh: "tanh", "tanh": "tanh",
    nn.Sigmoid: "sigmoid", torch.sigmoid: "sigmoid", F.sigmoid: "sigmoid", "sigmoid": "sigmoid",
    nn.Softplus: "softplus", F.softplus: "softplus",
    nn.ELU: "elu", F.elu: "elu", nn.SiLU: "silu", F.silu: "silu",
    torch.exp: "exp", "exp": "exp",
    operator.add: "arithmetic", operator.iadd: "arithmetic", torch.add: "arithmetic", "add": "arithmetic",
    operator.sub: "arithmetic", torch.sub: "arithmetic", "sub": "arithmetic",
    operator.mul: "arithmetic", torch.mul: "arithmetic", "mul": "arithmetic",
    operator.truediv: "arithmetic", torch.div: "arithmetic", "div": "arithmetic", operator.neg: "arithmetic",
    nn.Flatten: "flatten", torch.flatten: "flatten", "flatten": "flatten",
    nn.Unflatten: "unflatten", "unflatten": "unflatten",
    torch.reshape: "reshape", "reshape": "reshape", "view": "reshape",
    torch.chunk: "chunk", "chunk": "chunk", torch.split: "split", "split": "split",
    getattr: "shape", "size": "shape", operator.getitem: "getitem",
}  # fmt: skip
"""The rule that freezes each module type, function or method name of torch; what has none is refused."""

SCALED = {
    *("identity", "linear", "conv2d", "conv_transpose2d"),
    *("flatten", "unflatten", "reshape", "chunk", "split", "shape", "getitem"),
}
"""The rules for calls that can read a value with a scale and an offset, or hand it on."""


def tails_fit(curve: Curve, call: Call, frac: int) -> bool:
    """Whether the table's ends are within half a unit of what the function does beyond them."""
    below, first, last, above = call.at([64.0 * curve.low, curve.low, curve.high, 64.0 * curve.high])
    if curve.identity_above:
        last, above = last - curve.high, above - 64 * curve.high
    return bool(abs(first - below) <= 0.5**frac / 2 and abs(last - above) <= 0.5**frac / 2)
