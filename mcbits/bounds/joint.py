"""Joint: E_q[log p(x, z)], what a coder pays that sends z and gets no bits back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.models.base import Model


class Joint(Bound):
    """Expected joint log-likelihood under q, the ideal rate of StochasticCoder; the mean over N particles."""

    name = "joint"

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        log_joint, _ = model.particles(x, num_particles)
        return log_joint.mean(1)
