"""What many tests begin with: a VAE small enough to make on the spot, and images for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # tests without a network need no torch
    from mcbits.models.binary_vae import BinaryVAE

SHAPE = (5, 6)


def binary_vae(shape: tuple[int, ...] = SHAPE, *, hidden: int = 16, latent_dim: int = 4, seed: int = 0) -> BinaryVAE:
    """An untrained model, a function of the arguments."""
    import torch

    from mcbits.models.binary_vae import BinaryVAE

    torch.manual_seed(seed)
    return BinaryVAE(shape=shape, hidden=hidden, latent_dim=latent_dim).eval()


def binary_images(n: int, shape: tuple[int, ...] = SHAPE, seed: int = 0) -> NDArray[np.uint8]:
    """Images (n, *shape) of independent pixels, of which 30 % are 1; the first of more are the same."""
    return (np.random.default_rng(seed).random((n, *shape)) < 0.3).astype(np.uint8)
