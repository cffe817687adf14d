"""All options of a job are one object: made once, from a configuration or keywords, checked once, and carried whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import Field, dataclass
from typing import Any, Self

import numpy as np

from mcbits.coders.base import Coder
from mcbits.errors import UsageError
from mcbits.latents.options import Options, Precisions, Refinement, declared, option
from mcbits.plugins.registry import nearest_name, registry

REFINE = "iterative_post_improvement"
"""The option by which a refinement is asked for at all."""


@dataclass(frozen=True)
class CodingOptions(Options):
    """How a file is made: what its bytes depend on besides its model and its images, and who computes them.

    `coder`, `precisions` and `refinement` hold options of their own; `of` makes all from one set of names.
    """

    coder: Coder
    precisions: Precisions = Precisions()
    refinement: Refinement | None = None
    seed: int = option(42, help="seed of the initial bits; any whole number")
    lanes: str = option("1", help="stacks that step together: faster, more initial bits; auto: as many as cost 0.5 %")
    ramp: str = option(
        "auto", help="particles to add a step, from one, so that few initial bits are needed; auto: to fit; off"
    )
    workers: int = option(1, help="processes that code blocks at the same time; same bytes", minimum=1, maximum=256)
    embed_model: bool = option(False, help="store the model in the file as well")
    verify: bool = option(
        True, help="decode what was written and compare it, before the file gets its name", name="decode_check"
    )

    def __post_init__(self) -> None:
        if isinstance(self.lanes, int | np.integer):
            object.__setattr__(self, "lanes", str(self.lanes))
        super().__post_init__()

    @classmethod
    def of(cls, coder: str | Coder = "bb-is", **given: Any) -> Self:
        """Return the options of these names: those of this class, of the coder, of Precisions and of Refinement.

        Raises UsageError for a name that there is not, which tells the nearest one, and for a value out of range;
        UnknownNameError for the coder.
        """
        made = coder if isinstance(coder, Coder) else None
        coder_class = type(made) if made else registry().coder(str(coder))
        if made and (taken := sorted(given.keys() & declared(coder_class))):
            raise UsageError(f"{taken[0]} is an option of the coder that was given: make the coder with it")
        known = names(coder_class)
        for name in given:
            if name not in known:
                raise UsageError(unknown(name, known, coder_class.short))
        refine = given.pop(REFINE, False)
        refinement = _made(Refinement, given)
        return cls(
            coder=made or _made(coder_class, given),
            precisions=_made(Precisions, given),
            refinement=refinement if refine else None,
            **{f.name: given[name] for name, f in _own().items() if name in given},
        )

    def by_name(self) -> dict[str, Any]:
        """Return every option by the name that users know, as `of` takes them."""
        refinement = self.refinement or Refinement()
        parts: list[Options] = [self.coder, self.precisions, Iterative(self.refinement is not None), refinement, self]
        return {
            name: getattr(part, f.name)
            for part in parts
            for name, f in declared(type(part)).items()
            if "help" in f.metadata
        }


def names(coder: type[Coder]) -> dict[str, Field[Any]]:
    """Return every option by the name that users know, of CodingOptions and of all that it holds."""
    refine: dict[str, Field[Any]] = declared(Iterative)
    return _own() | refine | declared(Refinement) | declared(Precisions) | declared(coder)


def unknown(name: str, known: Iterable[str], owner: str) -> str:
    """Return what is wrong with an option that `owner`, the short name of a coder, does not have."""
    known = list(known)
    nearest = nearest_name(name, known)
    return f"{owner} has no option {name}: " + (f"did you mean {nearest}?" if nearest else f"it has {', '.join(known)}")


@dataclass(frozen=True)
class Iterative(Options):
    """Whether the options of a Refinement are used."""

    iterative_post_improvement: bool = option(
        False, help="refine each q(z|x) by gradient steps; the decoder repeats them from x"
    )


def _own() -> dict[str, Field[Any]]:
    return {name: f for name, f in declared(CodingOptions).items() if "help" in f.metadata}


def _made(cls: Any, given: dict[str, Any]) -> Any:
    return cls(**{f.name: given[name] for name, f in declared(cls).items() if name in given})
