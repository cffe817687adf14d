"""A frozen model is a file of integers, its SHA-256 its name, and the file says which class reads it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from mcbits.errors import McbitsError, ModelError
from mcbits.exact.fixed import Shape
from mcbits.exact.model_io import ModelFile, dumps
from mcbits.exact.network import FrozenNetwork
from mcbits.files import write
from mcbits.latents.base import LatentModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import lengths
from mcbits.plugins.registry import registry

DEFAULT_CLASS = "VAE"
"""The class of a file that names none."""

_SHAPE: TypeAdapter[tuple[int, ...]] = TypeAdapter(Shape)


class FrozenModel(ABC):
    """A latent-variable model as integers: what `freeze` of a torch model returns, and what coding needs.

    A subclass names itself (`name`), says whether an x is a sequence, and takes its networks apart in `read`.
    Attributes: `networks` by name; `observation`; `shape` of x, with the frames of the longest sequence first;
    `num_symbols` K; `latent_dim` of z, of z_t where x is a sequence; `model_id` (SHA-256 of `data`, hex); `data` (the
    file); `backend`.
    """

    name: ClassVar[str]
    sequences: ClassVar[bool] = False

    latent_dim: int

    def __init__(self, source: Path | bytes | ModelFile, backend: str = "numpy"):
        """Read a frozen model file, its bytes, or what was parsed of them.

        Raises ModelError when it is not one, PlatformError when this machine rounds.
        """
        file = source if isinstance(source, ModelFile) else ModelFile.read(source)
        self.data, self.model_id, self.backend = file.data, file.model_id, backend
        self.networks, meta = file.networks(backend), file.meta
        try:
            self.shape: tuple[int, ...] = _SHAPE.validate_json(json.dumps(meta["shape"]), strict=True)
            self.observation: Any = registry().observation(meta["observation"])()
            self.num_symbols: int = self.observation.num_symbols
            fits = self.read(meta)
        except McbitsError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise ModelError(f"the frozen model does not describe a {self.name}: freeze it again") from None
        if not fits:
            raise ModelError("the networks of the frozen model do not fit each other: freeze it again")

    @abstractmethod
    def read(self, meta: dict[str, Any]) -> bool:
        """Set `latent_dim` and what else the class needs of `networks`; return whether their shapes and precisions fit.

        May raise KeyError, TypeError, ValueError or AttributeError on a malformed file.
        """

    @abstractmethod
    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> LatentModel:
        """Return the discretised distributions at these precisions.

        A refinement improves on the encoder network's q(z|x); UsageError for a model that has no exact gradient.
        """

    @property
    def unit(self) -> str:
        """What rates are counted by: bits/dim, or bits/frame of sequences."""
        return "frame" if self.sequences else "dim"

    def units(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """How many units each of the images (n, *shape) has: its dims, or its frames."""
        return lengths(images) if self.sequences else np.full(len(images), prod(self.shape))

    @property
    def num_latents(self) -> int:
        """Dimensions of z, over all frames of the longest sequence."""
        return self.latent_dim * (self.shape[0] if self.sequences else 1)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write(path, self.data)

    @classmethod
    def pack(
        cls,
        networks: dict[str, FrozenNetwork],
        *,
        observation: str,
        shape: Iterable[int],
        backend: str = "numpy",
        **meta: Any,
    ) -> Self:
        """The model of these networks; `meta` is what else `read` asks for, fit for JSON."""
        meta |= {"observation": observation, "shape": list(shape)}
        if cls.name != DEFAULT_CLASS:
            meta["class"] = cls.name
        return cls(dumps(networks, meta), backend)


def load_frozen(source: Path | bytes, backend: str = "numpy") -> FrozenModel:
    """The model of a frozen model file, or of its bytes, by the class that it names; errors as for `FrozenModel`, and
    UnknownNameError where no plugin has that class."""
    file = ModelFile.read(source)
    reader: type[FrozenModel] = registry().find("frozen model", str(file.meta.get("class", DEFAULT_CLASS)))
    return reader(file, backend)
