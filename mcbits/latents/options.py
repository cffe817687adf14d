"""An option is declared once, as a field with default, range and help. Its value is checked when the object is made."""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, get_type_hints

import numpy as np

from mcbits.distributions.base import MAX_PRECISION
from mcbits.errors import UsageError

MAX_STEPS = 1_000
"""Most gradient steps for an image: this limits the time that a hostile file can make a decoder spend."""


def option(
    default: Any,
    *,
    help: str,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] | None = None,
    name: str | None = None,
) -> Any:
    """Return a dataclass field that users can set: `--NAME` on the command line, a key in YAML, a keyword in Python.

    `name` is the name that users write. The default is the name of the field.
    """
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "choices": choices, "name": name}
    return field(default=default, metadata=metadata)


def declared(cls: Any) -> dict[str, Field[Any]]:
    """Return the fields of a dataclass by the names that users write."""
    return {f.metadata.get("name") or f.name: f for f in fields(cls)}


@dataclass(frozen=True)
class Options:
    """A base of classes whose fields are options. A value of the wrong type or out of range raises UsageError."""

    def __post_init__(self) -> None:
        for name, f in declared(type(self)).items():
            if "help" in f.metadata:
                object.__setattr__(self, f.name, self.checked(name, getattr(self, f.name)))

    @classmethod
    def checked(cls, name: str, value: Any) -> Any:
        """Return the value of one option as its declared type. `name` is the name that users write.

        Raises UsageError if the value has the wrong type, is out of range or is not among the choices.
        """
        f, owner = declared(cls)[name], getattr(cls, "short", None)
        kind, label = get_type_hints(cls)[f.name], f"{owner}: {name}" if owner else name
        if isinstance(value, np.integer) and kind in (int, float):
            value = int(value)
        if type(value) is int and kind is float and abs(value) < 1 << 53:
            value = float(value)
        if type(value) is not kind:
            raise UsageError(f"{label} must be of type {kind.__name__}, not {value!r}")
        minimum, maximum, choices = (f.metadata[key] for key in ("minimum", "maximum", "choices"))
        if (minimum is not None and not value >= minimum) or (maximum is not None and not value <= maximum):
            raise UsageError(f"{label} must be {_range(minimum, maximum)}, not {value}")
        if choices is not None and value not in choices:
            raise UsageError(f"{label} must be {', '.join(choices)}, not {value!r}")
        return value

    def get_config(self) -> dict[str, Any]:
        """Return the options by field name, JSON only."""
        return asdict(self)


def _range(minimum: float | None, maximum: float | None) -> str:
    if maximum is None:
        return f"at least {minimum}"
    return f"at most {maximum}" if minimum is None else f"between {minimum} and {maximum}"


@dataclass(frozen=True)
class Precisions(Options):
    """The precisions, in bits, of the stack, of the grid of the latents, and of each distribution.

    >>> Precisions(prop_mprec=40)
    Traceback (most recent call last):
    mcbits.errors.UsageError: prop_mprec must be between 1 and 30, not 40
    """

    lprec: int = option(32, help="bits a stack head keeps at least", minimum=1, maximum=63)
    bprec: int = option(32, help="bits per word of the stack's tail", minimum=1, maximum=63)
    log_num_bucket: int = option(8, help="log2 of the latent's buckets per dimension", minimum=1, maximum=16)
    prior_mprec: int = option(8, help="precision of the prior p(z), bits", minimum=1, maximum=MAX_PRECISION)
    prop_mprec: int = option(16, help="precision of the proposal q(z|x), bits", minimum=1, maximum=MAX_PRECISION)
    cond_mprec: int = option(16, help="precision of the likelihood p(x|z), bits", minimum=1, maximum=MAX_PRECISION)
    index_mprec: int = option(
        24, help="precision of the particle weights Cat(w), bits", minimum=1, maximum=MAX_PRECISION
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lprec + self.bprec > 64:
            raise UsageError(f"lprec {self.lprec} and bprec {self.bprec} must be at most 64 together")
        for name in ("prior_mprec", "prop_mprec", "cond_mprec", "index_mprec"):
            if getattr(self, name) > self.lprec:
                raise UsageError(f"{name} {getattr(self, name)} must be at most lprec, which is {self.lprec}")
        if self.log_num_bucket > min(self.prior_mprec, self.prop_mprec):
            raise UsageError(
                f"log_num_bucket {self.log_num_bucket} must be at most prior_mprec {self.prior_mprec} "
                f"and prop_mprec {self.prop_mprec}"
            )


@dataclass(frozen=True)
class Refinement(Options):
    """A refinement of each q(z|x) by `steps` steps of Adam with learning rate `lr` on the ELBO, in nats."""

    steps: int = option(
        50,
        help="gradient steps an image; the time they take is the decoder's too",
        minimum=1,
        maximum=MAX_STEPS,
        name="iterative_improvement_steps",
    )
    lr: float = option(0.01, help="learning rate of these steps", maximum=1, name="iterative_improvement_lr")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > 0:
            raise UsageError(f"iterative_improvement_lr must be above 0 and at most 1, not {self.lr}")
