"""E max_i log p(x, z_i), z_i ~ q: minus what BestOfCoder's rate is on average."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:  # a bound needs no torch to be looked up
    from torch import Tensor

    from mcbits.models.base import Model


class BestJoint(Bound):
    """log p(x, z) at the best of N posterior samples: no bound on log p(x) from above, and loose from below."""

    name = "best-joint"

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.amax(1)
