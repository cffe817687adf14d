"""An option is declared once, as a field with default, range and help. Its value is checked when the object is made."""

from __future__ import annotations

from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any, get_type_hints

import numpy as np

from mcbits.errors import UsageError


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
