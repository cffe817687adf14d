"""A frozen model with few bits codes almost as well: each weight is as coarse as pays for what is to be coded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcbits.errors import UsageError
from mcbits.exact.rounding import rounded, run_float, sensitivities
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.pixels import FrozenPixels
from mcbits.models.base import Model
from mcbits.models.heads import expected_gradient
from mcbits.models.pixels import PixelModel
from mcbits.models.vae import VAE
from mcbits.observations.base import ObservationModel
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.observations.categorical import CategoricalObservation

SAMPLE = 1 << 14
"""Pixels, or images, that tell how much each weight is felt."""


def fewer_bits(model: Model, images: Any, count: float | None = None, *, seed: int = 42) -> FrozenModel:
    """Return the frozen model with fewer bits, as a packed file.

    images: some of those that it is for, as it is trained on them. count: how many images it will code, by default
    those given. Rounding a weight costs as much for all of these as the bits left of it would: more images, more bits.
    Raises UsageError if the model is neither a PixelModel nor a VAE, ModelError if it has layers other than linear.
    """
    if isinstance(model, PixelModel):
        return fewer_bits_of_pixels(model, images, count)
    if type(model).freeze is VAE.freeze:
        assert isinstance(model, VAE)
        return _vae(model, np.asarray(images), count, np.random.default_rng(seed))
    raise UsageError(f"expected a PixelModel or a VAE, got a {type(model).__name__}: freeze it as it is")


def fewer_bits_of_pixels(model: PixelModel, images: Any, count: float | None = None) -> FrozenPixels:
    """Return what `fewer_bits` returns."""
    contexts = model.training_set(images, None, torch.device("cpu")).contexts()  # type: ignore[attr-defined]
    pixels = contexts.num_pixels * (1.0 if count is None else count / contexts.num_images)
    frozen = model.freeze()
    networks = {}
    for c, (x, gradient) in enumerate(model.head.felt(contexts.take(contexts.spread(SAMPLE)))):
        network = frozen.networks[f"head{c}"]
        networks[f"head{c}"] = rounded(network, sensitivities(network, run_float(network, x), [gradient]), pixels)
    return frozen.with_networks(networks)


def _vae(model: VAE, images: NDArray[Any], count: float | None, generator: np.random.Generator) -> FrozenModel:
    count = len(images) if count is None else count
    x = images.reshape(len(images), -1)[generator.permutation(len(images))[:SAMPLE]]
    frozen = model.freeze()
    encoder, decoder = frozen.networks["encoder"], frozen.networks["decoder"]
    read = run_float(encoder, x)
    mean, log_scale = (read[output.value] * 2.0 ** -encoder.values[output.value].frac for output in encoder.outputs)
    scale = np.exp(np.clip(log_scale, -8, 8))
    z = mean + scale * generator.standard_normal(mean.shape)
    (z_input,) = decoder.inputs
    decoded = run_float(decoder, np.rint(z * 2.0**z_input.frac).clip(-z_input.bound, z_input.bound).astype(np.int32))
    (output,) = decoder.outputs
    parameters = torch.from_numpy(decoded[output.value] * 2.0 ** -decoder.values[output.value].frac)
    gradient = _gradient(model.observation, parameters, torch.from_numpy(x.astype(np.float64))).numpy()
    # Moving the mean of q by d, and its log scale by e, costs d^2 / (2 scale^2) + e^2 nats.
    noise = generator.standard_normal((2, *mean.shape))
    networks = {
        "encoder": rounded(encoder, sensitivities(encoder, read, [noise[0] / scale, noise[1] * math.sqrt(2)]), count),
        "decoder": rounded(decoder, sensitivities(decoder, decoded, [gradient]), count),
    }
    return frozen.with_networks(networks)


def _gradient(observation: ObservationModel, parameters: Tensor, x: Tensor) -> Tensor:
    """Return gradients of -log p(x|z) by the parameters, both (n, ...), whose covariance is its curvature."""
    if isinstance(observation, BernoulliObservation):
        return expected_gradient(parameters, False, 1)
    if isinstance(observation, CategoricalObservation):
        by_symbol = parameters.unflatten(1, (observation.num_symbols, -1))
        return expected_gradient(by_symbol, True, 1).flatten(1)
    parameters = parameters.requires_grad_()
    (gradient,) = torch.autograd.grad(-observation.log_prob(parameters, x).sum(), parameters)
    return gradient
