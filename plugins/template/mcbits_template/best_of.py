"""The coder best-of sends the best of N posterior samples for -max_i log2 p(x, z_i) bits, without initial bits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.base import Coder, Stack, option
from mcbits.latents.base import LatentModel

Ints = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BestOfCoder(Coder):
    """A StochasticCoder that draws N latents and sends the one with the largest p(x, z). It gets no bits back."""

    name = "BestOfCoder"
    short = "best-of"
    bound = "best-joint"

    num_particles: int = option(8, help="latents N to choose from", minimum=1)

    def encode(self, stack: Stack, x: Ints, model: LatentModel) -> Ints:
        z = model.posterior(x).expand(self.num_particles).pop(stack.noise())
        p = model.joint(z)
        bits = p.total_codelength(x)
        j = bits.argmin(axis=1)
        p.particle(j).push(stack, x)
        paid: Ints = bits[np.arange(len(x)), j]
        return paid

    def decode(self, stack: Stack, model: LatentModel) -> Ints:
        _, x = model.pop(stack)
        return x

    def expected_codelength(self, z: Ints, log_joint: Floats, log_q: Floats) -> Floats:
        # Sort the z by cost. The cost rises from the k-th to the next z if none of the N is among the k cheapest.
        order = (-log_joint).argsort(axis=1)
        bits, q = (np.take_along_axis(each, order, axis=1) for each in (-log_joint, np.exp2(log_q)))
        none_cheaper = (1 - q.cumsum(axis=1)[:, :-1]).clip(min=0) ** self.num_particles
        mean: Floats = bits[:, 0] + (none_cheaper * np.diff(bits, axis=1)).sum(axis=1)
        return mean
