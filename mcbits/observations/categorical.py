"""The categorical observation model is p(x_d = k) proportional to 2^logit_k: symbols without an order, as palettes'."""

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


@dataclass(frozen=True)
class CategoricalObservation(ObservationModel):
    """An observation model of K symbols. Parameters (..., K, dims) are logits to base 2."""

    name: ClassVar[str] = "categorical"

    symbols: int = option(256, help="number of symbols K", minimum=2, maximum=256)

    @property
    def num_symbols(self) -> int:
        return self.symbols

    @property
    def precision(self) -> int:
        return (self.symbols - 1).bit_length() + 14

    def family(self) -> Family:
        """Return the distributions of one dimension, as they are computed for coding."""
        return Family("categorical", self.symbols)

    def num_parameters(self, num_dims: int) -> int:
        return self.symbols * num_dims

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        import torch

        log_p = torch.log_softmax(parameters.unflatten(-1, (self.symbols, -1)) * 0.6931471805599453, dim=-2)
        x = x.long().unsqueeze(-2)
        shape = torch.broadcast_shapes(log_p.shape[:-2], x.shape[:-2])
        leak = 2.0**-self.precision
        p = log_p.expand(*shape, *log_p.shape[-2:]).gather(-2, x.expand(*shape, *x.shape[-2:])).squeeze(-2).exp()
        return torch.log(p * (1 - self.symbols * leak) + leak).sum(-1)

    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Distribution:
        from mcbits.distributions.family import family_distribution

        return family_distribution(self.family(), parameters_int, 0, precision)
