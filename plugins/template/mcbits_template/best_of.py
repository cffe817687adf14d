"""The coder best-of sends the best of N posterior samples for -max_i log2 p(x, z_i) bits, without initial bits."""

from dataclasses import dataclass

import numpy as np

from mcbits.coders.base import Coder, option


@dataclass(frozen=True)
class BestOfCoder(Coder):
    """A StochasticCoder that draws N latents and sends the one with the largest p(x, z). It gets no bits back."""

    name = "BestOfCoder"
    short = "best-of"
    bound = "best-joint"

    num_particles: int = option(8, help="latents N to choose from", minimum=1)

    def encode(self, stack, x, model):
        z = model.posterior(x).expand(self.num_particles).pop(stack.noise())
        p = model.joint(z)
        bits = p.total_codelength(x)
        j = bits.argmin(axis=1)
        p.particle(j).push(stack, x)
        return bits[np.arange(len(x)), j]

    def decode(self, stack, model):
        _, x = model.pop(stack)
        return x

    def expected_codelength(self, z, log_joint, log_q):
        # Sort the z by cost. The cost rises from the k-th to the next z if none of the N is among the k cheapest.
        order = (-log_joint).argsort(axis=1)
        bits, q = (np.take_along_axis(each, order, axis=1) for each in (-log_joint, np.exp2(log_q)))
        none_cheaper = (1 - q.cumsum(axis=1)[:, :-1]).clip(min=0) ** self.num_particles
        return bits[:, 0] + (none_cheaper * np.diff(bits, axis=1)).sum(axis=1)
