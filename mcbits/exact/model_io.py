"""A model file is safetensors of integers, known by the SHA-256 of its bytes; nothing in it is trusted."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from mcbits.errors import ModelError
from mcbits.exact.network import FrozenNetwork
from mcbits.files import whole_or_nothing

FORMAT = 1
"""Version of the model file; any change to what the stored integers mean is a new one."""


def dumps(networks: dict[str, FrozenNetwork], meta: dict[str, Any]) -> bytes:
    """The model file's bytes, a function of the networks and `meta` (fit for JSON) alone."""
    tensors: dict[str, np.ndarray] = {}
    specs = {}
    for name, network in networks.items():
        own, specs[name] = network.to_tensors(f"{name}.")
        tensors |= own
    # One metadata key, because safetensors writes several in no particular order.
    head = {"format": FORMAT, "networks": specs, "meta": meta}
    text = json.dumps(head, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return safetensors.numpy.save(tensors, metadata={"mcbits": text})


def save(path: str | os.PathLike[str], networks: dict[str, FrozenNetwork], meta: dict[str, Any]) -> None:
    """Writes the model file whole or not at all; DataError when the disk refuses."""
    with whole_or_nothing(Path(path)) as draft:
        draft.write_bytes(dumps(networks, meta))


def load(
    source: str | os.PathLike[str] | bytes, backend_name: str = "numpy"
) -> tuple[dict[str, FrozenNetwork], dict[str, Any], str]:
    """(networks, meta, model id) of a model file or its bytes; model id is the SHA-256 of the bytes, in hex.

    Raises ModelError unless the file is whole, holds what its specification says, and every stored bound
    follows from the stored integers; PlatformError if the backend fails its self-test.
    """
    if isinstance(source, bytes):
        data, name = source, "the model"
    else:
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read the model {name}: {error.strerror}") from None
    tensors, specs, meta = _parse(data, name)
    own: dict[str, dict[str, np.ndarray]] = {key: {} for key in specs}
    for key, tensor in tensors.items():
        if (network := key.partition(".")[0]) not in own:
            raise ModelError(f"{name} holds a tensor {key!r} that belongs to no network")
        own[network][key] = tensor
    networks = {key: FrozenNetwork.from_tensors(own[key], spec, f"{key}.", backend_name) for key, spec in specs.items()}
    return networks, meta, hashlib.sha256(data).hexdigest()


def read_meta(data: bytes) -> dict[str, Any]:
    """The `meta` of a model file's bytes, without its networks; ModelError when they are not one."""
    return _parse(data, "the model")[2]


def _parse(data: bytes, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Tensors, the specification of each network, and meta."""
    try:
        tensors = safetensors.numpy.load(data)
        # safetensors has just checked the header that these eight bytes give the length of.
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        head = json.loads(header["__metadata__"]["mcbits"])
        version, specs, meta = head["format"], dict(head["networks"]), dict(head["meta"])
    except (SafetensorError, LookupError, TypeError, ValueError, RecursionError, MemoryError):
        raise ModelError(f"{name} is not a frozen mcbits model, or is damaged") from None
    if version != FORMAT:
        raise ModelError(f"{name} has model format {version!r}; this mcbits reads format {FORMAT}")
    return tensors, specs, meta
