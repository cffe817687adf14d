"""IWAE: E[log (1/N) sum_i w_i], independent z_i ~ q: from the ELBO (N = 1) to log p(x) (N -> infinity)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mcbits.bounds.base import Bound

if TYPE_CHECKING:
    from torch import Tensor


class IWAE(Bound):
    """Importance-weighted bound (Burda et al. 2016, eq. 8), the ideal rate of BB-IS (Ruan et al. 2021)."""

    name = "iwae"

    def reduce(self, log_w: Tensor) -> Tensor:
        if log_w.shape[1] == 1:  # the ELBO, to the bit, without ten small operations on the way to it and back
            return log_w.squeeze(1)
        return log_w.logsumexp(1) - math.log(log_w.shape[1])
