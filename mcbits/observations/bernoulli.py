"""p(x|z) = prod_d Bernoulli(x_d; sigmoid(logit_d)): one logit per dimension, symbols 0 and 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcbits.distributions import Bernoulli


class BernoulliObservation:
    """Binary dimensions, independent given z; the decoder's outputs are their logits."""

    name = "bernoulli"
    num_symbols = 2
    frac_bits = 8

    def num_parameters(self, num_dims: int) -> int:
        """One logit per dimension."""
        return num_dims

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) in nats, float (...), for logits (..., D) and x in {0, 1} broadcastable to (..., D)."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        x = x.expand_as(parameters)
        return -binary_cross_entropy_with_logits(parameters, x, reduction="none").sum(-1)

    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Bernoulli:
        """The discretised p(x|z) of logits (..., D) in units of 2^-frac_bits, `precision` bits."""
        from mcbits.distributions import Bernoulli

        return Bernoulli(parameters_int, precision)
