"""A bound maps a model and a batch x (B, ...) to one differentiable number of nats per image, (B,).

It uses only the methods of tensors, so this package does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    from torch import Tensor

    from mcbits.coders.base import Coder
    from mcbits.models.base import Model


class Bound:
    """A lower bound on log p(x) that draws log w_1..log w_N and reduces them to one number.

    A bound of this form only needs `reduce`; any other bound overrides `__call__`.
    name: its name for `--bound`. aliases: other names for it. coupled: whether the particles share one uniform draw.
    """

    name: str
    aliases: tuple[str, ...] = ()
    coupled: bool = False

    @classmethod
    def of(cls, coder: Coder) -> Self:
        """Return the bound whose negative is the ideal rate of `coder`.

        A bound that has options besides N overrides this and takes them from the coder.
        """
        return cls()

    def __call__(self, model: Model, x: Tensor, num_particles: int) -> Tensor:
        """Return the bound's estimate in nats, (B,), for x float (B, prod(shape))."""
        return self.reduce(model.log_weights(x, num_particles, coupled=self.coupled))

    def reduce(self, log_w: Tensor) -> Tensor:
        """Return the bound (B,) from the log weights (B, N), all in nats."""
        raise NotImplementedError


def find_bound(name: str) -> type[Bound]:
    """Return the registered bound class of that name or alias; errors as for `Registry.find`."""
    found: type[Bound] = registry().find("bound", name)
    return found
