"""What the pictures show, as numbers: all of the frozen model, hence of what a file would hold."""

from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.blocks import BlockCodec, flat, trial
from mcbits.archive.format import Header
from mcbits.archive.ramp import parse_ramp
from mcbits.coders.base import Coder
from mcbits.core.codelengths import log2_mean
from mcbits.distributions import CODELENGTH_UNIT, Distribution
from mcbits.latents.vae import LatentVAE

_LANES = 64


@dataclass(frozen=True)
class Codelengths:
    """Bits: `ideal` (n,) of an image, minus the IWAE bound, and `pixels` (n, *shape), given the likeliest particle."""

    ideal: NDArray[np.float64]
    pixels: NDArray[np.float64]


def codelengths(model: LatentVAE, images: NDArray[np.uint8], num_particles: int, seed: int) -> Codelengths:
    """What images (n, *shape) cost under BB-IS with `num_particles` (Ruan et al. 2021, section 3.1)."""
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
    model: LatentVAE, images: NDArray[np.uint8], coder: Coder, ramp: str, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Initial and net bits of one stack by the time each of images (n, *shape) was pushed: (n,) each."""
    x = flat(images)
    header = Header(
        coder=coder.short,
        options=coder.get_config(),
        precisions=asdict(model.precisions),
        shape=images.shape[1:],
        dtype=str(images.dtype),
        lanes=1,
        block_size=len(images),
        ramp=parse_ramp(ramp, coder, partial(trial, model, images, sequences=False)),
        model_id=bytes.fromhex(model.vae.model_id),
    )
    initial, net = np.empty(len(x)), np.empty(len(x))

    def on_step(ideal: NDArray[np.float64], stack: Stack) -> None:
        initial[len(ideal) - 1], net[len(ideal) - 1] = stack.initial_bits()[0], stack.net_bits()[0]

    BlockCodec(header, model.vae).encode(0, images, seed, on_step)
    return initial, net


def reconstructions(model: LatentVAE, images: NDArray[np.uint8], seed: int) -> NDArray[np.float64]:
    """E[x|z] for one z from q(z|x) of each of images (n, *shape): (n, *shape) between 0 and 1."""
    z = model.posterior(flat(images)).pop(Stack(len(images), seed=seed))
    return _mean(model.likelihood(z)).reshape(images.shape)


def samples(model: LatentVAE, number: int, seed: int) -> NDArray[np.float64]:
    """E[x|z] for z from the prior: (number, *shape) between 0 and 1."""
    z = model.prior(number).pop(Stack(number, seed=seed))
    return _mean(model.likelihood(z)).reshape(number, *model.vae.shape)


def noise_entropy(grey: NDArray[np.uint8], levels: int) -> float:
    """Entropy of drawing each pixel as 1 with probability grey / levels, bits/dim: no code of the result is less."""
    p = np.arange(1, levels) / levels
    entropies = np.zeros(levels + 1)
    entropies[1:-1] = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
    return float(np.bincount(grey.reshape(-1), minlength=levels + 1) @ entropies) / grey.size


def _mean(p_x: Distribution) -> NDArray[np.float64]:
    probabilities = np.diff(p_x.cdf().astype(np.float64)) / 2.0**p_x.precision
    mean: NDArray[np.float64] = probabilities @ (np.arange(p_x.num_symbols) / (p_x.num_symbols - 1))
    return mean
