"""A ready-made model comes with mcbits or a plugin, is named by its id in files, and never changes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from mcbits.errors import McbitsError
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.plugins.registry import registry


@dataclass(frozen=True)
class ReadyMade:
    """A ready-made model: its name, the plugin that brings it, its file and its id, the SHA-256 of the file."""

    name: str
    plugin: str
    path: Path
    model_id: str

    def load(self) -> FrozenModel:
        """Return the model. Raises ModelError if the file is damaged."""
        return load_frozen(self.path)


def ready_made() -> list[ReadyMade]:
    """Return all ready-made models, those of mcbits first. One whose file cannot be read is told to listeners."""
    found = []
    for plugin, path in registry().ready_made():
        try:
            found.append(ReadyMade(path.stem, plugin, path, sha256(path.read_bytes()).hexdigest()))
        except OSError as error:
            registry().hook.mcbits_notice(message=f"ready-made model {path} of {plugin}: {error.strerror}")
    return found


@cache
def ready_made_models() -> tuple[FrozenModel, ...]:
    """Return all ready-made models that can be loaded; what cannot is told to listeners."""
    found = []
    for each in ready_made():
        try:
            found.append(each.load())
        except McbitsError as error:
            registry().hook.mcbits_notice(message=f"ready-made model {each.name} of {each.plugin}: {error}")
    return tuple(found)


def ready_made_of_id(model_id: str) -> FrozenModel | None:
    """Return the ready-made model whose SHA-256 begins with `model_id`, or None."""
    return next((each.load() for each in ready_made() if each.model_id.startswith(model_id)), None)
