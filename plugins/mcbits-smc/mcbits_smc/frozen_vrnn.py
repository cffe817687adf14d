"""A frozen VRNN computes prior, posterior, likelihood and state of each frame from integers, the same everywhere."""

from copy import copy
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.distributions import GaussianBuckets, uniform
from mcbits.distributions.gaussian import LOG_SCALE_FRAC, MEAN_FRAC, equal_mass_centres
from mcbits.distributions.uniform import Uniform
from mcbits.errors import UsageError
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.latents.sequences import SequenceLatents


class FrozenVRNN(FrozenModel):
    """A frozen model of three networks, with z = mean(h) + scale(h) e:

    `proposal`: (h, x) -> mean and log scale of q(e|x, h);
    `decoder`: (h, e) -> parameters of p(x|z, h);
    `transition`: (x, e, h, c) -> (h, c) of the next frame.
    """

    name = "VRNN"
    sequences = True

    def read(self, meta: dict[str, Any]) -> bool:
        self.proposal, self.decoder, self.transition = (
            self.networks[each] for each in ("proposal", "decoder", "transition")
        )
        h, e = self.decoder.inputs
        x, _, _, c = self.transition.inputs
        self.latent_dim, self.hidden, dims = e.size, h.size, prod(self.shape[1:])
        return (
            len(self.shape) > 1
            and x.shape == (dims,)
            and self.proposal.inputs == (h, x)
            and self.transition.inputs == (x, e, h, c)
            and [(o.shape, o.frac) for o in self.transition.outputs] == [(v.shape, v.frac) for v in (h, c)]
            and [(o.shape, o.frac) for o in self.proposal.outputs] == [(e.shape, MEAN_FRAC), (e.shape, LOG_SCALE_FRAC)]
            and [(prod(o.shape), o.frac) for o in self.decoder.outputs]
            == [(self.observation.num_parameters(dims), self.observation.frac_bits)]
        )

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> LatentModel:
        if refinement is not None:
            raise UsageError("iterative inference is for single images, not for sequences: turn it off")
        return SequenceLatents(LatentVRNN(self, precisions.of(self.observation)))


class LatentVRNN:
    """The SequenceModel of a FrozenVRNN at given precisions; a state is h and c, (rows, 2 * hidden).

    It codes e_t = (z_t - mean(h_t)) / scale(h_t) in buckets of equal mass under the standard normal. In terms of z_t,
    these are buckets of equal mass under the learned prior p(z_t|h_t). So the prior gives every bucket the same count,
    and no bucket has count 0.
    """

    def __init__(self, vrnn: FrozenVRNN, precisions: Precisions):
        self.vrnn, self.precisions = vrnn, precisions
        self.index_precision = precisions.index_mprec
        self.num_frames = vrnn.shape[0]
        self._centres = equal_mass_centres(1 << precisions.log_num_bucket)

    def of_length(self, num_frames: int) -> "LatentVRNN":
        """Return the same model for a sequence of `num_frames` frames."""
        model = copy(self)
        model.num_frames = num_frames
        return model

    def start(self, rows: int) -> NDArray[np.int32]:
        return np.zeros((rows, 2 * self.vrnn.hidden), np.int32)

    def prior(self, state: NDArray[np.integer]) -> Uniform:
        size = 1 << self.precisions.log_num_bucket
        return uniform(size, (len(state), self.vrnn.latent_dim), self.precisions.prior_mprec)

    def posterior(self, state: NDArray[np.integer], x_t: NDArray[np.integer]) -> GaussianBuckets:
        h, _ = np.split(state, 2, axis=1)
        mean, log_scale = self.vrnn.proposal.run(h, x_t)
        return GaussianBuckets(mean, log_scale, self.precisions.log_num_bucket, self.precisions.prop_mprec, leaky=False)

    def likelihood(self, state: NDArray[np.integer], z_t: NDArray[np.integer]) -> Any:
        h, _ = np.split(state, 2, axis=1)
        (parameters,) = self.vrnn.decoder.run(h, self._centres.take(z_t))
        return self.vrnn.observation.distribution(parameters.reshape(len(z_t), -1), self.precisions.cond_mprec)

    def advance(
        self, state: NDArray[np.integer], x_t: NDArray[np.integer], z_t: NDArray[np.integer]
    ) -> NDArray[np.int32]:
        h, c = np.split(state, 2, axis=1)
        return np.concatenate(self.vrnn.transition.run(x_t, self._centres.take(z_t), h, c), axis=1)
