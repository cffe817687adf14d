"""The stochastic coder sends a sample of the posterior and pays for it in full: it gets no bits back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.simple import SimpleCoder
from mcbits.distributions import Distribution


@dataclass(frozen=True)
class StochasticCoder(SimpleCoder):
    """A coder that uses -log2 p(x, z) bits for an x, with z ~ q(z|x) from noise that the decoder need not know."""

    name: ClassVar[str] = "StochasticCoder"
    short: ClassVar[str] = "stochastic"

    def choose(self, q: Distribution, stack: Stack) -> NDArray[np.int32]:
        return q.pop(stack.noise())
