"""These are the hooks that a plugin may implement: six register classes; four listen and cannot change coded bytes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pluggy

hookspec = pluggy.HookspecMarker("mcbits")
hookimpl = pluggy.HookimplMarker("mcbits")


@dataclass(frozen=True)
class Lazy:
    """A class by its import path, so that its module is imported only when the class is looked up.

    `path` is "package.module:Class". `names` are the name of the class, then its short name or aliases.
    """

    path: str
    names: tuple[str, ...]

    def __init__(self, path: str, *names: str) -> None:
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "names", names)

    def load(self) -> Any:
        """Import and return the class. May raise any exception that importing its module raises."""
        module, _, attribute = self.path.partition(":")
        return getattr(import_module(module), attribute)


@hookspec
def mcbits_coders() -> Iterable[type | Lazy]:
    """Return coders: subclasses of `mcbits.coders.base.Coder`."""
    return ()


@hookspec
def mcbits_bounds() -> Iterable[type | Lazy]:
    """Return bounds on log p(x): subclasses of `mcbits.bounds.base.Bound`."""
    return ()


@hookspec
def mcbits_models() -> Iterable[type | Lazy]:
    """Return models to train: subclasses of `mcbits.models.base.Model`, as `Lazy`, since their modules import torch."""
    return ()


@hookspec
def mcbits_frozen_models() -> Iterable[type | Lazy]:
    """Return classes that read frozen models: subclasses of `mcbits.latents.frozen.FrozenModel`; no torch imported."""
    return ()


@hookspec
def mcbits_observation_models() -> Iterable[type | Lazy]:
    """Return observation models p(x|z): classes as in `mcbits.observations.base.ObservationModel`."""
    return ()


@hookspec
def mcbits_datasets() -> Iterable[type | Lazy]:
    """Return datasets: classes with `name`, `splits` and `load(datadir, split, download=True) -> Dataset`."""
    return ()


@hookspec
def mcbits_ready_made_models() -> Iterable[Path]:
    """Return files of frozen models that code pictures without a training: a `PixelModel` that is frozen and packed.

    Files name such a model by its id, so it must stay as it is for as long as they are to be decoded.
    """
    return ()


@hookspec
def mcbits_started(job: str, total: int) -> None:
    """Hear that a job of `total` pieces of work begins; `total` is 0 if it is not known.

    Jobs are "train", "evaluate", "compress" and "decompress", which count images ("train": those of all epochs), and
    "baselines" and "toy". Restoring a file does not know its number of images and sends only `mcbits_advanced`.
    """


@hookspec
def mcbits_advanced(job: str, done: int, metrics: dict[str, float]) -> None:
    """Hear that `done` of the job's `total` are finished; `metrics` are the values so far, such as "loss" or "net"."""


@hookspec
def mcbits_finished(job: str, metrics: dict[str, float]) -> None:
    """Hear that the job ended without an error; `metrics` are its results."""


@hookspec
def mcbits_notice(message: str) -> None:
    """Hear one line that the user should know although nothing failed, such as a fall-back to the CPU."""
