"""A model file is integers, in safetensors or packed. The SHA-256 of its bytes is its identity. All is checked."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from mcbits.errors import ModelError
from mcbits.exact import packing
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.products import Product
from mcbits.files import write

FORMATS = (1, 2)
"""Versions of the model file in safetensors. Any change to the meaning of the stored integers needs a new version.

A file is of version 2 if a channel of a layer has a shift, else of version 1. Version 3 is `mcbits.exact.packing`.
"""


def dumps(networks: dict[str, FrozenNetwork], meta: dict[str, Any]) -> bytes:
    """Return the bytes of a model file. They depend on the networks and `meta` (JSON only) alone."""
    tensors: dict[str, np.ndarray] = {}
    specs = {}
    for name, network in networks.items():
        own, specs[name] = network.to_tensors(f"{name}.")
        tensors |= own
    # Only one metadata key, because safetensors writes several keys in no fixed order.
    layers = [layer for network in networks.values() for layer in network.layers]
    version = 2 if any(isinstance(layer, Product) and layer.shifts for layer in layers) else 1
    head = {"format": version, "networks": specs, "meta": meta}
    text = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return safetensors.numpy.save(tensors, metadata={"mcbits": text})


def save(path: str | os.PathLike[str], networks: dict[str, FrozenNetwork], meta: dict[str, Any]) -> None:
    """Write the model file, whole or not at all. Raises DataError if it cannot be written."""
    write(Path(path), dumps(networks, meta))


def load(
    source: str | os.PathLike[str] | bytes, backend_name: str = "numpy"
) -> tuple[dict[str, FrozenNetwork], dict[str, Any], str]:
    """Return (networks, meta, model id) of a model file or its bytes.

    Raises as `ModelFile.read` and `ModelFile.networks` do.
    """
    file = ModelFile.read(source)
    return file.networks(backend_name), file.meta, file.model_id


class ModelFile:
    """The bytes of a model file, parsed once.

    Attributes: `data`, the bytes; `meta`, what `dumps` was given; `model_id`, the SHA-256 of the bytes, in hex.
    """

    def __init__(self, data: bytes, name: str = "the model"):
        """Parse the bytes; `name` is what errors call them. Raises ModelError if they are damaged."""
        self.data, self._name = data, name
        self.meta: dict[str, Any]
        self.model_id = hashlib.sha256(data).hexdigest()
        if packing.is_packed(data):
            try:
                self._tensors, self._specs, self.meta = packing.unpack(data)
            except ModelError as error:
                raise ModelError(f"{name} is no packed mcbits model: {error}") from None
            return
        try:
            self._tensors = safetensors.numpy.load(data)
            # The first eight bytes are the length of the header. safetensors has just checked both.
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            head = json.loads(header["__metadata__"]["mcbits"])
            version, self._specs, meta = head["format"], dict(head["networks"]), dict(head["meta"])
        except (SafetensorError, LookupError, TypeError, ValueError, RecursionError, MemoryError):
            raise ModelError(f"{name} is not a frozen mcbits model, or is damaged") from None
        if version not in FORMATS:
            raise ModelError(f"{name} has model format {version!r}; this mcbits reads formats 1 to 3")
        self.meta = meta

    @classmethod
    def read(cls, source: str | os.PathLike[str] | bytes) -> Self:
        """Return the model file at a path, or made of bytes. Raises ModelError if it cannot be read or is damaged."""
        if isinstance(source, bytes):
            return cls(source)
        try:
            return cls(Path(source).read_bytes(), str(source))
        except OSError as error:
            raise ModelError(f"cannot read the model {source}: {error.strerror}") from None

    def networks(self, backend_name: str = "numpy") -> dict[str, FrozenNetwork]:
        """Return the networks by name.

        Raises ModelError unless the file holds what its specification says and every stored bound follows from the
        stored integers. Raises UsageError for an unknown backend, PlatformError if the backend fails its self-test.
        """
        own: dict[str, dict[str, np.ndarray]] = {key: {} for key in self._specs}
        for key, tensor in self._tensors.items():
            if (network := key.partition(".")[0]) not in own:
                raise ModelError(f"{self._name} holds a tensor {key!r} that belongs to no network")
            own[network][key] = tensor
        return {
            key: FrozenNetwork.from_tensors(own[key], spec, f"{key}.", backend_name)
            for key, spec in self._specs.items()
        }
