"""A bound maps a model and a batch x (B, ...) to one differentiable number of nats per image, (B,).

Tensor methods only: this package imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.coders.base import Coder
    from mcbits.models.base import Model


class Bound:
    """Draws log w_1..log w_N and reduces them; a bound of this form only writes `reduce`.

    name: what `--bound` calls it; aliases: other names for it; coupled: whether the particles share one
    uniform.
    """

    name: str
    aliases: tuple[str, ...] = ()
    coupled: bool = False

    @classmethod
    def of(cls, coder: Coder) -> Self:
        """The bound that this coder's ideal rate is minus of: one with options besides N takes them from the coder."""
        return cls()

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        """The bound's estimate in nats, (B,), for x float (B, prod(shape))."""
        return self.reduce(model.log_weights(x, num_particles, coupled=self.coupled))

    def reduce(self, log_w: Tensor) -> Tensor:
        """(B, N) log weights -> (B,), nats."""
        raise NotImplementedError
