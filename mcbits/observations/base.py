"""An observation model reads p(x|z) off a decoder's outputs: densities to train, frequencies to code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mcbits.errors import UsageError
from mcbits.plugins.options import Options, declared
from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mcbits.distributions import Distribution


@dataclass(frozen=True)
class ObservationModel(Options, ABC):
    """What a model's `observation` is, built in or from a plugin; its file imports no torch at the top.

    A subclass is a frozen dataclass. Its fields that are made with `option` are its options, and a frozen model file
    stores them beside its name.
    name: what the file calls it. frac_bits: fixed-point fractional bits of the parameters that it wants from the frozen
    decoder.
    """

    name: ClassVar[str]
    frac_bits: ClassVar[int] = 8

    @property
    @abstractmethod
    def num_symbols(self) -> int:
        """K, where symbols are 0..K-1."""

    @property
    def precision(self) -> int:
        """The precision of p(x|z), in bits, at which the leak of K symbols costs next to nothing."""
        return 16

    @abstractmethod
    def num_parameters(self, num_dims: int) -> int:
        """Return how many decoder outputs describe an x of `num_dims` dimensions."""

    @abstractmethod
    def log_prob(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Return log p(x|z) in nats, summed over the dimensions of x.

        parameters: float (..., num_parameters); x: float (..., num_dims) of symbols, leading axes
        broadcastable to those of parameters. Returns float (...).
        """

    @abstractmethod
    def distribution(self, parameters_int: NDArray[np.int32], precision: int) -> Distribution:
        """Return the discretised p(x|z) of symbols (..., num_dims).

        parameters_int: (lanes, num_parameters), or (lanes, particles, num_parameters) where the distribution has its
        method `particle` (see `mcbits.distributions.Particles`), in units of 2^-frac_bits; precision: bits of the
        frequencies.
        """


def find_observation(name: str) -> type[ObservationModel]:
    """Return the registered observation model class of that name; errors as for `Registry.find`."""
    found: type[ObservationModel] = registry().find("observation", name)
    return found


def make_observation(name: str, options: dict[str, Any]) -> ObservationModel:
    """Return the registered observation model of that name with these options; UsageError for one that it has not."""
    cls = find_observation(name)
    if unknown := sorted(set(options) - set(declared(cls))):
        raise UsageError(f"observation model {name} has no option {unknown[0]}: it has {', '.join(declared(cls))}")
    return cls(**options)
