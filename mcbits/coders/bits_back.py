"""Bits-back coding, BB-ELBO, pops the latents from the message itself, so the decoder gets those bits back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.latents.base import LatentModel


@dataclass(frozen=True)
class BitsBackCoder(Coder):
    """A coder that uses -log2 p(x, z) + log2 q(z|x) bits for an x: on average, the negative ELBO.

    Source: Townsend et al. 2019; Ruan et al. 2021, section 2.
    """

    name: ClassVar[str] = "BitsBackCoder"
    short: ClassVar[str] = "bb-elbo"
    bound: ClassVar[str] = "elbo"

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        q = model.posterior(x)
        z = q.pop(stack)
        p = model.joint(z)
        p.push(stack, x)
        return p.total_codelength(x) - q.total_codelength(z)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        z, x = model.pop(stack)
        model.posterior(x).push(stack, z)
        return x
