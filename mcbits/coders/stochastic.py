"""Pays for the latents in full, at a sample of the posterior: bits-back coding without getting the bits back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.latent import LatentModel


@dataclass(frozen=True)
class StochasticCoder(Coder):
    """-log2 p(x, z) bits with z ~ q(z|x), drawn from noise that the decoder need not know."""

    name: ClassVar[str] = "StochasticCoder"
    short: ClassVar[str] = "stochastic"
    bound: ClassVar[str] = "joint"

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        z = model.posterior(x).pop(stack.noise())
        p_z, p_x = model.prior(len(x)), model.likelihood(z)
        p_x.push(stack, x)
        p_z.push(stack, z)
        return p_x.total_codelength(x) + p_z.total_codelength(z)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        z = model.prior(stack.lanes).pop(stack)
        return model.likelihood(z).pop(stack)
