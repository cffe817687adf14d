"""The joint bound is E_q[log p(x, z)]: minus the cost of sending z and x without getting bits back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.models.base import Model


class Joint(Bound):
    """The expected joint log-likelihood under q, estimated by the mean over N particles.

    Its negative is the ideal rate of StochasticCoder.
    """

    name = "joint"

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.mean(1)
