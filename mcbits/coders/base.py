"""A coder is a frozen set of options with an encode and a decode that undo each other on the stack, bit for bit."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import log2_mean
from mcbits.distributions.base import Repeatable
from mcbits.latents.base import Joint, LatentModel
from mcbits.latents.options import Options, declared, option

__all__ = ["Coder", "Stack", "log2_mean", "log_weights", "option"]


def log_weights(q: Repeatable, p: Joint, z: NDArray[np.int32], x: NDArray[np.int32]) -> NDArray[np.int64]:
    """log2 w_i = log2 p(x, z_i) / q(z_i|x) for z (lanes, N, dims), p at these z: (lanes, N), in units of 2^-16 bits.

    They are the codelengths of the discretised distributions, integers, so that encoder and decoder agree on them.
    """
    return q.expand(z.shape[1]).total_codelength(z) - p.total_codelength(x)


@dataclass(frozen=True)
class Coder(Options, ABC):
    """Codes one x a lane under a LatentModel. The dataclass fields of a subclass, made with `option`, are its
    options."""

    name: ClassVar[str]
    short: ClassVar[str]
    bound: ClassVar[str]
    """Name of the bound on log p(x) whose negative is the coder's ideal rate."""

    ramped: ClassVar[bool] = False
    """Whether initial bits grow with the option `num_particles`, so that a message had better begin with few."""

    @property
    def num_particles(self) -> int:
        """N, the draws of z an image: 1 unless the coder has an option of this name."""
        return 1

    def with_particles(self, num_particles: int) -> Self:
        """Return the same coder with N = num_particles, if it has that option."""
        if "num_particles" not in declared(type(self)):
            return self
        return replace(self, num_particles=num_particles)  # type: ignore[call-arg]

    @abstractmethod
    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        """Push x (lanes, dims) and return its ideal codelength (lanes,), minus the coder's bound, in units of 2^-16
        bits."""

    @abstractmethod
    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        """Pop x (lanes, dims) and leave the stack as it was before `encode`."""

    def expected_codelength(
        self, z: NDArray[np.integer], log_joint: NDArray[np.float64], log_q: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """The exact mean of what `encode` returns, in bits, where every z (Z, dims) can be listed: (U,) for U
        different x.

        `log_joint` is log2 p(x, z), `log_q` log2 q(z|x), both (U, Z). None, the default, where it is not known.
        """
        return None
