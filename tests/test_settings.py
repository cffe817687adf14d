"""What the program around mcbits has set in torch changes no bit and no figure, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import binary_images

import mcbits
from mcbits.config import TrainConfig
from mcbits.exact.backends import backend, self_test
from mcbits.training.checkpoint import load_float
from mcbits.training.evaluation import evaluate
from mcbits.training.loop import train

PRECISIONS = (torch.backends, torch.backends.cuda.matmul, torch.backends.mkldnn, torch.backends.mkldnn.matmul)


def found() -> list[Any]:
    """All settings that a user could miss afterwards. The old way to ask for the precision may raise an error."""
    try:
        legacy = torch.get_float32_matmul_precision()
    except RuntimeError:
        legacy = "mixed"
    state = [torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(), torch.get_num_threads()]
    return [*state, torch.is_autocast_enabled("cpu"), legacy, *(each.fp32_precision for each in PRECISIONS)]


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


@contextmanager
def precision(place: Any, value: str) -> Iterator[None]:
    before = place.fp32_precision
    place.fp32_precision = value
    yield
    place.fp32_precision = before


@contextmanager
def old_precision(value: str) -> Iterator[None]:
    with precision(PRECISIONS[1], "none"), precision(PRECISIONS[3], "none"):
        torch.set_float32_matmul_precision(value)
        yield
        torch.set_float32_matmul_precision("highest")


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference": torch.inference_mode,
    "old TF32": lambda: old_precision("high"),
    "old bfloat16": lambda: old_precision("medium"),
    "TF32 of all": lambda: precision(PRECISIONS[0], "tf32"),
    "TF32 of CUDA": lambda: precision(PRECISIONS[1], "tf32"),
    "bfloat16 of CPUs": lambda: precision(PRECISIONS[2], "bf16"),
    "bfloat16 of products": lambda: precision(PRECISIONS[3], "bf16"),
}


@pytest.fixture(params=SETTINGS)
def setting(request: pytest.FixtureRequest) -> Callable[[], AbstractContextManager[Any]]:
    return SETTINGS[request.param]


def options(logdir: Path, **changes: Any) -> TrainConfig:
    given = {"dataset": "digits", "gpu": -1, "epochs": 1, "batch_size": 100, "latent_dim": 4, "logdir": logdir}
    return TrainConfig(**given | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained in peace; tests only read it."""
    return train(options(tmp_path_factory.mktemp("runs")))


@pytest.mark.filterwarnings("ignore:.*TF32:UserWarning")
def test_products_are_exact_and_the_settings_stay(setting, run: Path) -> None:
    images, engine = binary_images(9, (8, 8)), backend("torch:cpu")
    blob = mcbits.compress(images, run)
    with setting():
        before = found()
        for dtype in ("float32", "float64"):
            self_test.__wrapped__(engine, dtype)
        assert mcbits.compress(images, run, backend="torch:cpu") == blob
        assert found() == before


@pytest.mark.filterwarnings("ignore:.*TF32:UserWarning")
def test_a_training_ends_in_the_same_bits_and_the_settings_stay(setting, run: Path, tmp_path: Path) -> None:
    images = binary_images(9, (8, 8))
    ideal = evaluate(load_float(run), images)["ideal"]
    with setting():
        before = found()
        trained = train(options(tmp_path))
        assert (trained / "codec.safetensors").read_bytes() == (run / "codec.safetensors").read_bytes()
        assert load_float(run).freeze().model_id == mcbits.load_model(run).model_id
        assert evaluate(load_float(run), images)["ideal"] == ideal
        assert found() == before


def test_a_model_of_pictures_is_fitted_and_frozen_under_any_setting(setting) -> None:
    pictures = np.full((4, 8, 8), 3, np.uint8)
    with setting():
        before = found()
        assert mcbits.decompress(mcbits.compress(pictures, mcbits.fit(pictures, seconds=0.05), embed_model=True)).any()
        assert found() == before
