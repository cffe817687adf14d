"""Sending the best of N posterior samples costs -max_i log2 p(x, z_i) bits: none back, and none borrowed."""

from dataclasses import dataclass

import numpy as np

from mcbits.bounds.base import Bound
from mcbits.coders.base import Coder, option
from mcbits.plugins import hookimpl


@dataclass(frozen=True)
class BestOfCoder(Coder):
    """StochasticCoder with a choice: of N latents, pay for the one with which p(x, z) is largest."""

    name = "BestOfCoder"
    short = "best-of"
    bound = "best-joint"

    num_particles: int = option(8, help="latents to choose from", minimum=1)

    def encode(self, stack, x, model):
        N, lane = self.num_particles, np.arange(len(x))
        z = model.posterior(x).expand(N).pop(stack.noise())
        p_z, p_x = model.prior(len(x)), model.likelihood(z)
        bits = p_z.expand(N).total_codelength(z) + p_x.total_codelength(x)
        j = bits.argmin(axis=1)
        p_x.particle(j).push(stack, x)
        p_z.push(stack, z[lane, j])
        return bits[lane, j]

    def decode(self, stack, model):
        z = model.prior(stack.lanes).pop(stack)
        return model.likelihood(z).pop(stack)


class BestJoint(Bound):
    """E max_i log p(x, z_i), z_i ~ q: what BestOfCoder's rate is on average."""

    name = "best-joint"

    def __call__(self, model, x, num_particles):
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.amax(1)


@hookimpl
def mcbits_coders():
    return [BestOfCoder]


@hookimpl
def mcbits_bounds():
    return [BestJoint]
