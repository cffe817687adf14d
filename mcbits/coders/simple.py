"""The simple coder sends the median of the posterior and pays for it in full: no initial bits and no bits back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.distributions import Distribution
from mcbits.latents.base import LatentModel


@dataclass(frozen=True)
class SimpleCoder(Coder):
    """A coder that uses -log2 p(x, z) bits for an x, where z is the median bucket of q(z|x)."""

    name: ClassVar[str] = "SimpleCoder"
    short: ClassVar[str] = "simple"
    bound: ClassVar[str] = "joint"

    def choose(self, q: Distribution, stack: Stack) -> NDArray[np.signedinteger]:
        """Return the z (lanes, dims) to send. The decoder pops it, so it need not repeat the choice."""
        return q.inverse(np.full(q.shape, 1 << q.precision - 1))

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        z = self.choose(model.posterior(x), stack)
        p = model.joint(z)
        p.push(stack, x)
        return p.total_codelength(x)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        _, x = model.pop(stack)
        return x
