"""A frozen model is a file of integers. Its SHA-256 is its identity, and the file names the class that reads it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from mcbits.errors import DataError, McbitsError, ModelError
from mcbits.exact import packing
from mcbits.exact.model_io import ModelFile, dumps
from mcbits.exact.network import FrozenNetwork
from mcbits.files import write
from mcbits.latents.base import LatentModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import PADDING, lengths
from mcbits.observations.base import ObservationModel, make_observation
from mcbits.plugins.registry import registry

DEFAULT_CLASS = "VAE"
"""The class that reads a file without a class name."""

_SHAPE: TypeAdapter[tuple[int, ...]] = TypeAdapter(
    Annotated[tuple[Annotated[int, Field(ge=0, lt=1 << 63)], ...], Field(min_length=1, max_length=8)]
)


class FrozenModel(ABC):
    """A latent-variable model as integers: what `freeze` of a torch model returns, and what coding needs.

    A subclass sets `name` and `sequences` (whether an x is a sequence of frames) and checks its networks in `read`.
    Attributes:
    `networks`: {name: FrozenNetwork};
    `observation`: the observation model;
    `shape`: of x; for sequences the first size is the number of frames of the longest one; 0 where any size fits;
    `num_symbols`: K, symbols are 0..K-1;
    `latent_dim`: dimensions of z, or of z_t if x is a sequence;
    `data`: the bytes of the file; `model_id`: their SHA-256 in hex;
    `backend`: the name of the backend that computes the networks.
    """

    name: ClassVar[str]
    sequences: ClassVar[bool] = False
    block_samples: ClassVar[int | None] = None
    """About how many samples a block should have; None for as many as the images of a block have."""

    latent_dim: int

    def __init__(self, source: Path | bytes | ModelFile, backend: str = "numpy"):
        """Read a frozen model from a path, from bytes or from a parsed ModelFile.

        Raises ModelError if it is not a frozen model of this class or is damaged, UnknownNameError if its observation
        model is not registered, UsageError for an unknown backend, PlatformError if the backend rounds.
        """
        file = source if isinstance(source, ModelFile) else ModelFile.read(source)
        self.data, self.model_id, self.backend = file.data, file.model_id, backend
        self.networks, meta = file.networks(backend), file.meta
        try:
            self.shape: tuple[int, ...] = _SHAPE.validate_json(json.dumps(meta["shape"]), strict=True)
            self.observation: ObservationModel = make_observation(
                meta["observation"], meta.get("observation_options", {})
            )
            self.num_symbols: int = self.observation.num_symbols
            if self.sequences and self.num_symbols > PADDING:
                raise ModelError(f"sequences have the symbols 0..{PADDING - 1}, since {PADDING} stands for their end")
            fits = self.read(meta)
        except McbitsError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
            raise ModelError(f"the frozen model does not describe a {self.name}: freeze it again") from None
        if not fits:
            raise ModelError("the networks of the frozen model do not fit each other: freeze it again")

    @abstractmethod
    def read(self, meta: dict[str, Any]) -> bool:
        """Set `latent_dim` and the attributes that the class needs. Return whether shapes and precisions fit.

        meta: what `pack` stored. May raise KeyError, TypeError, ValueError or AttributeError on a malformed file.
        """

    @abstractmethod
    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> LatentModel:
        """Return the latent model at these precisions.

        A refinement improves the q(z|x) of the encoder network. Raises UsageError if the model has no exact gradient.
        """

    def of_shape(self, shape: tuple[int, ...]) -> Self:
        """Return the model of images of this shape: itself, unless it codes images of any size.

        Raises DataError if the model codes no such images.
        """
        if shape not in (self.shape, (prod(self.shape),)):
            raise DataError(
                f"images have shape {shape}, but the model expects shape {self.shape}: train one on such images"
            )
        return self

    def packed(self) -> Self:
        """Return the same model as a packed file, which weighs less and has another id; itself if it is one.

        Raises ModelError for what a packed file cannot hold.
        """
        if packing.is_packed(self.data):
            return self
        return self.with_networks(self.networks)

    def with_networks(self, networks: dict[str, FrozenNetwork]) -> Self:
        """Return the model of these networks instead, as a packed file.

        Raises ModelError if they do not fit the model, or for what a packed file cannot hold.
        """
        return type(self)(packing.pack(networks, ModelFile(self.data).meta), self.backend)

    @property
    def unit(self) -> str:
        """The unit of rates: "dim", or "frame" for sequences."""
        return "frame" if self.sequences else "dim"

    def units(self, images: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of units (n,) of each of the images (n, *shape): its dims, or its frames."""
        return lengths(images) if self.sequences else np.full(len(images), prod(self.shape))

    @property
    def num_latents(self) -> int:
        """Dimensions of z, over all frames of the longest sequence."""
        return self.latent_dim * (self.shape[0] if self.sequences else 1)

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises DataError if it cannot be written."""
        write(path, self.data)

    @classmethod
    def pack(
        cls,
        networks: dict[str, FrozenNetwork],
        *,
        observation: ObservationModel,
        shape: Iterable[int],
        backend: str = "numpy",
        **meta: Any,
    ) -> Self:
        """Return the model of these networks.

        shape: of x. meta: what else `read` needs, JSON only.
        """
        meta |= {"observation": observation.name, "shape": list(shape)}
        if options := observation.get_config():
            meta["observation_options"] = options
        if cls.name != DEFAULT_CLASS:
            meta["class"] = cls.name
        return cls(dumps(networks, meta), backend)


def load_frozen(source: Path | bytes, backend: str = "numpy") -> FrozenModel:
    """Return the model of a frozen model file, or of its bytes. The file names its class.

    Raises as `FrozenModel` does, and UnknownNameError if no plugin registers the class.
    """
    file = ModelFile.read(source)
    reader: type[FrozenModel] = registry().find("frozen model", str(file.meta.get("class", DEFAULT_CLASS)))
    return reader(file, backend)
