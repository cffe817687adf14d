"""A pixel model is one small network a channel that reads a pixel's neighbours: trained on what coding reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.exact.fixed import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.exact.network import FrozenNetwork
from mcbits.latents.pixels import FrozenPixels, channels_of
from mcbits.models.base import Model, TrainingSet
from mcbits.models.contexts import Context, Contexts, Pictures
from mcbits.models.mixtures import mixture_log_prob
from mcbits.observations.logistic import LOG2_SCALES, LogisticMixture
from mcbits.observations.neighbours import MOST, difference_table, first_colour, num_neighbours
from mcbits.plugins.options import Options, option

CLIP = 127.0
"""Most of a hidden value that the frozen head keeps, as 16 bits of which 8 are fractional."""

MARGIN = 1.5
"""How far beyond the largest value that was seen a hidden value may go before it is clipped."""

TEST_PIXELS = 1 << 17
"""Pixels on which an epoch is tested."""

_CHUNK = 1 << 14


@dataclass(frozen=True)
class PixelOptions(Options):
    """The options of a model whose pixels see their neighbours."""

    M: int = option(5, help="logistics of a pixel's mixture", minimum=1, maximum=8)
    R: int = option(3, help="radius of the context: rows above, and columns to each side", minimum=2, maximum=16)
    width: int = option(32, help="hidden units of a layer", minimum=1, maximum=512)
    depth: int = option(2, help="hidden layers", minimum=1, maximum=8)
    symbols: int = option(0, help="number of symbols; 0: as the data has", minimum=0, maximum=1 << 16)
    unit: int = option(-1, help="means and scales are in units of 2^unit symbols; -1: as data", minimum=-1, maximum=16)


class PixelHead(nn.Module):
    """The networks of all channels, run together: from what is known of pixels to the parameters of their samples.

    `spread` (C,): the usual error of a prediction, in symbols; it only scales inputs and outputs.
    `reach` (depth, C, width): the largest value of each hidden unit that was seen.
    """

    spread: Tensor
    reach: Tensor
    input_scale: Tensor
    mask: Tensor

    def __init__(
        self, channels: int, observation: LogisticMixture, *, R: int, width: int, depth: int, features: int = 0
    ):
        super().__init__()
        self.channels, self.observation, self.features = channels, observation, features
        self.R, self.width, self.depth = R, width, depth
        self.shared = num_neighbours(R) * channels + 2 * channels + 2 + features
        sizes = [self.shared + channels - 1] + [width] * depth
        self.weights = nn.ParameterList(
            torch.randn(channels, n, width) * (1.4 if i else 1.0) / math.sqrt(n) for i, n in enumerate(sizes[:-1])
        )
        self.biases = nn.ParameterList(torch.zeros(channels, 1, width) for _ in range(depth))
        M = observation.M
        self.last = nn.Parameter(torch.randn(channels, 3 * M, width) * 0.1 / math.sqrt(width))
        spread = torch.linspace(-1.0, 1.0, M) if M > 1 else torch.zeros(1)
        start = torch.cat([torch.zeros(M), spread * 0.5, spread * 1.8 - 0.4])
        self.last_bias = nn.Parameter(start.repeat(channels, 1).unsqueeze(2))
        # A channel does not see those after it.
        mask = torch.ones(channels, sizes[0], 1)
        for c in range(channels):
            mask[c, self.shared + c :] = 0
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("spread", torch.ones(channels))
        self.register_buffer("reach", torch.ones(depth, channels, width))
        self.register_buffer("input_scale", torch.ones(sizes[0]))
        self.rescale()

    def rescale(self) -> None:
        """Set the scale of inputs by `spread`. To be called when that has changed."""
        C, k = self.channels, num_neighbours(self.R)
        difference = 2.0 ** max(0, self.observation.unit - 3) / (4 * self.spread.clamp(min=0.25))
        parts = [difference.repeat(k), torch.tensor([1 / 128, 1 / 16]).repeat(C), torch.full((2,), 1 / 32)]
        parts += [torch.full((self.features,), 1 / 128), difference[: C - 1]]
        self.input_scale.copy_(torch.cat([part.to(self.spread) for part in parts]))

    def inputs(self, known: Context, features: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the integers that the last channel's head reads, float (B, inputs), and what means are relative to.

        features: integers (B, F) as float. The second result is (B, C). See neighbours_gather of neighbours.h.
        """
        neighbours, samples, position = known
        C, R, K = self.channels, self.R, self.observation.symbols

        def at(dy: int, dx: int) -> Tensor:
            return neighbours[:, (dy + R) * (2 * R + 1) + dx + R]

        west, north, corner = at(0, -1), at(-1, 0), at(-1, -1)
        low, high = torch.minimum(west, north), torch.maximum(west, north)
        prediction = torch.minimum(torch.maximum(west + north - corner, low), high)
        level = torch.floor((prediction - K // 2) / (1 << max(0, (K - 1).bit_length() - 8)))
        total = 1 + (west - corner).abs() + (north - corner).abs() + (north - at(-1, 1)).abs()
        total += (west - at(0, -2)).abs() + (north - at(-2, 0)).abs()
        mantissa, exponent = torch.frexp(total)
        activity = 4 * (exponent - 1) + torch.floor((2 * mantissa - 1) * 4)
        base, first = prediction.clone(), first_colour(C)
        if C > first + 1:
            base[:, first + 1 :] += (samples - prediction)[:, first : first + 1]
        parts = [
            self._read(neighbours - prediction.unsqueeze(1)).flatten(1),
            torch.stack([level, activity], 2).flatten(1),
            position,
            *([features] if features is not None else []),
            self._read((samples - base).clamp(1 - K, K - 1))[:, : C - 1],
        ]
        return torch.cat(parts, 1), base

    def _read(self, differences: Tensor) -> Tensor:
        shift = max(0, self.observation.unit - 3)
        if shift:
            differences = torch.floor((differences + (1 << shift >> 1)) / (1 << shift))
        return differences.clamp(-MOST, MOST) if self.observation.symbols > MOST else differences

    def forward(self, known: Context, features: Tensor | None = None) -> Tensor:
        """Return log p of each sample in nats, (C, B)."""
        integers, base = self.inputs(known, features)
        x = integers * self.input_scale
        first = (self.weights[0] * self.mask).transpose(0, 1).flatten(1)
        hidden = torch.addmm(self.biases[0].flatten(), x, first).unflatten(1, (self.channels, -1)).transpose(0, 1)
        hidden = self._hidden(0, hidden)
        for i in range(1, self.depth):
            hidden = self._hidden(i, torch.baddbmm(self.biases[i], hidden, self.weights[i]))
        out = torch.baddbmm(self.last_bias, self.last, hidden.transpose(1, 2)).unflatten(1, (3, -1))
        spread = self.spread[:, None, None]
        means = base.T.unsqueeze(1) + out[:, 1] * spread
        scales = (out[:, 2] + torch.log2(spread)).clamp(*LOG2_SCALES)
        observation = self.observation
        return mixture_log_prob(
            out[:, 0] * 2, means, scales, known.samples.T.contiguous(), observation.symbols, observation.precision
        )

    def _hidden(self, layer: int, sums: Tensor) -> Tensor:
        values = torch.relu(sums)
        if not self.training:
            self.reach[layer] = torch.maximum(self.reach[layer], values.detach().amax(1))
        return values

    def freeze(self) -> dict[str, FrozenNetwork]:
        """Return the networks in integers, by name: head0, head1, ..."""
        bound = int(np.abs(difference_table(self.observation.symbols, self.observation.unit)).max())
        bound = max(bound, MOST if self.features else 128)
        return {f"head{c}": self._freeze_channel(c, bound) for c in range(self.channels)}

    @torch.no_grad()
    def _freeze_channel(self, c: int, bound: int) -> FrozenNetwork:
        inputs, M, spread = self.shared + c, self.observation.M, self.spread[c].double()
        # Each hidden unit is scaled so that its largest value fills the 16 bits: a clipped ReLU of a multiple is a
        # multiple of a clipped ReLU.
        scales = CLIP / (MARGIN * self.reach[:, c].double().clamp(min=1e-3))
        weight = (self.weights[0] * self.mask)[c, :inputs].double() * self.input_scale[:inputs, None].double()
        layers: list[nn.Module] = []
        for i in range(self.depth):
            if i:
                weight = self.weights[i][c].double() / scales[i - 1][:, None]
            layers += [_linear(weight * scales[i], self.biases[i][c, 0].double() * scales[i]), nn.Hardtanh(0.0, CLIP)]
        unit = 2.0**self.observation.unit
        rows = torch.tensor([2.0, float(spread) / unit, 1.0], dtype=torch.float64).repeat_interleave(M)
        offset = torch.tensor([0.0, 0.0, math.log2(float(spread) / unit)], dtype=torch.float64).repeat_interleave(M)
        weight = self.last[c].double() * rows[:, None] / scales[-1]
        layers.append(_linear(weight.T, self.last_bias[c, :, 0].double() * rows + offset))
        x = FixedPoint(shape=(inputs,), frac=0, bound=bound)
        return freeze(nn.Sequential(*layers), [x], [self.observation.frac_bits], name=f"head{c}", narrow=True)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[0], weight.shape[1], dtype=torch.float64)
    layer.weight.copy_(weight.T)
    layer.bias.copy_(bias)
    return layer


class PixelModel(Model):
    """A model without latents, of pictures of any size: p(x) is the product of p(sample | neighbours before it)."""

    name = "PixelModel"
    options = PixelOptions
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

    observation: LogisticMixture

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int = 0, **options: Any) -> None:
        chosen = PixelOptions(**options)
        observation = LogisticMixture(chosen.symbols or 256, chosen.M, max(chosen.unit, 0))
        free = (0, 0, *shape[2:]) if len(shape) == 3 else (0, 0)
        super().__init__(shape=free, latent_dim=0, observation=observation)
        self.chosen = chosen
        self.head = PixelHead(channels_of(free), observation, R=chosen.R, width=chosen.width, depth=chosen.depth)

    def get_config(self) -> dict[str, Any]:
        unit = {"symbols": self.observation.symbols, "unit": self.observation.unit}
        return {**super().get_config(), **self.chosen.get_config(), **unit}

    def training_set(self, images: Pictures, levels: int | None, device: torch.device) -> TrainingSet:
        return PixelSet(Contexts(images, self.head.R, device=device))

    @torch.no_grad()
    def initialise_from_data(self, images: Pictures, levels: int) -> None:
        """Set the scales of inputs and outputs, and the unit if it is -1, by the usual error of the prediction."""
        contexts = Contexts(images, self.head.R)
        known = contexts.take(contexts.spread(TEST_PIXELS))
        _, base = self.head.inputs(known)
        self.head.spread.copy_((known.samples - base).abs().mean(0).clamp(min=0.3))
        if self.chosen.unit < 0:
            unit = max(0, math.floor(math.log2(float(self.head.spread.max()))) - 2)
            self.observation = self.head.observation = replace(self.observation, unit=unit)
        self.head.rescale()
        self.eval()
        self.head(known)

    def loss(self, batch: Context, bound: Any, num_particles: int) -> Tensor:
        """Return the mean of -log p of a sample, in nats."""
        log_p: Tensor = self.head(batch)
        return -log_p.mean()

    def test_rate(self, test: TrainingSet) -> float:
        """Return the rate on at most TEST_PIXELS pixels of a set, in bits a sample; see how far hidden values go."""
        assert isinstance(test, PixelSet)
        self.eval()
        self.head.reach.zero_()
        pixels, total = test.contexts.spread(TEST_PIXELS), 0.0
        with torch.no_grad():
            for part in pixels.split(_CHUNK):
                total -= float(self.head(test.contexts.take(part)).double().sum())
        return total / (len(pixels) * self.head.channels * math.log(2))

    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        """Return log p(x) and 0 = log q, each (B, N): there is nothing to draw. x: (B, h, w) or (B, h, w, C)."""
        log_p = torch.stack([self._log_prob(each) for each in x])
        return log_p.unsqueeze(1).expand(-1, num_particles), torch.zeros(len(x), num_particles, device=x.device)

    def _log_prob(self, picture: Tensor) -> Tensor:
        contexts = Contexts(picture[None], self.head.R, device=picture.device)
        parts = torch.arange(contexts.num_pixels, device=picture.device).split(_CHUNK)
        return torch.stack([self.head(contexts.take(part)).double().sum() for part in parts]).sum()

    def freeze(self, backend: str = "numpy") -> FrozenPixels:
        return FrozenPixels.pack(
            self.head.freeze(), observation=self.observation, shape=self.shape, backend=backend, radius=self.head.R
        )

    def units(self, images: Any) -> np.ndarray:
        return np.array([each.numel() if isinstance(each, Tensor) else each.size for each in images])


class PixelSet:
    """The pixels of some pictures, of which a batch is a random choice. One pass takes as many as there are."""

    def __init__(self, contexts: Contexts) -> None:
        self.contexts = contexts

    def __len__(self) -> int:
        return self.contexts.num_images

    def num_batches(self, batch_size: int) -> int:
        return max(1, -(-self.contexts.num_pixels // batch_size))

    def batches(self, batch_size: int) -> Iterator[Context]:
        for _ in range(self.num_batches(batch_size)):
            yield self.contexts.take(self.contexts.random(batch_size))
