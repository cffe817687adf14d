"""A mixture of logistics is p(x_d) = sum_m w_m (L((x_d + 1/2 - mean_m) / s_m) - L((x_d - 1/2 - mean_m) / s_m)).

L is the logistic function. The outer symbols have the tails (Salimans et al. 2017, PixelCNN++, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mcbits.core.mixture import Family
from mcbits.observations.base import ObservationModel
from mcbits.plugins.options import option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcbits.distributions import Distribution

SPARE_BITS = 14
"""A precision of so many bits more than a symbol has leaves the leak of all symbols at 2^-14 of the probability."""

LOG2_SCALES = (-6, 17)
"""Scales are kept between these powers of two, in symbols."""


@dataclass(frozen=True)
class LogisticMixture(ObservationModel):
    """An observation model of ordered symbols. There are 3 M parameters for each dimension.

    Parameters (..., 3 M, dims): M logits of the weights and M log-scales, both to base 2, and between them M means.
    Means and scales are in units of 2^unit symbols, and means are relative to the middle of the range.
    """

    name: ClassVar[str] = "logistic"

    symbols: int = option(256, help="number of symbols K", minimum=2, maximum=1 << 16)
    M: int = option(5, help="logistics of the mixture", minimum=1, maximum=8)
    unit: int = option(5, help="means and scales are in units of 2^unit symbols", minimum=0, maximum=16)

    @property
    def num_symbols(self) -> int:
        return self.symbols

    @property
    def precision(self) -> int:
        return min(30, (self.symbols - 1).bit_length() + SPARE_BITS)

    @property
    def middle(self) -> int:
        """What means are relative to where there is no prediction."""
        return self.symbols // 2

    def family(self) -> Family:
        """Return the distributions of one dimension, as they are computed for coding."""
        return Family("logistic", self.symbols, self.M, self.unit)

    def num_parameters(self, num_dims: int) -> int:
        return 3 * self.M * num_dims

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        shaped = parameters.unflatten(-1, (3 * self.M, -1))
        logits, means, log_scales = shaped.split(self.M, dim=-2)
        return self.log_prob_of(logits, means * 2.0**self.unit + self.middle, log_scales + self.unit, x).sum(-1)

    def log_prob_of(self, logits: Tensor, means: Tensor, log2_scales: Tensor, x: Tensor) -> Tensor:
        """Return log p(x) in nats, float (..., D), of x (..., D) under parameters (..., M, D) in symbols.

        logits and log2_scales are to base 2. The leak that each symbol has when it is coded is part of p.
        """
        import torch

        x = x.unsqueeze(-2)
        slope = torch.exp2(-log2_scales.clamp(*LOG2_SCALES))
        above = torch.sigmoid((x + 0.5 - means) * slope)
        below = torch.sigmoid((x - 0.5 - means) * slope)
        above = torch.where(x >= self.symbols - 1, torch.ones_like(above), above)
        below = torch.where(x <= 0, torch.zeros_like(below), below)
        weights = torch.softmax(logits * 0.6931471805599453, dim=-2)
        p = (weights * (above - below)).sum(-2)
        leak = 2.0**-self.precision
        return torch.log(p * (1 - self.symbols * leak) + leak)

    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Distribution:
        from mcbits.distributions.family import family_distribution

        return family_distribution(self.family(), parameters_int, self.middle, precision)
