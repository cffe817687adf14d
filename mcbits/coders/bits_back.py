"""Bits-back coding, BB-ELBO: the latents are popped from the message itself, so the decoder can give those bits
back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.latents.base import LatentModel


@dataclass(frozen=True)
class BitsBackCoder(Coder):
    """-log2 p(x, z) + log2 q(z|x) bits, the negative ELBO on average (Townsend et al. 2019; Ruan et al. 2021, section
    2)."""

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
