"""A pixel's distribution depends on its neighbours, and on latents where there are any; coders need not know of it."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from math import prod
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter

from mcbits._rans import Stack
from mcbits.core.neighbours import Neighbours, codelength_of
from mcbits.distributions.nothing import Nothing
from mcbits.errors import DataError, ModelError, UsageError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.vae import FrozenVAE, LatentVAE
from mcbits.observations.neighbours import FEATURE_FRAC, MAX_RADIUS, MOST, channel_order, difference_table, level_table

_CODES: TypeAdapter[list[list[int]]] = TypeAdapter(
    Annotated[list[Annotated[list[Annotated[int, Field(ge=-MOST, le=MOST)]], Field(min_length=1)]], Field(min_length=3)]
)
NO_LEVELS = np.empty(0, np.int16)


def neighbours_of(frozen: FrozenModel, meta: dict[str, Any], num_features: int) -> Neighbours:
    """Return the exact runtime of the networks head0, head1, ... of a frozen model, one for each channel.

    meta: "radius"; and for families without an order "inputs", the numbers that stand for each symbol.
    Raises ModelError, KeyError, TypeError or ValueError if they do not fit each other.
    """
    radius, observation = meta["radius"], frozen.observation
    if type(radius) is not int or not 2 <= radius <= MAX_RADIUS or not 2 <= len(frozen.shape) <= 3:
        raise ValueError("radius or shape")
    networks = [frozen.networks[f"head{c}"] for c in range(channels_of(frozen.shape))]
    heads = [network.dense() for network in networks]
    if any(each.inputs[0].frac or each.outputs[0].frac != observation.frac_bits for each in networks):
        raise ValueError("fractional bits")
    family = observation.family()  # type: ignore[attr-defined]
    if observation.name == "logistic":
        unit: int = observation.unit  # type: ignore[attr-defined]
        inputs, levels = difference_table(frozen.num_symbols, unit), level_table(frozen.num_symbols)
    else:
        inputs, levels = np.array(_CODES.validate_python(meta["inputs"], strict=True), np.int16, ndmin=2), NO_LEVELS
    return Neighbours(family, radius, heads, inputs, levels, num_features)


def channels_of(shape: tuple[int, ...]) -> int:
    """Return the number of channels of a picture of shape (h, w) or (h, w, channels)."""
    return shape[2] if len(shape) == 3 else 1


class PixelLikelihood:
    """p(x|z) of n pictures whose pixels see their neighbours; picture i lies in lane i modulo the number of lanes.

    shape: of a picture, (h, w) or (h, w, channels). features: int16 (n, h, w, F), or (n, particles, h, w, F).
    strict: a pop raises StackError where the stack runs out of words.
    """

    def __init__(
        self,
        neighbours: Neighbours,
        shape: tuple[int, ...],
        features: NDArray[np.int16],
        precision: int,
        strict: bool = False,
    ) -> None:
        self._neighbours, self._shape, self._features, self._precision = neighbours, shape, features, precision
        self._strict = strict
        self._order = list(channel_order(channels_of(shape)))
        self._known: tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]] | None = None

    def total_codelength(self, symbols: NDArray[np.integer], /) -> NDArray[np.int64]:
        """Return -log2 p(x|z) of x (n, dims), (n,) or (n, particles), in units of 2^-16 bits."""
        freqs = self._intervals(symbols)[1]
        particles = self._features.shape[:-3]
        return codelength_of(freqs.reshape(len(freqs), -1), self._precision).reshape(particles)

    def codelength(self, symbols: NDArray[np.integer], /) -> NDArray[np.int64]:
        """Return -log2 p(x_d|z) of each sample of x (n, dims), (n, dims), in units of 2^-16 bits."""
        freqs = self._intervals(symbols)[1]
        return self._in_order(codelength_of(freqs.reshape(-1, 1), self._precision).reshape(freqs.shape))

    def particle(self, j: NDArray[np.integer], /) -> PixelLikelihood:
        """Return p(x|z) at the one particle j (n,) of each picture."""
        if self._features.ndim == 4:
            raise UsageError("there is one z for each picture, so no particle to choose")
        features = np.ascontiguousarray(self._features[np.arange(len(j)), j])
        return PixelLikelihood(self._neighbours, self._shape, features, self._precision)

    def push(self, stack: Stack, symbols: NDArray[np.integer], /) -> None:
        """Push x (n, dims)."""
        self._neighbours.push(stack, *self._intervals(symbols), self._precision)

    def pop(self, stack: Stack, /) -> NDArray[np.int32]:
        """Pop and return x (n, dims)."""
        n, h, w = self._features.shape[:3]
        popped = self._neighbours.pop(stack, (n, h, w), self._features, self._precision, self._strict)
        return self._in_order(popped.astype(np.int32))

    def _in_order(self, coded: NDArray[Any]) -> NDArray[Any]:
        """Return what belongs to samples (n, h, w, channels), channels in the order of coding, as (n, dims)."""
        samples = np.empty_like(coded)
        samples[..., self._order] = coded
        return samples.reshape(len(samples), -1)

    def _intervals(self, symbols: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        # Coders ask for the codelength of what they push: the networks run once.
        x = np.reshape(symbols, (len(symbols), *self._shape[:2], -1))[..., self._order].astype(np.uint16)
        if self._known is None or not np.array_equal(self._known[0], x):
            every = np.repeat(x, self._features.shape[1], axis=0) if self._features.ndim == 5 else x
            features = self._features.reshape(len(every), *self._features.shape[-3:])
            self._known = x, *self._neighbours.intervals(np.ascontiguousarray(every), features, self._precision)
        return self._known[1:]


class FrozenPixels(FrozenModel):
    """A frozen model without latents, of pictures of any size. Its networks are head0, head1, ..., one a channel."""

    name = "pixels"
    block_samples = 1 << 20

    def read(self, meta: dict[str, Any]) -> bool:
        self.latent_dim = 0
        self.neighbours = neighbours_of(self, meta, 0)
        return True

    def of_shape(self, shape: tuple[int, ...]) -> Self:
        if not 2 <= len(shape) <= 3 or channels_of(shape) != channels_of(self.shape) or 0 in shape:
            expected = "(h, w)" if len(self.shape) == 2 else f"(h, w, {self.shape[2]})"
            raise DataError(f"images have shape {shape}, but the model expects {expected}: train one on such images")
        model = copy(self)
        model.shape = shape
        return model

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> LatentPixels:
        if refinement:
            raise UsageError("the model has no latents: leave out iterative_post_improvement")
        return LatentPixels(self, precisions.of(self.observation))


class LatentPixels(LatentModel):
    """The LatentModel of FrozenPixels: D = 0, one step codes all pictures of a block."""

    def __init__(self, frozen: FrozenPixels, precisions: Precisions, num_images: int = 0, strict: bool = False) -> None:
        self._frozen, self._precisions, self._num_images, self._strict = frozen, precisions, num_images, strict
        self.index_precision = precisions.index_mprec

    def steps(self, x: NDArray[Any], lanes: int) -> Iterator[tuple[NDArray[Any], LatentModel]]:
        yield x, LatentPixels(self._frozen, self._precisions, len(x))

    def layout(self, num_images: int, lanes: int, lengths: list[int]) -> list[tuple[int, LatentModel]]:
        if lengths:
            raise UsageError("the block has lengths, but pictures have none")
        # A block is one step: a damaged one must end where its words do, however many pixels it claims.
        return [(num_images, LatentPixels(self._frozen, self._precisions, num_images, strict=True))]

    def prior(self, lanes: int) -> Nothing:
        return Nothing(self._num_images or lanes)

    def posterior(self, x: NDArray[np.integer]) -> Nothing:
        return Nothing(len(x))

    def likelihood(self, z: NDArray[np.integer]) -> PixelLikelihood:
        features = np.empty((*z.shape[:-1], *self._frozen.shape[:2], 0), np.int16)
        frozen, precision = self._frozen, self._precisions.cond_mprec
        return PixelLikelihood(frozen.neighbours, frozen.shape, features, precision, self._strict)


class FrozenPixelVAE(FrozenVAE):
    """A frozen VAE whose decoder gives F features a pixel, (F, h, w), which the heads read besides neighbours."""

    name = "pixel VAE"

    def read(self, meta: dict[str, Any]) -> bool:
        self.encoder, self.decoder = self.networks["encoder"], self.networks["decoder"]
        dims, self.latent_dim = prod(self.shape), self.decoder.inputs[0].size
        (features,) = self.decoder.outputs
        pixels = prod(self.shape[:2])
        if not dims:
            raise ModelError("the pictures of a pixel VAE have one size, which is not 0: freeze it again")
        if features.frac != FEATURE_FRAC or prod(features.shape) % pixels:
            raise ModelError("the decoder gives no features for each pixel: freeze it again")
        self.num_features = prod(features.shape) // pixels
        self.neighbours = neighbours_of(self, meta, self.num_features)
        return self._encoder_fits(dims)

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> LatentPixelVAE:
        if refinement:
            raise UsageError("q(z|x) of pixels that see their neighbours cannot be refined yet")
        return LatentPixelVAE(self, precisions.of(self.observation))


class LatentPixelVAE(LatentVAE):
    """The LatentModel of a FrozenPixelVAE at given precisions."""

    vae: FrozenPixelVAE

    def likelihood(self, z: NDArray[np.integer]) -> PixelLikelihood:
        h, w = self.vae.shape[:2]
        rows = self._centres.take(z.reshape(-1, *self.vae.decoder.inputs[0].shape))
        (features,) = self.vae.decoder.run(rows)
        features = features.reshape(*z.shape[:-1], self.vae.num_features, h, w)
        last = np.ascontiguousarray(np.clip(np.moveaxis(features, -3, -1), -MOST, MOST), np.int16)
        return PixelLikelihood(self.vae.neighbours, self.vae.shape, last, self.precisions.cond_mprec)
