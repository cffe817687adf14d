"""best-of undoes itself on every model, and costs what its bound and its exact rate say."""

import numpy as np
import pytest
import torch

import mcbits
from mcbits.bounds.base import find_bound
from mcbits.coders.base import find_coder
from mcbits.models.binary_vae import BinaryVAE
from mcbits.studies.toy import Truth, hmm, measure, mixture
from mcbits.testing import check_coder

BestOfCoder = find_coder("best-of")


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("model", [mixture(), hmm()], ids=["mixture", "hmm"])
def test_what_best_of_encodes_it_decodes(model, lanes):
    check_coder(BestOfCoder(4), model, model.sample(120, seed=1), lanes)


@pytest.mark.parametrize("num_particles", [1, 8])
def test_its_rate_is_the_expected_one(num_particles):
    model = mixture()
    measured = measure(BestOfCoder(num_particles), Truth(model, model.sample(2000, seed=1)), lanes=100)
    assert measured.ideal_error == 0
    assert abs(measured.net - measured.ideal) < 4 * measured.standard_error


def test_more_particles_never_lower_the_bound(vae):
    bound = find_bound(BestOfCoder.bound)()
    x = torch.zeros(5, 64)
    few, many = (bound(vae, x, n).mean().item() for n in (1, 200))
    assert few < many


def test_a_file_gives_its_images_back(vae):
    model, images = vae.freeze(), np.random.default_rng(0).integers(0, 2, (10, 8, 8), np.uint8)
    blob = mcbits.compress(images, model, coder="best-of", num_particles=4)
    assert np.array_equal(mcbits.decompress(blob, model), images)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return BinaryVAE(shape=(8, 8), latent_dim=4).eval()
