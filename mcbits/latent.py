"""What a coder sees of a network: three discretised distributions, the same bits for the encoder and the decoder."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mcbits.distributions import Distribution


class LatentModel(Protocol):
    """p(z), p(x|z) and q(z|x) of a latent-variable model (Ruan et al. 2021, section 2).

    Symbols are integers: x (lanes, dims of x) and z (lanes, dims of z), or z (lanes, particles, dims of z).
    """

    index_precision: int
    """Bits of precision for the choice of a particle."""

    def prior(self, lanes: int) -> Distribution:
        """p(z), shape (lanes, dims of z)."""

    def posterior(self, x: NDArray[np.integer]) -> Any:
        """The proposal q(z|x), shape (lanes, dims of z), a `Repeatable` distribution."""

    def likelihood(self, z: NDArray[np.integer]) -> Any:
        """p(x|z), shape (lanes, dims of x), or (lanes, particles, dims of x) with a method `particle(j)` that picks
        one."""
