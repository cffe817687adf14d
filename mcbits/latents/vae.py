"""A frozen VAE computes prior, posterior and likelihood from integers, with the same bits on every platform."""

from collections.abc import Iterator
from copy import copy
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.distributions import GaussianBuckets, uniform
from mcbits.distributions.gaussian import LOG_SCALE_FRAC, MEAN_FRAC, equal_mass_centres
from mcbits.distributions.uniform import Uniform
from mcbits.latents.base import LatentModel, Likelihood
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.refinement import Refiner


class FrozenVAE(FrozenModel):
    """A frozen model with a standard normal prior, a Gaussian posterior and any registered observation model."""

    name = "VAE"

    def read(self, meta: dict[str, Any]) -> bool:
        self.encoder, self.decoder = self.networks["encoder"], self.networks["decoder"]
        dims, self.latent_dim = prod(self.shape), self.decoder.inputs[0].size
        return self._encoder_fits(dims) and [(prod(o.shape), o.frac) for o in self.decoder.outputs] == [
            (self.observation.num_parameters(dims), self.observation.frac_bits)
        ]

    def _encoder_fits(self, dims: int) -> bool:
        return (
            len(self.encoder.inputs) == len(self.decoder.inputs) == 1
            and self.encoder.inputs[0].size == dims
            and [(prod(o.shape), o.frac) for o in self.encoder.outputs]
            == [(self.latent_dim, MEAN_FRAC), (self.latent_dim, LOG_SCALE_FRAC)]
        )

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> "LatentVAE":
        return LatentVAE(self, precisions.of(self.observation), refinement)


class LatentVAE(LatentModel):
    """The LatentModel of a FrozenVAE at given precisions."""

    def __init__(self, vae: FrozenVAE, precisions: Precisions, refinement: Refinement | None = None):
        self.vae, self.precisions = vae, precisions
        self._refiner = Refiner(vae.decoder, vae.latent_dim, vae.observation, refinement) if refinement else None
        self.index_precision = precisions.index_mprec
        self._known: tuple[NDArray[Any], GaussianBuckets] | None = None
        self._centres = equal_mass_centres(1 << precisions.log_num_bucket)

    def prior(self, lanes: int) -> Uniform:
        """Return p(z), uniform over buckets of equal prior mass, (lanes, latent_dim)."""
        return uniform(1 << self.precisions.log_num_bucket, (lanes, self.vae.latent_dim), self.precisions.prior_mprec)

    def posterior(self, x: NDArray[np.integer]) -> GaussianBuckets:
        """Return q(z|x) for x (lanes, dims), shape (lanes, latent_dim)."""
        if self._known and x is self._known[0]:
            return self._known[1]
        return self._gaussian(*self._posterior_parameters(x))

    def steps(self, x: NDArray[Any], lanes: int) -> Iterator[tuple[NDArray[Any], LatentModel]]:
        """Yield steps as `LatentModel.steps` does, but run the encoder network only once, over all x (n, dims)."""
        q = self.posterior(x)
        for first in range(0, len(x), lanes):
            part = x[first : first + lanes]
            step = copy(self)
            step._known = part, q.rows(first, first + len(part))
            yield part, step

    def likelihood(self, z: NDArray[np.integer]) -> Likelihood:
        """Return p(x|z) for z (lanes, latent_dim) or (lanes, particles, latent_dim), with one run of the network."""
        rows = self._centres.take(z.reshape(-1, *self.vae.decoder.inputs[0].shape))
        (parameters,) = self.vae.decoder.run(rows)
        parameters = parameters.reshape(*z.shape[:-1], -1)
        return self.vae.observation.distribution(parameters, self.precisions.cond_mprec)

    def _posterior_parameters(self, x: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        images = x.reshape(len(x), *self.vae.encoder.inputs[0].shape)
        mean, log_scale = (each.reshape(len(x), -1) for each in self.vae.encoder.run(images))
        return self._refiner(x, mean, log_scale) if self._refiner else (mean, log_scale)

    def _gaussian(self, mean: NDArray[np.int32], log_scale: NDArray[np.int32]) -> GaussianBuckets:
        return GaussianBuckets(mean, log_scale, self.precisions.log_num_bucket, self.precisions.prop_mprec, leaky=False)
