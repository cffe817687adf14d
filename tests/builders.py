"""What many tests begin with: a VAE small enough to make on the spot, and images for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcbits.plugins.hooks import hookimpl

if TYPE_CHECKING:  # tests without a network need no torch
    from mcbits.exact.network import FrozenNetwork
    from mcbits.latents.pixels import FrozenPixels
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


def pixel_heads(channels: int, radius: int, *, M: int = 3, features: int = 0, seed: int = 0) -> list[FrozenNetwork]:
    """Networks as a pixel model has, one for each channel, untrained: a function of the arguments."""
    import torch
    from torch import nn

    from mcbits.exact.fixed import FixedPoint
    from mcbits.exact.freeze import freeze

    torch.manual_seed(seed)
    shared, heads = 2 * radius * (radius + 1) * channels + 2 * channels + 2 + features, []
    for c in range(channels):
        first, last = nn.Linear(shared + c, 8), nn.Linear(8, 3 * M)
        net = nn.Sequential(first, nn.Hardtanh(0.0, 8.0), last)
        with torch.no_grad():
            first.weight.mul_(0.02)
            last.bias[2 * M :].add_(2.0)
        heads.append(freeze(net, [FixedPoint(shape=(shared + c,), frac=0, bound=1023)], [8]))
    return heads


def frozen_pixels(channels: int = 1, radius: int = 2, *, symbols: int = 256, unit: int = 0, M: int = 3) -> FrozenPixels:
    """An untrained model of pictures of any size."""
    from mcbits.latents.pixels import FrozenPixels
    from mcbits.observations.logistic import LogisticMixture

    heads = {f"head{c}": head for c, head in enumerate(pixel_heads(channels, radius, M=M))}
    shape = (0, 0) if channels == 1 else (0, 0, channels)
    return FrozenPixels.pack(heads, observation=LogisticMixture(symbols, M, unit), shape=shape, radius=radius)


def smooth_pictures(shape: tuple[int, ...], symbols: int = 256, seed: int = 0) -> NDArray[np.uint16]:
    """Pictures (n, h, w, ...) whose samples change slowly along a row, uint16."""
    steps = np.random.default_rng(seed).integers(-(symbols // 60) - 1, symbols // 60 + 2, shape)
    return np.clip(np.cumsum(steps, 2) + symbols // 2, 0, symbols - 1).astype(np.uint16)


class Notices:
    """A listener that keeps the notices it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    @hookimpl
    def mcbits_notice(self, message: str) -> None:
        self.heard.append(message)
