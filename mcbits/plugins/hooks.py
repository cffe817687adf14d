"""Every hook a plugin may implement: six register classes; four listen, and cannot change a coded byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("mcbits")
hookimpl = pluggy.HookimplMarker("mcbits")


@dataclass(frozen=True)
class Lazy:
    """A class by its import path, so that registering it imports nothing until it is looked up.

    `path` is "package.module:Class"; `names` are the class's own name and then its short form or aliases.
    """

    path: str
    names: tuple[str, ...]

    def __init__(self, path: str, *names: str) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "names", names)

    def load(self) -> Any:
        """The class, imported. May raise whatever its module raises when it is imported."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(module), attribute)


@hookspec
def mcbits_coders() -> Iterable[type | Lazy]:
    """Coders: subclasses of `mcbits.coders.base.Coder`."""
    return ()


@hookspec
def mcbits_bounds() -> Iterable[type | Lazy]:
    """Bounds on log p(x): subclasses of `mcbits.bounds.base.Bound`."""
    return ()


@hookspec
def mcbits_models() -> Iterable[type | Lazy]:
    """Models to train: subclasses of `mcbits.models.base.Model`, as `Lazy`, since their modules import torch."""
    return ()


@hookspec
def mcbits_frozen_models() -> Iterable[type | Lazy]:
    """What frozen models are read by: subclasses of `mcbits.latents.frozen.FrozenModel`, which import no torch."""
    return ()


@hookspec
def mcbits_observation_models() -> Iterable[type | Lazy]:
    """Observation models p(x|z): see `mcbits.observations.base.ObservationModel`."""
    return ()


@hookspec
def mcbits_datasets() -> Iterable[type | Lazy]:
    """Datasets: classes with `name`, `splits` and `load(datadir, split, download=True) -> Dataset`."""
    return ()


@hookspec
def mcbits_started(job: str, total: int) -> None:
    """A job ("train", "evaluate", "compress" or "decompress") of `total` epochs or images begins."""


@hookspec
def mcbits_advanced(job: str, done: int, metrics: dict[str, float]) -> None:
    """`done` of the job's `total` are finished; `metrics` is what is known by now, such as "loss", "net"."""


@hookspec
def mcbits_finished(job: str, metrics: dict[str, float]) -> None:
    """The job ended well; `metrics` is its outcome."""


@hookspec
def mcbits_notice(message: str) -> None:
    """One line the user should know although nothing failed, such as a fall-back to the CPU."""
