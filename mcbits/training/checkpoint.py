"""Float weights are safetensors on disk. Their metadata key "mcbits" says how to build the network."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mcbits.config import load_yaml
from mcbits.errors import McbitsError, ModelError
from mcbits.exact.settings import own_settings
from mcbits.models.base import Model, find_model


def dump_tensors(tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    """Return the bytes of a safetensors file of `tensors` (any device), `meta` (JSON only) and their checksum.

    Equal inputs give equal bytes.
    """
    # Copies, since safetensors refuses weights that two modules share.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # Only one key, because safetensors writes several keys in no fixed order.
    return save(tensors, metadata={"mcbits": json.dumps({**meta, "sha256": _checksum(tensors, meta)}, sort_keys=True)})


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, on the CPU, and the meta that `dump_tensors` wrote.

    Raises ModelError if the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["mcbits"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it iterates no other way
        # The first builds of 0.1.0 wrote files without a checksum.
        if "sha256" in meta and meta.pop("sha256") != _checksum(tensors, meta):
            raise ValueError("the checksum does not match")
        return tensors, meta
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; train a model first (mcbits train)") from None
    except Exception as error:  # the errors of safetensors and json on damaged bytes have no documented base class
        raise ModelError(f"{path} is damaged or was not written by mcbits train") from error


def _checksum(tensors: dict[str, Tensor], meta: dict[str, Any]) -> str:
    return sha256(save(tensors, metadata={"mcbits": json.dumps(meta, sort_keys=True)})).hexdigest()


def dump_float(model: Model) -> bytes:
    """Return the bytes of a run directory's `model.safetensors`."""
    return dump_tensors(model.state_dict(), {"model": model.name, "config": model.get_config()})


@own_settings()
def load_float(path: str | Path) -> Model:
    """Return the model (torch) of a run directory or of a published checkpoint, on the CPU, in eval mode.

    path: the directory, or the `train_config.yml` in it. The weights (`model.safetensors`, else `model.pt`) must be
    beside the yml; a path to weights inside the yml is ignored. Only tensors are unpickled.
    Raises ModelError if the directory or the weights are missing, damaged or do not fit the model, UnknownNameError
    if the model is not registered.
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
        cls = find_model(meta["model"])
        model: Model = cls(**{**meta["config"], "shape": tuple(meta["config"]["shape"])})
        model.load_state_dict(_unwrapped(tensors))
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
        name = str(load_yaml(config.read_text())["model"])
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{config} names no model; it needs a line such as model: BinaryVAE") from error
    try:
        state_dict = torch.load(weights, weights_only=True, map_location="cpu")
    except Exception as error:  # torch.load does not document which exceptions damaged bytes raise
        raise ModelError(f"{weights} is damaged or is no checkpoint of tensors") from error
    if not isinstance(state_dict, dict) or not all(isinstance(v, Tensor) for v in state_dict.values()):
        raise ModelError(f"{weights} is no checkpoint of tensors (a state dict)")
    model: Model = find_model(name).from_published(_unwrapped(state_dict))
    return model


def _unwrapped(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of the model itself, where DataParallel or torch.compile had wrapped it."""
    while state_dict and all(name.startswith(("module.", "_orig_mod.")) for name in state_dict):
        state_dict = {name.partition(".")[2]: tensor for name, tensor in state_dict.items()}
    return {name.replace("._orig_mod.", "."): tensor for name, tensor in state_dict.items()}  # a part was compiled
