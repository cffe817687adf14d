"""ConvVAE is a convolutional VAE for binary images whose sides are multiples of 4.

Every activation is a tanh, so the bounds of its frozen layers stay tight.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from mcbits.errors import UsageError
from mcbits.models.vae import VAE
from mcbits.observations.bernoulli import BernoulliObservation


class ConvEncoder(nn.Module):
    """An encoder network: x (B, num_dims) -> mean and log scale of q(z|x), each (B, latent_dim)."""

    def __init__(self, shape: tuple[int, int], channels: int, latent_dim: int) -> None:
        super().__init__()
        features = 2 * channels * shape[0] * shape[1] // 16
        self.trunk = nn.Sequential(
            nn.Unflatten(1, (1, *shape)),
            nn.Conv2d(1, channels, 4, stride=2, padding=1),
            nn.Tanh(),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
            nn.Tanh(),
            nn.Flatten(),
        )
        self.mean = nn.Linear(features, latent_dim)
        self.log_scale = nn.Linear(features, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_scale(h)


class ConvVAE(VAE):
    """A VAE with two strided convolutions in the encoder and in the decoder, which returns logits (B, num_dims)."""

    name = "ConvVAE"

    def __init__(self, shape: tuple[int, ...] = (28, 28), latent_dim: int = 50, channels: int = 16) -> None:
        if len(shape) != 2 or shape[0] % 4 or shape[1] % 4:
            raise UsageError(f"ConvVAE takes images whose two sides are multiples of 4, not {shape}: use BinaryVAE")
        small = (2 * channels, shape[0] // 4, shape[1] // 4)
        super().__init__(
            ConvEncoder((shape[0], shape[1]), channels, latent_dim),
            nn.Sequential(
                nn.Linear(latent_dim, math.prod(small)),
                nn.Tanh(),
                nn.Unflatten(1, small),
                nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),
                nn.Tanh(),
                nn.ConvTranspose2d(channels, 1, 4, stride=2, padding=1),
                nn.Flatten(),
            ),
            shape=shape,
            latent_dim=latent_dim,
            observation=BernoulliObservation(),
        )
        self.channels = channels

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "channels": self.channels}

    @torch.no_grad()
    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Set the one output bias to the logit of the mean pixel, clamped to [0.001, 0.999]."""
        assert isinstance(self.decoder, nn.Sequential)
        output = self.decoder[-2]
        assert isinstance(output, nn.ConvTranspose2d) and output.bias is not None
        mean = images.sum(0, dtype=torch.float64) / (len(images) * levels)
        output.bias.fill_(torch.logit(mean.float().mean(), eps=0.001).item())
