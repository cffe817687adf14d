"""Pixels see their neighbours: in a model of pictures of any size, and in a VAE whose decoder adds the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC
from mcbits.errors import UsageError
from mcbits.exact.fixed import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.latents.pixels import FrozenPixels, FrozenPixelVAE, channels_of
from mcbits.models.base import BoundOf, Model, TrainingSet, standard_normal_log_prob
from mcbits.models.contexts import Context, Contexts, Pictures
from mcbits.models.heads import HeadOptions, LogisticHead, SymbolHead, make_head
from mcbits.models.vae import VAE
from mcbits.observations.base import ObservationModel
from mcbits.observations.neighbours import FEATURE_FRAC
from mcbits.plugins.options import option

TEST_PIXELS = 1 << 17
"""Pixels on which an epoch is tested."""

_CHUNK = 1 << 14


class PixelModel(Model):
    """A model without latents, of pictures of any size: p(x) is the product of p(sample | neighbours before it)."""

    name = "PixelModel"
    options = HeadOptions
    any_size = True
    defaults: ClassVar[dict[str, Any]] = {
        "binarize": False,
        "lr": 1e-2,
        "eps": 1e-8,
        "scheduler": "cosine",
        "batch_size": 2048,
        "epochs": 20,
        "bound": "ELBO",
    }

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int = 0, **options: Any) -> None:
        self.chosen = HeadOptions(**options)
        free = (0, 0, *shape[2:])
        head = make_head(channels_of(free), self.chosen)
        super().__init__(shape=free, latent_dim=0, observation=head.observation)
        self.head = head

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_config(self.chosen, self.head)}

    def training_set(self, images: Pictures, levels: int | None, device: torch.device) -> TrainingSet:
        return PixelSet(images, self.head, levels, device)

    def initialise_from_data(self, images: Pictures, levels: int) -> None:
        """Set the scales of inputs and outputs, and the unit if it is left open, by the usual error of a prediction."""
        if levels > 1:
            images = [(2 * np.asarray(x, np.int32) > levels).astype(np.uint8) for x in images]
        self.observation = _begun(self.head, images)

    def loss(self, batch: Context, bound: BoundOf, num_particles: int) -> Tensor:
        """Return the mean of -log p of a sample, in nats. There are no latents, so all bounds are the same."""
        log_p: Tensor = self.head(batch)
        return -log_p.mean()

    def test_rate(self, test: TrainingSet) -> float:
        """Return the rate on at most TEST_PIXELS pixels of a set, in bits a sample; see how far hidden values go."""
        assert isinstance(test, PixelSet)
        self.eval()
        contexts = test.contexts()
        pixels, total = contexts.spread(TEST_PIXELS), 0.0
        with torch.no_grad():
            for part in pixels.split(_CHUNK):
                total -= float(self.head(contexts.take(part)).double().sum())
        return total / (len(pixels) * self.head.channels * math.log(2))

    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        """Return log p(x) and 0 = log q, each (B, N): there is nothing to draw. x: (B, h, w) or (B, h, w, C)."""
        log_p = torch.stack([_log_prob(self.head, each[None], None) for each in x]).flatten().to(torch.float32)
        return log_p.unsqueeze(1).expand(-1, num_particles), torch.zeros(len(x), num_particles, device=x.device)

    def freeze(self, backend: str = "numpy") -> FrozenPixels:
        return FrozenPixels.pack(
            self.head.freeze(), observation=self.observation, shape=self.shape, backend=backend, **_meta(self.head)
        )

    def units(self, images: Tensor) -> np.ndarray:
        return np.full(len(images), math.prod(images.shape[1:]))


class PixelSet:
    """The pixels of some pictures, of which a batch is a random choice. One pass takes as many as there are.

    If `levels` is given, pictures are grey values 0..levels, and each pass draws every pixel as 0 or 1 anew.
    """

    def __init__(
        self, pictures: Pictures, head: LogisticHead | SymbolHead, levels: int | None, device: torch.device
    ) -> None:
        self._head, self._levels, self._device = head, levels, device
        greys = [np.asarray(x, np.int32) for x in pictures] if levels else []
        self._pictures = [torch.as_tensor(x, device=device) for x in greys]
        self._fixed = None if levels else self._contexts(pictures)
        self._num_images, self._num_pixels = len(pictures), sum(math.prod(x.shape[:2]) for x in pictures)

    def __len__(self) -> int:
        return self._num_images

    def num_batches(self, batch_size: int) -> int:
        return max(1, -(-self._num_pixels // batch_size))

    def batches(self, batch_size: int) -> Iterator[Context]:
        contexts = self.contexts()
        for _ in range(self.num_batches(batch_size)):
            yield contexts.take(contexts.random(batch_size))

    def contexts(self) -> Contexts:
        """Return all pixels with their contexts, drawn anew where they are to be drawn."""
        if self._fixed:
            return self._fixed
        white = float(self._levels or 1)
        drawn = [torch.rand(x.shape, device=self._device) * white < x for x in self._pictures]
        return self._contexts([x.to(torch.uint8).cpu().numpy() for x in drawn])

    def _contexts(self, pictures: Pictures) -> Contexts:
        return Contexts(pictures, self._head.R, beyond=self._head.beyond, device=self._device)


@dataclass(frozen=True)
class PixelVAEOptions(HeadOptions):
    """The options of a VAE whose pixels see their neighbours."""

    features: int = option(4, help="numbers that the decoder gives each pixel's head", minimum=1, maximum=64)
    channels: int = option(8, help="channels of the first convolution, half of the second's", minimum=1, maximum=256)


class PixelVAE(VAE):
    """A VAE whose decoder gives F features for each pixel, which its head reads beside the pixel's neighbours.

    Encoder and decoder have two strided convolutions, or one hidden layer if a side has fewer than four pixels
    (Gulrajani et al. 2017, PixelVAE). All pictures have one size.
    """

    name = "PixelVAE"
    options = PixelVAEOptions
    defaults: ClassVar[dict[str, Any]] = {
        **PixelModel.defaults,
        "lr": 3e-3,
        "batch_size": 16,
        "latent_dim": 8,
        "kl_warmup": 0.3,  # else the head learns to do without latents before these mean anything
    }

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int = 8, **options: Any) -> None:
        self.chosen = chosen = PixelVAEOptions(**options)
        if not 2 <= len(shape) <= 3:
            raise UsageError(f"PixelVAE takes pictures (h, w) or (h, w, channels), not {shape}")
        channels = channels_of(shape)
        head = make_head(channels, chosen, chosen.features)
        super().__init__(
            _PictureEncoder(shape, chosen.channels, latent_dim, head.observation.num_symbols),
            _PictureDecoder(shape, chosen.channels, latent_dim, chosen.features),
            shape=shape,
            latent_dim=latent_dim,
            observation=head.observation,
        )
        self.head = head

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **_config(self.chosen, self.head)}

    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Set the scales of the head, as PixelModel does."""
        images = 2 * images.int() > levels if levels > 1 else images
        self.observation = _begun(self.head, images.reshape(-1, *self.shape))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log p(x, z) in nats, (B, N), for x (B, *shape) and z (B, N, latent_dim). Calls the decoder once."""
        features = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2]) * 2.0**FEATURE_FRAC
        pictures = x.reshape(len(x), *self.shape)
        each = [_log_prob(self.head, pictures, features[:, n]) for n in range(z.shape[1])]
        return torch.stack(each, 1) + standard_normal_log_prob(z)

    def freeze(self, backend: str = "numpy") -> FrozenPixelVAE:
        x = FixedPoint(shape=(math.prod(self.shape),), frac=0, bound=self.observation.num_symbols - 1)
        z = FixedPoint(shape=(self.latent_dim,), frac=CENTRE_FRAC, bound=1024)
        networks = {
            "encoder": freeze(self.encoder, [x], [MEAN_FRAC, LOG_SCALE_FRAC], name="encoder", narrow=True),
            "decoder": freeze(self.decoder, [z], [FEATURE_FRAC], name="decoder", narrow=True),
        }
        return FrozenPixelVAE.pack(
            networks | self.head.freeze(),
            observation=self.observation,
            shape=self.shape,
            backend=backend,
            **_meta(self.head),
        )


class _PictureEncoder(nn.Module):
    """x (B, dims) of symbols -> mean and log scale of q(z|x), each (B, latent_dim)."""

    def __init__(self, shape: tuple[int, ...], channels: int, latent_dim: int, num_symbols: int) -> None:
        super().__init__()
        self.trunk, size = _trunk(shape, channels)
        self.mean, self.log_scale = nn.Linear(size, latent_dim), nn.Linear(size, latent_dim)
        with torch.no_grad():
            first = next(layer for layer in self.trunk if isinstance(layer, nn.Conv2d | nn.Linear))
            first.weight /= num_symbols / 2  # so that inputs count as 0 to 2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_scale(h)


class _PictureDecoder(nn.Module):
    """z (B, latent_dim) -> F features of each pixel, (B, F, h, w), between -8 and 8."""

    def __init__(self, shape: tuple[int, ...], channels: int, latent_dim: int, features: int) -> None:
        super().__init__()
        h, w = shape[:2]
        if min(h, w) < 4:
            hidden = 8 * channels
            layers = [nn.Linear(latent_dim, hidden), nn.ReLU6(), nn.Linear(hidden, features * h * w)]
            layers.append(nn.Unflatten(1, (features, h, w)))
        else:
            small = (2 * channels, h // 4, w // 4)
            # A side that halving rounded down gets its last pixel back.
            half, whole = (h // 2 % 2, w // 2 % 2), (h % 2, w % 2)
            layers = [
                nn.Linear(latent_dim, math.prod(small)),
                nn.ReLU6(),
                nn.Unflatten(1, small),
                nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1, output_padding=half),
                nn.ReLU6(),
                nn.ConvTranspose2d(channels, features, 4, stride=2, padding=1, output_padding=whole),
            ]
        self.layers = nn.Sequential(*layers, nn.Hardtanh(-8.0, 8.0))

    def forward(self, z: Tensor) -> Tensor:
        features: Tensor = self.layers(z)
        return features


def _trunk(shape: tuple[int, ...], channels: int) -> tuple[nn.Sequential, int]:
    """Return the layers from x (B, dims) to what mean and scale of q(z|x) are read from, and its size."""
    h, w, C = *shape[:2], channels_of(shape)
    if min(h, w) < 4:
        return nn.Sequential(nn.Linear(h * w * C, 8 * channels), nn.ReLU6()), 8 * channels
    # The channels of a pixel lie side by side, so a kernel over them is that much wider.
    layers = nn.Sequential(
        nn.Unflatten(1, (1, h, w * C)),
        nn.Conv2d(1, channels, (4, 4 * C), stride=(2, 2 * C), padding=(1, C)),
        nn.ReLU6(),
        nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),
        nn.ReLU6(),
        nn.Flatten(),
    )
    return layers, 2 * channels * (h // 4) * (w // 4)


def _begun(head: LogisticHead | SymbolHead, pictures: Pictures) -> ObservationModel:
    """Set the scales of a head by some pixels of the pictures, and return its observation model, which may change."""
    contexts = Contexts(pictures, head.R, beyond=head.beyond)
    head.begin(contexts.take(contexts.spread(TEST_PIXELS)))
    return head.observation


def _log_prob(head: LogisticHead | SymbolHead, pictures: Tensor, features: Tensor | None) -> Tensor:
    """Return log p of each picture in nats, (B,), from pictures (B, h, w) or (B, h, w, C) and features (B, F, h, w)."""
    contexts = Contexts(pictures.to(torch.int32), head.R, beyond=head.beyond, device=pictures.device)
    last = None if features is None else features.permute(0, 2, 3, 1).flatten(0, 2)
    total = []
    for pixels in torch.arange(contexts.num_pixels, device=pictures.device).split(_CHUNK):
        log_p: Tensor = head(contexts.take(pixels), None if last is None else last[pixels])
        total.append(log_p.sum(0))
    return torch.cat(total).reshape(len(pictures), -1).sum(1)


def _config(chosen: HeadOptions, head: LogisticHead | SymbolHead) -> dict[str, Any]:
    """Return the options as they turned out: what was left open is as it was found in the data."""
    found = replace(chosen, pixels=head.observation.name, symbols=head.observation.num_symbols)
    if isinstance(head, LogisticHead):
        found = replace(found, unit=head.observation.unit)
    return found.get_config()


def _meta(head: LogisticHead | SymbolHead) -> dict[str, Any]:
    """Return what a frozen model says of its heads beside their networks."""
    inputs = {} if isinstance(head, LogisticHead) else {"inputs": head.table().tolist()}
    return {"radius": head.R, **inputs}
