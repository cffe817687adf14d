"""A coder is a fixed set of options with an `encode` and a `decode` that undo each other on the stack, bit for bit."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import log2_mean
from mcbits.distributions.base import Repeatable
from mcbits.errors import UsageError
from mcbits.latents.base import Joint, LatentModel
from mcbits.plugins.options import Options, declared, option
from mcbits.plugins.registry import nearest_name, registry

__all__ = ["Coder", "Stack", "log2_mean", "log_weights", "option"]


def log_weights(q: Repeatable, p: Joint, z: NDArray[np.int32], x: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return log2 w_i = log2 p(x, z_i) / q(z_i|x), (lanes, N), in units of 2^-16 bits.

    z: (lanes, N, dims of z). p: the Joint at these z. x: (lanes, dims of x).
    The weights come from the codelengths of the discretised distributions. These are integers, so encoder and decoder
    compute the same weights.
    """
    return q.expand(z.shape[1]).total_codelength(z) - p.total_codelength(x)


@dataclass(frozen=True)
class Coder(Options, ABC):
    """A coder of one x in each lane under a LatentModel.

    A subclass is a frozen dataclass. Its fields that are made with `option` are the options of the coder.
    name, short: the long and the short name on the command line.
    """

    name: ClassVar[str]
    short: ClassVar[str]
    bound: ClassVar[str]
    """The name of the bound on log p(x). The ideal rate of the coder is the negative of this bound."""

    ramped: ClassVar[bool] = False
    """Whether the initial bits grow with the option `num_particles`. Then a message should begin with few particles."""

    @property
    def num_particles(self) -> int:
        """N, the number of particles z_i for each image: 1 unless the coder has an option of this name."""
        return 1

    def with_particles(self, num_particles: int) -> Self:
        """Return the same coder with N = num_particles, or itself if it has no such option."""
        if "num_particles" not in declared(type(self)):
            return self
        return replace(self, num_particles=num_particles)  # type: ignore[call-arg]

    @abstractmethod
    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        """Push x (lanes, dims) and return its ideal codelengths (lanes,), in units of 2^-16 bits.

        The ideal codelength is the negative of the coder's bound, for the particles that were drawn.
        """

    @abstractmethod
    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        """Pop and return x (lanes, dims). The stack is then as it was before `encode`."""

    def expected_codelength(
        self, z: NDArray[np.integer], log_joint: NDArray[np.float64], log_q: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return the exact mean of what `encode` returns, in bits, (U,) for U different x. None if it is not known.

        This needs a model whose z can all be listed.
        z: all of them, (Z, dims). log_joint: log2 p(x, z). log_q: log2 q(z|x). Both are (U, Z).
        """
        return None


def find_coder(name: str) -> type[Coder]:
    """Return the registered coder class of that name or short form; errors as for `Registry.find`."""
    found: type[Coder] = registry().find("coder", name)
    return found


def make_coder(name: str, options: dict[str, Any]) -> Coder:
    """Return the registered coder of that name with these options; UsageError for one that it does not have."""
    if not isinstance(name, str):
        raise UsageError(f"a coder is given by its name, not {name!r}")
    cls = find_coder(name)
    known = declared(cls)
    for key in options:
        if key not in known:
            raise unknown_option(key, known, cls.short)
    return cls(**options)


def unknown_option(name: str, known: Iterable[str], owner: str) -> UsageError:
    """Return the error for an option that `owner`, the short name of a coder, does not have."""
    known = list(known)
    nearest = nearest_name(name, known)
    hint = f"did you mean {nearest}?" if nearest else f"it has {', '.join(known) or 'none'}"
    return UsageError(f"{owner} has no option {name}: {hint}")
