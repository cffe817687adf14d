"""A network of convolutions codes like any other: exactly, in any batch, at the rate of its float weights."""

import numpy as np
import pytest
import torch
from builders import binary_images

import mcbits
from mcbits.distributions.gaussian import LOG_SCALE_FRAC, MEAN_FRAC
from mcbits.errors import UsageError
from mcbits.latents.options import Precisions
from mcbits.models.conv_vae import ConvVAE


def model():
    torch.manual_seed(0)
    return ConvVAE(shape=(8, 12), latent_dim=3, channels=4).eval()


def images(n):
    return binary_images(n, (8, 12), seed=1)


@pytest.mark.parametrize("coder, options", [("bb-elbo", {}), ("bb-is", {"num_particles": 5})])
def test_decompress_inverts_compress_in_any_batch(coder, options):
    vae, x = model().freeze(), images(20)
    blob = mcbits.compress(x, vae, coder, lanes=4, **options)
    assert np.array_equal(mcbits.decompress(blob, vae), x)


def test_frozen_and_float_parameters_agree():
    vae, float_model, x = model().freeze(), model(), images(50).reshape(50, -1)
    latent = vae.latent_model(Precisions())
    with torch.no_grad():
        mean, log_scale = float_model.encoder(torch.tensor(x).float())
        z = np.random.default_rng(2).integers(0, 256, (50, 3))
        logits = float_model.decoder(torch.tensor(latent._centres[z] / 256))
    q = latent.posterior(x)
    assert np.allclose(q._parameters[0] * 2.0**-MEAN_FRAC, mean.numpy(), atol=0.02)
    assert np.allclose(q._parameters[1] * 2.0**-LOG_SCALE_FRAC, log_scale.numpy(), atol=0.02)
    assert np.allclose(latent.likelihood(z).logits.reshape(50, -1) / 256, logits.numpy(), atol=0.05)


def test_sides_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(UsageError, match="BinaryVAE"):
        ConvVAE(shape=(10, 12))
