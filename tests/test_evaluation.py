"""Ideal rates equal the references, are repeatable, and are refused for images a model does not describe."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import binary_vae

from mcbits.bounds.base import find_bound
from mcbits.errors import DataError, UnknownNameError
from mcbits.models.binary_vae import BinaryVAE
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import registry
from mcbits.training import evaluation
from mcbits.training.checkpoint import load_float
from mcbits.training.evaluation import choose_device, evaluate

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def model() -> BinaryVAE:
    return binary_vae((3, 4), latent_dim=5, hidden=7)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (10, 3, 4), dtype=np.uint8)


class Listener:
    def __init__(self) -> None:
        self.calls: list[tuple] = []

    @hookimpl
    def mcbits_started(self, job: str, total: int) -> None:
        self.calls.append(("started", job, total))

    @hookimpl
    def mcbits_advanced(self, job: str, done: int, metrics: dict[str, float]) -> None:
        self.calls.append(("advanced", job, done, metrics["ideal"]))

    @hookimpl
    def mcbits_finished(self, job: str, metrics: dict[str, float]) -> None:
        self.calls.append(("finished", job, metrics["ideal"]))

    @hookimpl
    def mcbits_notice(self, message: str) -> None:
        self.calls.append(("notice", message))


@pytest.mark.parametrize(
    ("bound", "particles", "rate"), [("elbo", 1, 0.2348), ("iwae", 5, 0.2299), ("iwae", 50, 0.2260)]
)
def test_published_checkpoints_have_their_reference_rates(bound: str, particles: int, rate: float) -> None:
    checkpoint = SHARED / "checkpoints" / f"train_bin_emnist_split=mnist_num={particles}"
    digits = SHARED / "data" / "emnist" / "eval500.npy"
    if not checkpoint.exists() or not digits.exists():
        pytest.skip("needs the published checkpoints and eval500.npy in ../shared")
    result = evaluate(load_float(checkpoint), np.load(digits), bound, particles)
    assert abs(result["ideal"] - rate) < 0.0006  # Monte Carlo noise of both sides


def test_rate_is_minus_the_bound_in_bits_per_dim(model: BinaryVAE, images: np.ndarray) -> None:
    model.eval()
    result = evaluate(model, images, "iwae", 3, seed=7)
    torch.manual_seed(7)
    nats = find_bound("iwae")()(model, torch.tensor(images).float(), 3).detach().numpy()
    expected = -nats / math.log(2) / 12
    np.testing.assert_allclose(result["per_image"], expected, rtol=1e-5)
    assert result["ideal"] == pytest.approx(expected.mean())
    assert result["standard_error"] == pytest.approx(expected.std(ddof=1) / 10**0.5)
    assert (result["bound"], result["num_particles"], result["num_images"]) == ("iwae", 3, 10)


def test_one_seed_gives_one_result_and_leaves_the_random_state_alone(model: BinaryVAE, images: np.ndarray) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (evaluate(model, images, "ciwae", 4, seed=seed)["per_image"] for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_decoder_rows_per_call_are_bounded(
    model: BinaryVAE, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "MAX_ROWS", 20)
    rows = []
    model.decoder.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    evaluate(model, images, "iwae", 6)
    assert rows == [18, 18, 18, 6]


def test_listeners_hear_of_every_batch(model: BinaryVAE, images: np.ndarray) -> None:
    listener = Listener()
    with registry().listening(listener):
        rate = evaluate(model, images, "elbo", batch_size=4)["ideal"]
    assert listener.calls[0] == ("started", "evaluate", 10)
    assert [call[2] for call in listener.calls[1:-1]] == [4, 8, 10]
    assert listener.calls[-2][3] == rate
    assert listener.calls[-1] == ("finished", "evaluate", rate)


@pytest.mark.parametrize(
    "unsuitable",
    [
        np.zeros((10, 4, 3), np.uint8),
        np.zeros((0, 3, 4), np.uint8),
        np.full((10, 3, 4), 2, np.uint8),
        np.full((10, 3, 4), -1, np.int8),
        np.zeros((10, 3, 4), np.float32),
    ],
)
def test_images_the_model_does_not_describe_are_refused(model: BinaryVAE, unsuitable: np.ndarray) -> None:
    with pytest.raises(DataError):
        evaluate(model, unsuitable)


def test_unknown_bound_is_named(model: BinaryVAE, images: np.ndarray) -> None:
    with pytest.raises(UnknownNameError, match="iwae"):
        evaluate(model, images, "iwea")


def test_missing_gpu_means_the_cpu_and_is_said() -> None:
    listener = Listener()
    with registry().listening(listener):
        assert choose_device(-1) == torch.device("cpu")
        assert listener.calls == []
        assert choose_device(torch.cuda.device_count()) == torch.device("cpu")
    assert len(listener.calls) == 1 and "CPU" in listener.calls[0][1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_and_cpu_agree_on_the_rate(model: BinaryVAE, images: np.ndarray) -> None:
    cpu = evaluate(model, images, "iwae", 2000)["ideal"]
    gpu = evaluate(model, images, "iwae", 2000, device="cuda:0")["ideal"]
    assert abs(cpu - gpu) < 0.01
