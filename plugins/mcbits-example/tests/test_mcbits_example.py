"""Run where mcbits and mcbits-example are installed: python -m pytest plugins/mcbits-example"""

import numpy as np
import pytest
import torch

import mcbits
from mcbits.exact.vae import freeze_vae
from mcbits.models.binary_vae import BinaryVAE
from mcbits.plugins import registry


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return BinaryVAE(shape=(8, 8), latent_dim=4).eval()


@pytest.mark.parametrize("lanes", [1, 3])
def test_what_best_of_encodes_it_decodes(vae, lanes):
    model = freeze_vae(vae)
    images = np.random.default_rng(0).integers(0, 2, (10, 8, 8), np.uint8)
    blob = mcbits.compress(images, model, coder="best-of", lanes=lanes, num_particles=4)
    assert np.array_equal(mcbits.decompress(blob, model), images)


def test_more_particles_never_lower_the_bound(vae):
    bound = registry().bound("best-joint")()
    x = torch.zeros(5, 64)
    few, many = (bound(vae, x, n).mean().item() for n in (1, 200))
    assert few < many
