"""The ELBO is E_q[log w]; more particles only reduce the noise of its estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:
    from torch import Tensor


class ELBO(Bound):
    """The evidence lower bound (Kingma & Welling 2014); its negative is the ideal rate of bits-back coding.

    >>> import numpy as np
    >>> ELBO().reduce(np.array([[0.5, 1.5]]))  # one image, log weights of two particles
    array([1.])
    """

    name = "elbo"

    def reduce(self, log_w: Tensor) -> Tensor:
        return log_w.mean(1)
