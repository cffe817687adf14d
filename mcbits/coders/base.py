"""A coder is a frozen set of options with an encode and a decode that undo each other on the stack, bit for bit."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import log2_mean
from mcbits.distributions.base import Repeatable
from mcbits.errors import UsageError
from mcbits.latents.base import Joint, LatentModel

__all__ = ["Coder", "Stack", "log2_mean", "log_weights", "option"]


def option(
    default: Any,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A field of a coder that users can set: `--NAME` on the command line, a key in YAML and in the file's header."""
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices}
    return field(default=default, metadata=metadata)


def log_weights(q: Repeatable, p: Joint, z: NDArray[np.int32], x: NDArray[np.int32]) -> NDArray[np.int64]:
    """log2 w_i = log2 p(x, z_i) / q(z_i|x) for z (lanes, N, dims), p at these z: (lanes, N), in units of 2^-16 bits.

    They are the codelengths of the discretised distributions, integers, so that encoder and decoder agree on them.
    """
    return q.expand(z.shape[1]).total_codelength(z) - p.total_codelength(x)


@dataclass(frozen=True)
class Coder(ABC):
    """Codes one x a lane under a LatentModel. The dataclass fields of a subclass, made with `option`, are its
    options."""

    name: ClassVar[str]
    short: ClassVar[str]
    bound: ClassVar[str]
    """Name of the bound on log p(x) whose negative is the coder's ideal rate."""

    ramped: ClassVar[bool] = False
    """Whether initial bits grow with the option `num_particles`, so that a message had better begin with few."""

    def __post_init__(self) -> None:
        types = get_type_hints(type(self))
        for f in fields(self):
            value = getattr(self, f.name)
            minimum, maximum, choices = (f.metadata.get(key) for key in ("minimum", "maximum", "choices"))
            if type(value) is int and types[f.name] is float:
                object.__setattr__(self, f.name, float(value))
            elif type(value) is not types[f.name]:
                raise UsageError(f"{self.short}: {f.name} must be of type {types[f.name].__name__}, not {value!r}")
            if minimum is not None and not value >= minimum:
                raise UsageError(f"{self.short}: {f.name} must be at least {minimum}, not {value}")
            if maximum is not None and not value <= maximum:
                raise UsageError(f"{self.short}: {f.name} must be at most {maximum}, not {value}")
            if choices is not None and value not in choices:
                raise UsageError(f"{self.short}: {f.name} must be {', '.join(choices)}, not {value!r}")

    def get_config(self) -> dict[str, Any]:
        """The options by name, JSON only."""
        return asdict(self)

    @abstractmethod
    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        """Push x (lanes, dims) and return its ideal codelength (lanes,), minus the coder's bound, in units of 2^-16
        bits."""

    @abstractmethod
    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        """Pop x (lanes, dims) and leave the stack as it was before `encode`."""

    def expected_codelength(
        self, z: NDArray[np.integer], log_joint: NDArray[np.float64], log_q: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """The exact mean of what `encode` returns, in bits, where every z (Z, dims) can be listed: (U,) for U
        different x.

        `log_joint` is log2 p(x, z), `log_q` log2 q(z|x), both (U, Z). None, the default, where it is not known.
        """
        return None
