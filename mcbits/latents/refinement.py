"""A decoder that knows x refines q(z|x) to the same bits as the encoder, because no operation here may round freely.

Products are exact (see `mcbits.exact.gradient`). Everything else is elementwise IEEE 754 (+ - * / sqrt) or
`mcbits.core.numerics`. The noise depends only on the step and the dimension. So the result does not depend on
batch, threads, BLAS or backend.
Semi-amortised inference: Kim et al. 2018; in bits-back coding: Ruan et al. 2021.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from mcbits.core import numerics
from mcbits.distributions import Bernoulli
from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC
from mcbits.errors import UsageError
from mcbits.exact.backends import backend
from mcbits.exact.gradient import Gradient
from mcbits.exact.network import FrozenNetwork
from mcbits.latents.options import Refinement
from mcbits.observations.base import ObservationModel

MAX_NOISE = 1 << 24
"""Most steps times latent dimensions, since the noise is held in memory."""

_SCORE_FRAC = 12
_LOGIT_LIMIT = 4096
_PARAMETER_LIMIT = 8.0
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Refiner:
    """A function that maps x and the encoder network's parameters of q(z|x) to better parameters, image by image.

    Raises UsageError unless p(x|z) is Bernoulli, the decoder network is an MLP whose layers `Gradient` knows, and
    the noise fits in memory.
    """

    def __init__(self, decoder: FrozenNetwork, latent_dim: int, observation: ObservationModel, refinement: Refinement):
        parameters = prod(decoder.outputs[0].shape)
        if refinement.steps * latent_dim > MAX_NOISE:
            raise UsageError(
                f"{refinement.steps} steps are too many for {latent_dim} latents: "
                f"steps times latents must be at most {MAX_NOISE}"
            )
        if not isinstance(observation.distribution(np.zeros((1, parameters), np.int32), 16), Bernoulli):
            raise UsageError(
                f"iterative inference is for binary images, not observation model {observation.name}: turn it off"
            )
        self._gradient = Gradient(decoder, 1 << _SCORE_FRAC, "decoder")
        self._lr = refinement.lr
        self._rows = max(1, backend(decoder.backend_name).elements // (2 * parameters))
        # Raw words of a counter-based generator, as 52-bit numbers between 0 and 1. numpy guarantees that raw words
        # never change.
        words = np.random.Philox(key=0).random_raw(refinement.steps * latent_dim)
        self._noise = numerics.ndtri_array(((words >> 12) + 0.5) * 2.0**-52).reshape(refinement.steps, -1)
        logits = np.arange(-_LOGIT_LIMIT, _LOGIT_LIMIT) * 2.0**-observation.frac_bits
        self._sigmoid = np.rint(2.0**_SCORE_FRAC / (1.0 + numerics.exp_array(-logits)))

    def __call__(
        self, x: NDArray[np.integer], mean: NDArray[np.int32], log_scale: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the refined mean and log_scale, int32 (n, latent_dim).

        x: (n, dims). mean and log_scale: (n, latent_dim). All four are in the units of `GaussianBuckets`.
        """
        better = np.empty_like(mean), np.empty_like(log_scale)
        for first in range(0, len(x), self._rows):
            rows = slice(first, first + self._rows)
            for out, part in zip(better, self._refined(x[rows], mean[rows], log_scale[rows]), strict=True):
                out[rows] = part
        return better

    def _refined(
        self, x: NDArray[np.integer], mean: NDArray[np.int32], log_scale: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ones, dims = x * np.float64(2.0**_SCORE_FRAC), mean.shape[1]
        phi = _clipped(np.concatenate([mean * 2.0**-MEAN_FRAC, log_scale * 2.0**-LOG_SCALE_FRAC], axis=1))
        first, second, rest1, rest2 = np.zeros_like(phi), np.zeros_like(phi), 1.0, 1.0
        for noise in self._noise:
            mu, sigma = phi[:, :dims], numerics.exp_array(phi[:, dims:])
            step = sigma * noise
            # An antithetic pair of reparameterised samples; the KL divergence from the prior is analytic.
            up, down = self._likelihood_gradient(ones, np.stack([mu + step, mu - step]))
            g = np.concatenate([0.5 * (up + down) - mu, 0.5 * (up - down) * step + 1.0 - sigma * sigma], axis=1)
            # Adam (Kingma & Ba 2015). The powers of beta are products, since IEEE 754 does not fix how pow rounds.
            rest1, rest2 = rest1 * _BETA1, rest2 * _BETA2
            first = _BETA1 * first + (1.0 - _BETA1) * g
            second = _BETA2 * second + (1.0 - _BETA2) * (g * g)
            phi = _clipped(phi + self._lr * (first / (1.0 - rest1)) / (np.sqrt(second / (1.0 - rest2)) + _EPSILON))
        return np.rint(phi[:, :dims] * 2.0**MEAN_FRAC), np.rint(phi[:, dims:] * 2.0**LOG_SCALE_FRAC)

    def _likelihood_gradient(self, ones: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
        # d log p(x|z) / dz in nats, for x as multiples of 2^_SCORE_FRAC (n, dims) and z (2, n, latent_dim).
        rows = np.clip(np.rint(z * 2.0**CENTRE_FRAC), -4 << CENTRE_FRAC, 4 << CENTRE_FRAC).astype(np.float32)
        ran = self._gradient.run(rows.reshape(-1, rows.shape[-1]))
        index = np.clip(ran[0], -_LOGIT_LIMIT, _LOGIT_LIMIT - 1) + _LOGIT_LIMIT
        score = ones - self._sigmoid.take(index).reshape(2, *ones.shape)
        return self._gradient.pull(score.reshape(len(index), -1), ran).reshape(z.shape) * 2.0**-_SCORE_FRAC


def _clipped(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(phi, -_PARAMETER_LIMIT, _PARAMETER_LIMIT)
