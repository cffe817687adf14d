"""Float weights lie on disk as safetensors, whose metadata key "mcbits" says how to build the network."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mcbits.errors import McbitsError, ModelError
from mcbits.models.base import Model
from mcbits.plugins.registry import registry


def dump_tensors(tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """A safetensors file of `tensors` (any device), JSON-able `meta` and their checksum; equal inputs give equal
    bytes."""
    # Copies, since safetensors refuses weights that two modules share.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One key, because safetensors writes several in no particular order.
    return save(tensors, metadata={"mcbits": json.dumps({**meta, "sha256": _checksum(tensors, meta)}, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `dump_tensors` wrote, on the CPU; ModelError if the file is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["mcbits"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it iterates no other way
        # Files of 0.1.0's first builds have no checksum.
        if "sha256" in meta and meta.pop("sha256") != _checksum(tensors, meta):
            raise ValueError("the checksum is another")
        return tensors, meta
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; train a model first (mcbits train)") from None
    except Exception as error:  # safetensors and json document no common base of what damaged bytes raise
        raise ModelError(f"{path} is damaged or was not written by mcbits train") from error


def _checksum(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    return sha256(save(tensors, metadata={"mcbits": json.dumps(meta, sort_keys=True)})).hexdigest()


def dump_float(model: Model) -> bytes:
    """The bytes of a run directory's `model.safetensors`."""
    return dump_tensors(model.state_dict(), {"model": model.name, "config": model.get_config()})


def load_float(path: str | Path) -> Model:
    """The float model of a run directory or of a directory of published checkpoints, on the CPU, in eval mode.

    path: the directory, or the `train_config.yml` in it; the weights (`model.safetensors`, else `model.pt`)
    are looked for beside the yml, wherever it says they once were. Nothing is unpickled but tensors. Raises
    ModelError.
    """
    path = Path(path)
    directory = path if path.is_dir() else path.parent
    config = directory / "train_config.yml"
    if path not in (directory, config) or not config.is_file():
        raise ModelError(f"{path} is not a model: give a run directory or its train_config.yml")
    weights = directory / "model.safetensors"
    model = _read_published(directory) if not weights.is_file() else _read_float(weights)
    return model.eval()


def _read_float(weights: Path) -> Model:
    tensors, meta = read_tensors(weights)
    try:
        cls = registry().model(meta["model"])
        model: Model = cls(**{**meta["config"], "shape": tuple(meta["config"]["shape"])})
        model.load_state_dict(tensors)
    except McbitsError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{weights} does not hold the weights of the model it names; train again") from error
    return model


def _read_published(directory: Path) -> Model:
    weights = directory / "model.pt"
    if not weights.is_file():
        raise ModelError(f"{directory} holds no model.safetensors or model.pt; let mcbits train end an epoch")
    config = directory / "train_config.yml"
    try:
        name = str(yaml.safe_load(config.read_text())["model"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{config} names no model; it needs a line such as model: BinaryVAE") from error
    try:
        state_dict = torch.load(weights, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load documents no closed set of what damaged bytes raise
        raise ModelError(f"{weights} is damaged or is no checkpoint of tensors") from error
    if not isinstance(state_dict, dict) or not all(isinstance(v, Tensor) for v in state_dict.values()):
        raise ModelError(f"{weights} is no checkpoint of tensors (a state dict)")
    model: Model = registry().model(name).from_published(state_dict)
    return model
