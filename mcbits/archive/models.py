"""A file names its model by id: a frozen model that has coded something stays where that id finds it."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from mcbits.archive.format import MAGIC, open_file, read_header, version_of
from mcbits.archive.index import ID_BYTES, START, read_index
from mcbits.errors import FormatError, ModelError, lacking
from mcbits.exact.model_io import ModelFile
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.plugins import Lazy

CODEC = "codec.safetensors"
"""The newest frozen model of a run directory."""

Model = FrozenModel | str | Path
"""A frozen model, or a path that `load_model` takes."""


def load_model(path: str | Path, backend: str = "numpy") -> FrozenModel:
    """Return the model of a run directory, its train_config.yml, a frozen model file, or a published checkpoint.

    `backend` computes its products: "numpy", "torch" or "torch:DEVICE", the same bits. A model that is not frozen yet
    is frozen on the way in, which needs torch. Raises ModelError, FreezeError, PlatformError, and UsageError for a
    backend.

    >>> model = load_model("tests/golden/model.safetensors")
    >>> model.shape, model.num_symbols, model.latent_dim
    ((8, 8), 2, 6)
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path} does not exist: give a run directory, its train_config.yml, or a frozen model file")
    if _is_archive(path):
        models = models_of(path, backend)
        if len(models) != 1:
            raise ModelError(f"{path} holds {len(models)} models, expected one")
        return models[0]
    if path.is_file() and path.name != "train_config.yml":
        return load_frozen(path, backend)
    directory = path if path.is_dir() else path.parent
    if (directory / CODEC).is_file():
        return load_frozen(directory / CODEC, backend)
    try:
        # By name, as plugins are found: freezing needs torch, which nothing here may import.
        load_float = Lazy("mcbits.training.checkpoint:load_float").load()
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModelError(f"{path} is not frozen yet, and to freeze it needs {lacking('torch')}") from None
    model: FrozenModel = load_float(path).freeze(backend)
    return model


def models_of(path: str | Path, backend: str = "numpy") -> list[FrozenModel]:
    """Return the models that a .mcb file holds; of any other path the one model. Raises as `load_model`."""
    path = Path(path)
    if not _is_archive(path):
        return [load_model(path, backend)]
    with open_file(path) as file:
        if version_of(file) == 1:
            header = read_header(file)
            return [load_frozen(header.model, backend)] if header.model else []
        index, found = read_index(file), []
        file.seek(len(START) + sum(block.length for block in index.blocks))
        for row in index.models:
            data = file.read(row.length)
            if row.length and sha256(data).digest()[:ID_BYTES] != row.id:
                raise FormatError(f"a model in {path} is damaged")
            if row.length:
                found.append(load_frozen(data, backend))
        return found


def _is_archive(path: Path) -> bool:
    if not path.is_file():
        return False
    with open_file(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a model that `load_model` takes says about itself: id, class, what it codes, and its bytes.

    In "shape", 0 stands for a size that is free. Raises what `load_model` raises.
    """
    model = load_model(path)
    return {
        "class": model.name,
        "observation": model.observation.name,
        "options": model.observation.get_config(),
        "num_symbols": model.num_symbols,
        "shape": list(model.shape),
        "latent_dim": model.latent_dim,
        "model_id": model.model_id,
        "model_bytes": len(model.data),
    }


def loaded(model: Model, backend: str | None = None) -> FrozenModel:
    """Return a frozen model, computed by `backend`, or where that is None as it is."""
    if not isinstance(model, FrozenModel):
        return load_model(model, backend or "numpy")
    return model if backend in (None, model.backend) else load_frozen(model.data, backend)


def model_of_id(model_id: str, where: Model, backend: str | None = None) -> FrozenModel:
    """Return the model whose SHA-256 begins with `model_id`: `where`, or a frozen model file in or below that folder.

    Raises ModelError, which says both ids, if there is none.
    """
    if not isinstance(where, FrozenModel) and Path(where).is_dir():
        # The newest first, which it mostly is: the weights and states beside it are large.
        for file in sorted(Path(where).rglob("*.safetensors"), key=lambda file: (file.name != CODEC, file)):
            try:
                found = ModelFile.read(file)
            except ModelError:  # weights and states of a training have the same ending
                continue
            if found.model_id.startswith(model_id):
                return load_frozen(file, backend or "numpy")
        for file in sorted(Path(where).rglob("*.mcb")):
            with suppress(FormatError, ModelError):
                if found_in := _of_id(models_of(file, backend or "numpy"), model_id):
                    return found_in
    elif not isinstance(where, FrozenModel) and _is_archive(Path(where)):
        models = models_of(where, backend or "numpy")
        if found_in := _of_id(models, model_id):
            return found_in
        raise ModelError(f"the file needs model {model_id[:16]}..., and {where} does not hold it: give one that does")
    model = loaded(where, backend)
    if not model.model_id.startswith(model_id):
        place = "" if isinstance(where, FrozenModel) else f" {where}"
        raise ModelError(
            f"the file was made with model {model_id[:16]}..., and the model given{place} is {model.model_id[:16]}...: "
            "give that one, or a folder that holds it"
        )
    return model


def _of_id(models: list[FrozenModel], model_id: str) -> FrozenModel | None:
    return next((model for model in models if model.model_id.startswith(model_id)), None)


def model_file(path: str | Path, frozen: FrozenModel) -> Path:
    """Return what must be kept of `path` to decode what `frozen`, which was loaded from it, has coded.

    The model of a run that trains on would be gone with its next epoch, so it is written beside it under its id.
    """
    path = Path(path)
    if path.is_file() and path.name != "train_config.yml":
        return path
    directory = path if path.is_dir() else path.parent
    if (directory / CODEC).is_file():
        return directory / CODEC
    if not (directory / "model.safetensors").is_file():
        return directory  # a published checkpoint, which stays as it is
    named = kept_as(directory, frozen.model_id)
    if not named.exists():
        frozen.save(named)
    return named


def keep(directory: Path) -> None:
    """Give the newest frozen model of a run the name of its id, under which it stays, and remove it as the newest."""
    if (directory / CODEC).is_file():
        named = kept_as(directory, load_id(directory / CODEC))
        (directory / CODEC).rename(named)


def kept_as(directory: Path, model_id: str) -> Path:
    """Return where a run directory keeps the frozen model of an id."""
    return directory / f"codec-{model_id[:16]}.safetensors"


def load_id(path: Path) -> str:
    """Return the id of a frozen model file; ModelError if it is none."""
    return ModelFile.read(path).model_id
