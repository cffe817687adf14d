"""Rounding weights to what pays makes a model lighter, hardly worse, and no slower."""

from typing import Any

import numpy as np
import pytest
import torch
from builders import smooth_pictures

import mcbits
from mcbits.errors import ModelError, UsageError
from mcbits.exact.fixed import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.exact.rounding import Sensitivity, rounded, run_float, sensitivities
from mcbits.models.binary_vae import BinaryVAE
from mcbits.models.conv_vae import ConvVAE
from mcbits.models.pixels import PixelModel, PixelVAE
from mcbits.training.fewer_bits import fewer_bits


def pixel_model(pictures: np.ndarray, **options: Any) -> PixelModel:
    torch.manual_seed(0)
    model = PixelModel(shape=pictures.shape[1:], R=2, M=2, width=8, **options)
    model.initialise_from_data(pictures, 1)
    data = model.training_set(pictures, None, torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(15):
        for batch in data.batches(256):
            optimizer.zero_grad()
            model.loss(batch, None, 1).backward()
            optimizer.step()
    model.test_rate(data)
    return model


@pytest.mark.parametrize(
    "pictures, options",
    [
        (smooth_pictures((3, 24, 24)).astype(np.uint8), {}),
        (smooth_pictures((2, 16, 16, 3)).astype(np.uint8), {"symbols": 256}),
        ((smooth_pictures((4, 24, 24)) > 128).astype(np.uint8), {"symbols": 2}),
        ((smooth_pictures((3, 24, 24)) // 50).astype(np.uint8), {"symbols": 6, "pixels": "categorical"}),
    ],
)
def test_a_pixel_model_of_fewer_bits_weighs_less_than_it_loses(pictures: np.ndarray, options: dict[str, Any]) -> None:
    model = pixel_model(pictures, **options)
    frozen = model.freeze()
    few, more = (fewer_bits(model, pictures, count) for count in (None, 1000 * len(pictures)))
    assert model.freeze().data == frozen.data
    assert len(few.data) < len(more.data) < 0.9 * len(frozen.packed().data)
    sizes = [len(mcbits.compress(pictures, each, "simple", verify=False)) for each in (frozen, more, few)]
    assert sizes[1] <= 1.002 * sizes[0] + 4
    assert sizes[2] + len(few.data) < sizes[0] + len(frozen.packed().data)
    blob = mcbits.compress(pictures, few, "simple", embed_model=True)
    np.testing.assert_array_equal(mcbits.decompress(blob), pictures)


def test_a_vae_of_fewer_bits_still_codes_and_rounding_is_reproducible() -> None:
    torch.manual_seed(0)
    model, x = (
        BinaryVAE((6, 6), latent_dim=4, hidden=20),
        np.random.default_rng(0).integers(0, 2, (200, 6, 6), np.uint8),
    )
    few = fewer_bits(model, x, 1e5)
    assert len(few.data) < 0.8 * len(model.freeze().packed().data) and few.data == fewer_bits(model, x, 1e5).data
    rates = [len(mcbits.compress(x, each, "bb-elbo", seed=0)) for each in (few, model.freeze())]
    assert rates[0] < 1.02 * rates[1]


def test_rounding_makes_no_layer_wider_and_leaves_unfelt_weights_at_zero() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3))
    network = freeze(net, [FixedPoint(shape=(6,), frac=0, bound=3)], [8])
    x = np.random.default_rng(0).integers(0, 4, (500, 6))
    values = run_float(network, x)
    assert np.abs(values[-1] * 2.0 ** (8 - network.values[-1].frac) - network.run(x)[0]).max() < 2
    felt = sensitivities(network, values, [np.ones((500, 3)) * [1, 1, 0]])
    assert felt.keys() == {0, 2} and isinstance(felt[0], Sensitivity)
    few = {count: rounded(network, felt, count) for count in (1, 1e3, 1e18)}
    for each in few.values():
        assert [value.dtype for value in each.values] == [value.dtype for value in network.values]
        each.dense()
    assert not few[1e3].tensors["2.weight"][:, 2].any() and few[1e3].tensors["2.weight"][:, :2].any()
    for key in ("0.weight", "0.bias"):
        np.testing.assert_array_equal(few[1e18].tensors[key], network.tensors[key])


def test_models_that_cannot_have_fewer_bits_are_said() -> None:
    with pytest.raises(UsageError, match="PixelVAE"):
        fewer_bits(PixelVAE(shape=(5, 6), latent_dim=2), np.zeros((2, 5, 6), np.uint8))
    with pytest.raises(ModelError, match="linear ones between curves can"):
        fewer_bits(ConvVAE(shape=(8, 8), latent_dim=2), np.zeros((2, 8, 8), np.uint8))
