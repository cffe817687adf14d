"""All options of a job are one object. It is made and checked once, from a config or keywords, and passed on whole."""

from __future__ import annotations

from dataclasses import Field, dataclass
from typing import Any, Self

import numpy as np

from mcbits.coders.base import Coder, find_coder, unknown_option
from mcbits.errors import UsageError
from mcbits.latents.options import Precisions, Refinement
from mcbits.plugins.options import Options, declared, option

REFINE = "iterative_post_improvement"
"""The option that turns a refinement on."""


@dataclass(frozen=True)
class CodingOptions(Options):
    """The options of a file: what its bytes depend on besides the model and the images, and how it is computed.

    `coder`, `precisions` and `refinement` hold options of their own. `of` makes all of them from one set of names.
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
        """Return the options with these values. Names may be of this class, the coder, Precisions or Refinement.

        Raises UsageError for an unknown name (the error gives the nearest one), for a value of the wrong type and for a
        value out of range; UnknownNameError for an unknown coder.
        """
        made = coder if isinstance(coder, Coder) else None
        coder_class = type(made) if made else find_coder(str(coder))
        if made and (taken := sorted(given.keys() & declared(coder_class))):
            raise UsageError(f"{taken[0]} is an option of the coder: set it when you make the coder")
        known = names(coder_class)
        for name in given:
            if name not in known:
                raise unknown_option(name, known, coder_class.short)
        refine = given.pop(REFINE, False)
        refinement = _made(Refinement, given)
        return cls(
            coder=made or _made(coder_class, given),
            precisions=_made(Precisions, given),
            refinement=refinement if refine else None,
            **{f.name: given[name] for name, f in _own().items() if name in given},
        )

    def by_name(self) -> dict[str, Any]:
        """Return {name: value} of every option, by the names that users write: the keywords of `of`."""
        refinement = self.refinement or Refinement()
        parts: list[Options] = [self.coder, self.precisions, Iterative(self.refinement is not None), refinement, self]
        return {
            name: getattr(part, f.name)
            for part in parts
            for name, f in declared(type(part)).items()
            if "help" in f.metadata
        }


def names(coder: type[Coder]) -> dict[str, Field[Any]]:
    """Return every option by the name that users write: of CodingOptions and of the objects that it holds."""
    refine: dict[str, Field[Any]] = declared(Iterative)
    return _own() | refine | declared(Refinement) | declared(Precisions) | declared(coder)


@dataclass(frozen=True)
class Iterative(Options):
    """The option that says whether the options of a Refinement are used."""

    iterative_post_improvement: bool = option(
        False, help="refine each q(z|x) by gradient steps; the decoder repeats them from x"
    )


def _own() -> dict[str, Field[Any]]:
    return {name: f for name, f in declared(CodingOptions).items() if "help" in f.metadata}


def _made(cls: Any, given: dict[str, Any]) -> Any:
    return cls(**{f.name: given[name] for name, f in declared(cls).items() if name in given})
