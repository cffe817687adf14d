"""What a pixel model learns is what it codes: the float network's rate is that of the frozen one, sample by sample."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import smooth_pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mcbits
from mcbits.config import TrainConfig
from mcbits.errors import DataError, UsageError
from mcbits.latents.options import Precisions
from mcbits.models.base import Model
from mcbits.models.pixels import PixelModel, PixelVAE
from mcbits.testing import check_coder
from mcbits.training.checkpoint import dump_float, load_float
from mcbits.training.evaluation import evaluate
from mcbits.training.loop import learning_rate, train

KINDS: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((9, 7), 256, {}),
    ((6, 5, 2), 256, {"R": 2}),
    ((5, 8, 3), 256, {"M": 2, "depth": 1}),
    ((4, 6, 4), 256, {"R": 4, "M": 1}),
    ((8, 9), 1 << 16, {}),
    ((8, 9), 2000, {"depth": 3}),
    ((9, 7), 2, {}),
    ((9, 7), 2, {"pixels": "categorical"}),
    ((7, 6), 5, {"pixels": "categorical"}),
    ((5, 6, 3), 256, {"pixels": "categorical"}),
]


def pictures(shape: tuple[int, ...], symbols: int, n: int = 12) -> np.ndarray:
    x = smooth_pictures((n, *shape), symbols)
    return x if symbols > 256 else x.astype(np.uint8)


def ready(cls: type[Model], shape: tuple[int, ...], symbols: int, options: dict[str, Any]) -> tuple[Any, np.ndarray]:
    """A model that has seen pictures but is as good as untrained, in eval mode, and these pictures."""
    torch.manual_seed(1)
    model, x = cls(shape=shape, symbols=symbols, width=16, **options), pictures(shape, symbols)
    seen = x if model.any_size else torch.tensor(x.astype(np.int32)).flatten(1)
    model.initialise_from_data(seen, 1)
    with torch.no_grad():
        for last in (model.head.last, model.head.last_bias):
            last += 0.1 * torch.randn(last.shape)
    model.eval()
    evaluate(model, x)  # so that the head has seen how large its hidden values get
    return model, x


@pytest.mark.parametrize("shape, symbols, options", KINDS)
def test_a_frozen_pixel_model_codes_at_its_float_rate(
    shape: tuple[int, ...], symbols: int, options: dict[str, Any]
) -> None:
    model, x = ready(PixelModel, shape, symbols, options)
    frozen = model.freeze()
    blob = mcbits.compress(x, frozen, "simple")
    np.testing.assert_array_equal(mcbits.decompress(blob, frozen), x)
    latent = frozen.of_shape(shape).latent_model(Precisions())
    exact = latent.likelihood(latent.prior(len(x)).pop(None)).total_codelength(x.reshape(len(x), -1)) / 65536
    np.testing.assert_allclose(exact / x[0].size, evaluate(model, x)["per_image"], atol=0.04)
    assert abs(exact.sum() / x.size - evaluate(model, x)["ideal"]) < 0.015


SIZES = st.integers(-6, 6)


@given(SIZES, SIZES, st.integers(-8, 8), st.integers(0, 3), st.sampled_from([2, 256, 1 << 16]))
@settings(max_examples=40, deadline=None)
def test_heads_of_any_weights_are_chains_of_16_bit_products(
    weights: int, biases: int, reach: int, seed: int, symbols: int
) -> None:
    torch.manual_seed(seed)
    head = PixelModel(shape=(4, 4, 3), symbols=symbols, width=8).head
    with torch.no_grad():
        for layer in (*head.weights, head.last):
            layer.mul_(2.0**weights)
        for bias in (*head.biases, head.last_bias):
            bias.add_(torch.randn(bias.shape) * 2.0**biases)
        head.reach.copy_(torch.rand(head.reach.shape) * 2.0**reach)
    for network in head.freeze().values():
        network.dense()  # or it raises


@pytest.mark.parametrize(
    "shape, symbols, options", [KINDS[0], ((5, 9, 3), 256, {}), KINDS[6], KINDS[8], ((3, 4), 9, {})]
)
def test_every_coder_codes_a_pixel_vae_exactly(shape: tuple[int, ...], symbols: int, options: dict[str, Any]) -> None:
    model, x = ready(PixelVAE, shape, symbols, {**options, "latent_dim": 3, "channels": 2})
    frozen = model.freeze()
    for coder, chosen in (("bb-elbo", {}), ("bb-is", {"num_particles": 4}), ("bb-cis", {"num_particles": 4})):
        blob = mcbits.compress(x, frozen, coder, lanes=2, **chosen)
        np.testing.assert_array_equal(mcbits.decompress(blob, frozen), x)
        latent = frozen.latent_model(Precisions())
        check_coder(mcbits.coders.base.find_coder(coder)(**chosen), latent, x.reshape(len(x), -1).astype(np.int32), 2)


@pytest.mark.parametrize("symbols", [2, 5, 256])
def test_a_pixel_vaes_likelihood_is_that_of_its_float_network(symbols: int) -> None:
    model, x = ready(PixelVAE, (9, 10), symbols, {"latent_dim": 3, "channels": 2})
    frozen = model.freeze()
    latent = frozen.latent_model(Precisions())
    z = np.random.default_rng(2).integers(0, 256, (len(x), 2, 3)).astype(np.int32)
    exact = latent.likelihood(z).total_codelength(x.reshape(len(x), -1)) / 65536
    with torch.no_grad():
        floats = torch.tensor(latent._centres[z] / 256, dtype=torch.float32)
        given = model.log_joint(torch.tensor(x.astype(np.int32)).flatten(1).float(), floats)
        prior = -0.5 * (floats.square().sum(-1) + 3 * np.log(2 * np.pi))
    np.testing.assert_allclose(exact, (prior - given).numpy() / np.log(2), atol=0.02 * x[0].size)
    assert len(set(exact[0].tolist())) == 2  # the latents matter


@pytest.mark.parametrize("cls", [PixelModel, PixelVAE])
def test_a_saved_model_freezes_to_the_same_bytes(cls: type[Model], tmp_path: Path) -> None:
    model, _ = ready(cls, (9, 7), 4000, {"M": 2})
    (tmp_path / "model.safetensors").write_bytes(dump_float(model))
    (tmp_path / "train_config.yml").write_text("")
    assert load_float(tmp_path).freeze().model_id == model.freeze().model_id


def job(logdir: Path, **changes: Any) -> TrainConfig:
    options = {"model": "PixelModel", "dataset": "digits", "gpu": -1, "epochs": 2, "width": 8, "R": 2}
    return TrainConfig.load(None, {"logdir": str(logdir), "exp_name": "run", **options, **changes})


@pytest.mark.parametrize("changes", [{}, {"binarize": True}, {"model": "PixelVAE", "latent_dim": 2, "batch_size": 100}])
def test_a_resumed_training_of_pixels_ends_in_the_same_bits(changes: dict[str, Any], tmp_path: Path) -> None:
    whole = train(job(tmp_path / "whole", **changes, epochs=2))
    options = {**changes, "scheduler": "constant", "kl_warmup": 0}  # else an epoch depends on how many there will be
    first = train(job(tmp_path / "a", **options, epochs=1))
    assert len((first / "metrics.jsonl").read_text().splitlines()) == 1
    resumed, straight = train(job(tmp_path / "a", **options)), train(job(tmp_path / "b", **options))
    for name in ("codec.safetensors", "model.safetensors", "metrics.jsonl"):
        assert (resumed / name).read_bytes() == (straight / name).read_bytes()
    rates = [json.loads(line)["test"] for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert rates[1] < rates[0]


@pytest.mark.parametrize("binarize", [False, True])
def test_pictures_of_several_sizes_train_one_model(binarize: bool, tmp_path: Path) -> None:
    for i, (h, w) in enumerate([(20, 31), (9, 50), (1, 1), (40, 3)]):
        Image.fromarray(pictures((h, w), 256, 1)[0]).save(tmp_path / f"{i}.png")
    run = train(job(tmp_path / "runs", dataset=f"{tmp_path}/", held_out=0, epochs=1, binarize=binarize))
    x = pictures((33, 2), 256, 3) // (128 if binarize else 1)
    frozen = mcbits.load_model(run)
    np.testing.assert_array_equal(mcbits.decompress(mcbits.compress(x, frozen, "simple"), frozen), x)


def test_the_options_of_a_model_are_keys_of_its_training_alone(tmp_path: Path) -> None:
    config = job(tmp_path, M=3)
    assert config.model_options == {"width": 8, "R": 2, "M": 3}
    assert config.batch_size == 2048 and not config.binarize  # the model's own defaults
    (tmp_path / "c.yml").write_text(config.to_yaml())
    assert TrainConfig.load(tmp_path / "c.yml") == config
    assert TrainConfig.load(tmp_path / "c.yml", {"batch-size": "7"}).batch_size == 7
    with pytest.raises(UsageError, match=r"no option 'widht' \(on the command line\): did you mean width\?"):
        TrainConfig.load(None, {"model": "PixelModel", "widht": 8})
    with pytest.raises(UsageError, match="no option 'width'"):
        TrainConfig.load(None, {"model": "BinaryVAE", "width": 8})
    with pytest.raises(UsageError, match="width must be between 1 and 512, not 0"):
        TrainConfig.load(None, {"model": "PixelModel", "width": "0"})


def test_the_cosine_falls_from_lr_to_a_thousandth_of_it(tmp_path: Path) -> None:
    config = job(tmp_path, lr=1.0, epochs=4)
    rates = [learning_rate(config, epoch, part) for epoch in range(1, 5) for part in (0, 0.5)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1.0 and learning_rate(config, 4, 1.0) == pytest.approx(0.001)
    assert learning_rate(config, 3) == pytest.approx(0.5005)


def test_what_cannot_be_coded_as_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it needs 17 symbols"):
        train(job(tmp_path, symbols=10))
    with pytest.raises(UsageError, match="bernoulli is for two symbols, not 17"):
        train(job(tmp_path, pixels="bernoulli"))
    with pytest.raises(UsageError, match="symbols must be at most 256|between 2 and 256"):
        PixelModel(shape=(4, 4), symbols=300, pixels="categorical")
    with pytest.raises(UsageError, match=r"\(h, w\) or \(h, w, channels\)"):
        PixelVAE(shape=(5,))
    with pytest.raises(DataError, match="one number of channels"):
        PixelModel(shape=(0, 0)).training_set(
            [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 3), np.uint8)], None, torch.device("cpu")
        )
