"""The numbers behind the pictures of a report all come from the frozen model, so they hold for files."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.blocks import flat
from mcbits.archive.encoding import Encoding
from mcbits.archive.options import CodingOptions
from mcbits.core.codelengths import log2_mean
from mcbits.distributions import CODELENGTH_UNIT, Distribution
from mcbits.latents.base import LatentModel, Likelihood
from mcbits.latents.frozen import FrozenModel

_LANES = 64


@dataclass(frozen=True)
class Codelengths:
    """The codelengths of images, in bits.

    ideal: (n,), the negative of the IWAE bound. pixels: (n, *shape), given the particle of largest weight.
    """

    ideal: NDArray[np.float64]
    pixels: NDArray[np.float64]


def codelengths(model: LatentModel, images: NDArray[np.uint8], num_particles: int, seed: int) -> Codelengths:
    """Return the codelengths of images (n, *shape) under BB-IS with `num_particles` (Ruan et al. 2021, section 3.1)."""
    x, ideal, pixels = flat(images), np.empty(len(images)), np.empty((len(images), images[0].size))
    for first in range(0, len(x), _LANES):
        part = x[first : first + _LANES]
        q, p_z = model.posterior(part).expand(num_particles), model.prior(len(part)).expand(num_particles)
        z = q.pop(Stack(len(part), seed=seed ^ first << 32))
        p_x = model.likelihood(z)
        log_w = q.total_codelength(z) - p_z.total_codelength(z) - p_x.total_codelength(part)
        ideal[first : first + _LANES] = -log2_mean(log_w) * CODELENGTH_UNIT
        likeliest = p_x.particle(log_w.argmax(axis=1))
        pixels[first : first + _LANES] = likeliest.codelength(part) * CODELENGTH_UNIT
    return Codelengths(ideal, pixels.reshape(images.shape))


def initial_bits(
    images: NDArray[np.uint8], frozen: FrozenModel, options: CodingOptions
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the initial bits and net bits of one stack after each of the images (n, *shape) was pushed, (n,) each."""
    initial, net = np.empty(len(images)), np.empty(len(images))

    def on_step(ideal: NDArray[np.float64], stack: Stack) -> None:
        initial[len(ideal) - 1], net[len(ideal) - 1] = stack.initial_bits()[0], stack.net_bits()[0]

    Encoding(images, frozen, options).codec.encode(0, images, options.seed, on_step)
    return initial, net


def reconstructions(model: LatentModel, images: NDArray[np.uint8], seed: int) -> NDArray[np.float64]:
    """Return E[x|z] for one z from q(z|x) of each of the images (n, *shape): (n, *shape) between 0 and 1."""
    z = model.posterior(flat(images)).pop(Stack(len(images), seed=seed))
    return _mean(model.likelihood(z)).reshape(images.shape)


def samples(model: LatentModel, number: int, seed: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return E[x|z] for z from the prior: (number, *shape) between 0 and 1."""
    z = model.prior(number).pop(Stack(number, seed=seed))
    return _mean(model.likelihood(z)).reshape(number, *shape)


def noise_entropy(grey: NDArray[np.uint8], levels: int) -> float:
    """Return the entropy, in bits/dim, of drawing each pixel as 1 with probability grey / levels.

    No code of the drawn pixels is shorter on average.
    """
    p = np.arange(1, levels) / levels
    entropies = np.zeros(levels + 1)
    entropies[1:-1] = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return float(np.bincount(grey.reshape(-1), minlength=levels + 1) @ entropies) / grey.size


def _mean(p_x: Likelihood) -> NDArray[np.float64]:
    assert isinstance(p_x, Distribution)
    probabilities = np.diff(p_x.cdf().astype(np.float64)) / 2.0**p_x.precision
    mean: NDArray[np.float64] = probabilities @ (np.arange(p_x.num_symbols) / (p_x.num_symbols - 1))
    return mean
