"""The bound best-joint is E max_i log p(x, z_i), z_i ~ q; its negative is the mean rate of BestOfCoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:  # a bound needs no torch to be looked up
    from torch import Tensor

    from mcbits.models.base import Model


class BestJoint(Bound):
    """The value of log p(x, z) at the best of N posterior samples, in nats, (B,).

    For the buckets of a coder it is a loose lower bound on log p(x).
    """

    name = "best-joint"

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.amax(1)
