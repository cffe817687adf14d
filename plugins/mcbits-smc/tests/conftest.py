"""A VRNN small enough to make on the spot, and sequences of different lengths for it."""

import numpy as np
import pytest
import torch
from mcbits_smc.vrnn import VRNN

from mcbits.latents.sequences import pad

SHAPE = (9, 6)


@pytest.fixture(scope="session")
def vrnn() -> VRNN:
    torch.manual_seed(0)
    model = VRNN(SHAPE, latent_dim=3, hidden=8).eval()
    with torch.no_grad():
        model.proposal.mean.weight.mul_(3)  # so that particles differ
        model.decoder.from_z.weight.mul_(3)
    return model


@pytest.fixture(scope="session")
def sequences() -> np.ndarray:
    rng = np.random.default_rng(0)
    return pad([rng.integers(0, 2, (T, SHAPE[1]), np.uint8) for T in (9, 1, 4, 12, 7, 2, 9, 5)], SHAPE[0])
