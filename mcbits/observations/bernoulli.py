"""The Bernoulli observation model is p(x|z) = prod_d Bernoulli(x_d; sigmoid(logit_d)), with symbols 0 and 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mcbits.observations.base import ObservationModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcbits.core.mixture import Family
    from mcbits.distributions import Bernoulli


@dataclass(frozen=True)
class BernoulliObservation(ObservationModel):
    """An observation model of binary dimensions that are independent given z; the decoder's outputs are the logits."""

    name: ClassVar[str] = "bernoulli"

    @property
    def num_symbols(self) -> int:
        return 2

    def family(self) -> Family:
        """Return the distribution of a pixel that sees its neighbours. Its logit is to base 2."""
        from mcbits.core.mixture import Family

        return Family("bernoulli", 2)

    def num_parameters(self, num_dims: int) -> int:
        """Return the number of decoder outputs for an x of `num_dims` dimensions: one logit for each."""
        return num_dims

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, float (...), for logits (..., D) and x in {0, 1} broadcastable to (..., D)."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        x = x.expand_as(parameters)
        return -binary_cross_entropy_with_logits(parameters, x, reduction="none").sum(-1)

    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Bernoulli:
        """Return the discretised p(x|z) with `precision` bits, for logits (..., D) in units of 2^-frac_bits."""
        from mcbits.distributions import Bernoulli

        return Bernoulli(parameters_int, precision)
