"""A head is one small network a channel that reads a pixel's neighbours; it trains on the integers coding reads."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mcbits.errors import UsageError
from mcbits.exact.fixed import ACTIVATION_FRAC, FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.settings import own_settings
from mcbits.models.contexts import Context
from mcbits.models.mixtures import mixture_log_prob
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.observations.categorical import CategoricalObservation
from mcbits.observations.logistic import LOG2_SCALES, LogisticMixture
from mcbits.observations.neighbours import FEATURE_FRAC, MOST, difference_table, first_colour, num_neighbours
from mcbits.plugins.options import Options, option

CLIP = 127.0
"""Most of a hidden value that the frozen head keeps, as 16 bits of which 8 are fractional."""

WEIGHT_FRAC = 12
"""Fractional bits of the weights of a hidden layer: with fewer, weights are coarse, with more, hidden units are."""

MARGIN = 1.5
"""How far beyond the largest value that was seen a hidden value may go before it is clipped."""

CODE_FRAC = 7
"""Fractional bits of the numbers that stand for a symbol without an order."""

LN2 = math.log(2)


@dataclass(frozen=True)
class HeadOptions(Options):
    """The options of a model whose pixels see their neighbours."""

    pixels: str = option(
        "auto",
        help="p of a pixel; auto: bernoulli for two symbols, else logistic",
        choices=("auto", "logistic", "bernoulli", "categorical"),
    )
    symbols: int = option(0, help="number of symbols; 0: as the data has", minimum=0, maximum=1 << 16)
    M: int = option(5, help="logistics of a pixel's mixture", minimum=1, maximum=8)
    unit: int = option(-1, help="means and scales are in units of 2^unit symbols; -1: as data", minimum=-1, maximum=16)
    R: int = option(3, help="radius of the context: rows above, and columns to each side", minimum=2, maximum=16)
    width: int = option(32, help="hidden units of a layer of the head", minimum=1, maximum=512)
    depth: int = option(2, help="hidden layers of the head", minimum=1, maximum=8)


class Head(nn.Module):
    """The networks of all channels, run together: from what is known of pixels to the parameters of their samples.

    beyond: what stands for a sample above the picture.
    `reach` (depth, C, width): the largest value of each hidden unit that was seen.
    """

    beyond: int = 0
    mask: Tensor
    reach: Tensor
    input_scale: Tensor

    def __init__(self, channels: int, chosen: HeadOptions, features: int, sizes: tuple[int, int, int]) -> None:
        """sizes: the inputs of the first channel's network, what each channel adds for later ones, the outputs."""
        super().__init__()
        self.channels, self.features, self.R, self.depth = channels, features, chosen.R, chosen.depth
        (self.shared, self.told, outputs), width = sizes, chosen.width
        inputs = [self.shared + self.told * (channels - 1)] + [width] * chosen.depth
        self.weights = nn.ParameterList(
            torch.randn(channels, n, width) * (1.4 if i else 1.0) / math.sqrt(n) for i, n in enumerate(inputs[:-1])
        )
        self.biases = nn.ParameterList(torch.zeros(channels, 1, width) for _ in range(chosen.depth))
        self.last = nn.Parameter(torch.randn(channels, outputs, width) * 0.1 / math.sqrt(width))
        self.last_bias = nn.Parameter(torch.zeros(channels, outputs, 1))
        # A channel does not see those after it.
        mask = torch.ones(channels, inputs[0], 1)
        for c in range(channels):
            mask[c, self.shared + self.told * c :] = 0
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("reach", torch.zeros(chosen.depth, channels, width))
        self.register_buffer("input_scale", torch.ones(inputs[0]))

    def train(self, mode: bool = True) -> Self:
        """Change the mode, as any module does. What was seen before more training no longer counts."""
        if mode:
            self.reach.zero_()
        return super().train(mode)

    def begin(self, known: Context) -> None:
        """Set scales by some of the training data, before training."""

    @abstractmethod
    def inputs(self, known: Context, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the last channel's network reads, float (B, inputs), and what means are relative to, (B, C).

        features: integers (B, F) as float. See neighbours_gather of mcbits/core/neighbours.h.
        """

    @abstractmethod
    def log_prob(self, out: Tensor, base: Tensor, samples: Tensor) -> Tensor:
        """Return log p of samples (C, B) in nats, (C, B), from outputs (C, outputs, B) and base (C, B)."""

    @abstractmethod
    def table(self) -> NDArray[np.int16]:
        """Return the table of integers that its inputs are taken from."""

    def outputs(self, c: int) -> tuple[Tensor, Tensor]:
        """Return factor and offset, float64 (outputs,), that make parameters, as they are coded, of channel c's."""
        one = torch.ones(self.last.shape[1], dtype=torch.float64)
        return one / LN2, 0 * one

    def forward(self, known: Context, features: Tensor | None = None) -> Tensor:
        """Return log p of each sample in nats, (C, B)."""
        x, base = self.inputs(known, features)
        return self.log_prob(self._outputs(x), base.T, known.samples.T.contiguous())

    def felt(self, known: Context) -> list[tuple[NDArray[np.int32], NDArray[np.float64]]]:
        """Return of each channel the integers that its network reads, (B, inputs), and a gradient, (B, outputs).

        Its covariance is the curvature of -log p in nats, by the parameters as they are coded.
        """
        reach = self.reach.clone()
        with torch.no_grad():
            x, base = self.inputs(known, None)
            out = self._outputs(x).requires_grad_()
        self.reach.copy_(reach)
        gradient = self._gradient(out, base.T, known.samples.T.contiguous())
        return [
            (
                x[:, : self.shared + self.told * c].to(torch.int32).cpu().numpy(),
                (gradient[c].T.double().cpu() / self.outputs(c)[0]).numpy(),
            )
            for c in range(self.channels)
        ]

    def _gradient(self, out: Tensor, base: Tensor, samples: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(-self.log_prob(out, base, samples).sum(), out)
        return gradient

    def _outputs(self, x: Tensor) -> Tensor:
        first = (self.weights[0] * self.mask).transpose(0, 1).flatten(1)
        sums = torch.addmm(self.biases[0].flatten(), x * self.input_scale, first)
        hidden = self._hidden(0, sums.unflatten(1, (self.channels, -1)).transpose(0, 1))
        for i in range(1, self.depth):
            hidden = self._hidden(i, torch.baddbmm(self.biases[i], hidden, self.weights[i]))
        return torch.baddbmm(self.last_bias, self.last, hidden.transpose(1, 2))

    def _hidden(self, layer: int, sums: Tensor) -> Tensor:
        values = torch.relu(sums)
        if not self.training:
            self.reach[layer] = torch.maximum(self.reach[layer], values.detach().amax(1))
        return values

    @own_settings()
    def freeze(self) -> dict[str, FrozenNetwork]:
        """Return the networks in integers, by name: head0, head1, ..."""
        bound = max(int(np.abs(self.table()).max()), MOST if self.features else 128)
        return {f"head{c}": self._freeze_channel(c, bound) for c in range(self.channels)}

    @torch.no_grad()
    def _freeze_channel(self, c: int, bound: int) -> FrozenNetwork:
        inputs = self.shared + self.told * c
        x = FixedPoint(shape=(inputs,), frac=0, bound=bound)
        reach = self.reach[:, c].double()
        weight = (self.weights[0] * self.mask)[c, :inputs].double() * self.input_scale[:inputs, None].double()
        layers: list[nn.Module] = []
        for i in range(self.depth):
            bias = self.biases[i][c, 0].double()
            # A clipped ReLU of a multiple is a multiple of a clipped ReLU. So each hidden unit is scaled until its
            # largest value fills 16 bits, or until its weights do.
            most = _largest_scale(weight, bias, CLIP if i else float(bound))
            scale = torch.minimum(CLIP / (MARGIN * torch.where(reach[i] > 0, reach[i], 1.0)), most)
            layers += [_linear(weight * scale, bias * scale), nn.Hardtanh(0.0, CLIP)]
            weight = (self.weights[i + 1] if i + 1 < self.depth else self.last.transpose(1, 2))[c].double()
            weight = weight / scale[:, None]
        factor, offset = self.outputs(c)
        layers.append(_linear(weight * factor, self.last_bias[c, :, 0].double() * factor + offset))
        return freeze(nn.Sequential(*layers), [x], [8], name=f"head{c}", narrow=True)

    def _features(self, features: Tensor | None) -> list[Tensor]:
        return [] if features is None else [features]


class LogisticHead(Head):
    """A head that gives a mixture of logistics around a prediction, and reads differences to it.

    `spread` (C,): the usual error of the prediction, in symbols. It scales inputs and outputs alone.
    """

    spread: Tensor

    def __init__(self, channels: int, chosen: HeadOptions, features: int) -> None:
        shared = num_neighbours(chosen.R) * channels + 2 * channels + 2 + features
        super().__init__(channels, chosen, features, (shared, 1, 3 * chosen.M))
        self.observation = LogisticMixture(chosen.symbols or 256, chosen.M, max(chosen.unit, 0))
        self._free_unit, M = chosen.unit < 0, chosen.M
        spread = torch.linspace(-1.0, 1.0, M) if M > 1 else torch.zeros(1)
        start = torch.cat([torch.zeros(M), spread * 0.5, spread * 1.8 - 0.4])
        with torch.no_grad():
            self.last_bias.add_(start[:, None])
        self.register_buffer("spread", torch.ones(channels))

    @torch.no_grad()
    def begin(self, known: Context) -> None:
        nothing = known.position.new_zeros(len(known.position), self.features)
        _, base = self.inputs(known, nothing if self.features else None)
        self.spread.copy_((known.samples - base).abs().mean(0).clamp(min=0.3))
        if self._free_unit:
            unit = max(0, math.floor(math.log2(float(self.spread.max()))) - 2)
            self.observation = LogisticMixture(self.observation.symbols, self.observation.M, unit)
        C, k = self.channels, num_neighbours(self.R)
        difference = 2.0 ** max(0, self.observation.unit - 3) / (4 * self.spread.clamp(min=0.25))
        parts = [difference.repeat(k), torch.tensor([1 / 128, 1 / 16]).repeat(C), torch.full((2,), 1 / 32)]
        parts += [torch.full((self.features,), 2.0**-FEATURE_FRAC), difference[: C - 1]]
        self.input_scale.copy_(torch.cat([part.to(self.spread) for part in parts]))

    def inputs(self, known: Context, features: Tensor | None) -> tuple[Tensor, Tensor]:
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
            *self._features(features),
            self._read((samples - base).clamp(1 - K, K - 1))[:, : C - 1],
        ]
        return torch.cat(parts, 1), base

    def _read(self, differences: Tensor) -> Tensor:
        shift = max(0, self.observation.unit - 3)
        if shift:
            differences = torch.floor((differences + (1 << shift >> 1)) / (1 << shift))
        return differences.clamp(-MOST, MOST) if self.observation.symbols > MOST else differences

    def log_prob(self, out: Tensor, base: Tensor, samples: Tensor) -> Tensor:
        logits, means, scales = out.unflatten(1, (3, -1)).unbind(1)
        spread, observation = self.spread[:, None, None], self.observation
        means = base.unsqueeze(1) + means * spread
        scales = (scales + torch.log2(spread)).clamp(*LOG2_SCALES)
        return mixture_log_prob(logits * 2, means, scales, samples, observation.symbols, observation.precision)

    def table(self) -> NDArray[np.int16]:
        return difference_table(self.observation.symbols, self.observation.unit)

    def outputs(self, c: int) -> tuple[Tensor, Tensor]:
        M, spread = self.observation.M, float(self.spread[c]) / 2.0**self.observation.unit
        factor = torch.tensor([2.0, spread, 1.0], dtype=torch.float64)
        offset = torch.tensor([0.0, 0.0, math.log2(spread)], dtype=torch.float64)
        return factor.repeat_interleave(M), offset.repeat_interleave(M)


class SymbolHead(Head):
    """A head for symbols without an order: it reads, for each neighbour, the E numbers that stand for its symbol.

    `codes` (K + 1, E): these numbers; the last row stands for what is above the picture. Those of two symbols are
    given, those of more are learned.
    """

    codes: Tensor

    def __init__(self, channels: int, observation: BernoulliObservation | CategoricalObservation, chosen: HeadOptions,
                 features: int) -> None:  # fmt: skip
        K = observation.num_symbols
        E = 1 if K == 2 else min(8, (K - 1).bit_length() + 1)
        shared = num_neighbours(chosen.R) * channels * E + 2 + features
        super().__init__(channels, chosen, features, (shared, E, 1 if observation.name == "bernoulli" else K))
        self.observation, self.beyond = observation, K
        if K == 2:
            self.register_buffer("codes", torch.tensor([[-1.0], [1.0], [0.0]]))
        else:
            self.codes = nn.Parameter(torch.randn(K + 1, E))
        with torch.no_grad():
            self.input_scale.fill_(2.0**-CODE_FRAC)
            self.input_scale[shared - features - 2 : shared - features] = 1 / 32
            self.input_scale[shared - features : shared] = 2.0**-FEATURE_FRAC

    def inputs(self, known: Context, features: Tensor | None) -> tuple[Tensor, Tensor]:
        # Codes train as they will be frozen, but for the rounding of their gradient.
        codes = (self.codes * 2.0**CODE_FRAC).clamp(-MOST, MOST)
        rounding = torch.sub(torch.round(codes), codes).detach()
        codes = codes.add(rounding)
        told = codes[known.samples[:, : self.channels - 1].long()].flatten(1)
        parts = [codes[known.neighbours.long()].flatten(1), known.position, *self._features(features), told]
        return torch.cat(parts, 1), torch.zeros_like(known.samples)

    def log_prob(self, out: Tensor, base: Tensor, samples: Tensor) -> Tensor:
        if self.observation.name == "bernoulli":
            log_p = -F.binary_cross_entropy_with_logits(out[:, 0], samples, reduction="none")
        else:
            log_p = out.log_softmax(1).gather(1, samples.long().unsqueeze(1)).squeeze(1)
        K, leak = self.observation.num_symbols, 2.0**-self.observation.precision
        return torch.log(log_p.exp() * (1 - K * leak) + leak)

    def _gradient(self, out: Tensor, base: Tensor, samples: Tensor) -> Tensor:
        return expected_gradient(out.detach(), out.shape[1] > 1, 1)

    def table(self) -> NDArray[np.int16]:
        codes = torch.round(self.codes.detach() * 2.0**CODE_FRAC).clamp(-MOST, MOST)
        found: NDArray[np.int16] = codes.to(torch.int16).cpu().numpy()
        return found


def expected_gradient(logits: Tensor, categorical: bool, dim: int) -> Tensor:
    """Return random gradients of -log p of symbols, of the variance that they have if the symbols are as likely as p.

    Those of the symbols themselves would hardly tell of a symbol that is rare.
    """
    p = logits.softmax(dim) if categorical else logits.sigmoid()
    sign = torch.randint(0, 2, p.shape, generator=torch.Generator().manual_seed(0)).to(p) * 2 - 1
    return sign * torch.sqrt(p * (1 - p))


def make_head(channels: int, chosen: HeadOptions, features: int = 0) -> LogisticHead | SymbolHead:
    """Return an untrained head for pictures of 1 to 4 channels. Raises UsageError for what does not fit together."""
    if not 1 <= channels <= 4:
        raise UsageError(f"expected pictures of 1 to 4 channels, got {channels}")
    K, pixels = chosen.symbols or 256, chosen.pixels
    if pixels == "auto":
        pixels = "bernoulli" if K == 2 else "logistic"
    if pixels == "logistic":
        return LogisticHead(channels, chosen, features)
    if pixels == "bernoulli" and K != 2:
        raise UsageError(f"pixels bernoulli is for two symbols, not {K}: leave it out")
    observation = BernoulliObservation() if pixels == "bernoulli" else CategoricalObservation(K)
    return SymbolHead(channels, observation, chosen, features)


def _largest_scale(weight: Tensor, bias: Tensor, bound: float) -> Tensor:
    """Return by what each column may be multiplied, (width,), for weights of WEIGHT_FRAC to have 16 bits, sums 32."""
    sums = weight.abs().sum(0) * bound + bias.abs()
    frac = 0 if bound > CLIP else ACTIVATION_FRAC
    return torch.minimum(
        (2.0**15 - 2) * 2.0**-WEIGHT_FRAC / weight.abs().amax(0),
        (2.0**31 - 2.0**17) * 2.0 ** -(WEIGHT_FRAC + frac) / sums,
    )


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[0], weight.shape[1], dtype=torch.float64)
    layer.weight.copy_(weight.T)
    layer.bias.copy_(bias)
    return layer
