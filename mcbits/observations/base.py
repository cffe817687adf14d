"""An observation model reads p(x|z) off a decoder's outputs: densities to train, frequencies to code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcbits.distributions import Distribution


class ObservationModel(Protocol):
    """What a model's `observation` offers, built in or from a plugin; its file imports no torch at the top.

    name: what the frozen model file calls it; num_symbols: K, where symbols are 0..K-1; frac_bits:
    fixed-point fractional bits of the parameters that it wants from the frozen decoder.
    """

    name: str
    num_symbols: int
    frac_bits: int

    def num_parameters(self, num_dims: int) -> int:
        """How many decoder outputs describe an x of `num_dims` dimensions."""
        ...

    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """log p(x|z) in nats, summed over the dimensions of x.

        parameters: float (..., num_parameters); x: float (..., num_dims) of symbols, leading axes
        broadcastable to those of parameters. Returns float (...).
        """
        ...

    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Distribution:
        """The discretised p(x|z) of symbols (..., num_dims).

        parameters_int: (lanes, num_parameters), or (lanes, particles, num_parameters) where the distribution has its
        method `particle` (see `mcbits.distributions.Particles`), in units of 2^-frac_bits; precision: bits of the
        frequencies.
        """
        ...


def find_observation(name: str) -> type[ObservationModel]:
    """Return the registered observation model class of that name; errors as for `Registry.find`."""
    found: type[ObservationModel] = registry().find("observation", name)
    return found
