"""Annealed-importance-sampling bits-back, BB-AIS, pops the next state in each step and pushes the old one."""

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.base import Coder, Stack, option
from mcbits.distributions import uniform
from mcbits.distributions.coupling import integer_shifts
from mcbits.errors import UsageError
from mcbits.latents.base import LatentModel
from mcbits_ais.chains import Chain, Flips, MetropolisHastings, Tape
from mcbits_ais.schedules import SCHEDULES, inverse_temperatures

MAX_MOVES = 1 << 21
"""Most steps times latents for an image, since each takes about a hundred bytes of memory."""


@dataclass(frozen=True)
class AISBitsBackCoder(Coder):
    """A coder that uses -log2 p(x, z_T) + log2 q(z_0|x) + sum_k log2 T_k(z_k|z_{k-1}) / R_k(z_{k-1}|z_k) bits for an x.

    On average this is the negative AIS bound. One latent variable anneals by `MetropolisHastings`, several by `Flips`.
    Source: Ruan et al. 2021, section 3.3; Neal 2001.
    """

    name: ClassVar[str] = "AISBitsBackCoder"
    short: ClassVar[str] = "bb-ais"
    bound: ClassVar[str] = "ais"

    num_steps: int = option(
        16, help="annealing steps T per image: more lower the rate and cost time", minimum=0, maximum=1 << 16
    )
    schedule: str = option("linear", help=f"inverse temperatures of the steps: {' or '.join(SCHEDULES)}")
    bitswap: bool = option(True, help="give back after every step, not after the last: fewer initial bits")

    def __post_init__(self) -> None:
        super().__post_init__()
        inverse_temperatures(self.num_steps, self.schedule)

    def encode(self, stack: Stack, x: NDArray[np.int32], model: LatentModel) -> NDArray[np.int64]:
        tape, chain = Tape(stack), self._chain(model, x)
        chain.start(tape)
        self._walk(chain, tape, True)
        p = model.joint(chain.leave(tape))
        p.push(stack, x)
        return tape.bits + p.total_codelength(x)

    def decode(self, stack: Stack, model: LatentModel) -> NDArray[np.int32]:
        z, x = model.pop(stack)
        tape, chain = Tape(stack), self._chain(model, x)
        chain.rejoin(tape, z)
        self._walk(chain, tape, False)
        chain.end(tape)
        return x

    def _walk(self, chain: Chain, tape: Tape, up: bool) -> None:
        returned, pads = [], self._pads(chain)
        steps = range(1, self.num_steps + 1)
        for k in steps if up else reversed(steps):
            if self.bitswap:
                # The next step chooses with the bits that this step gives back. These depend on what this step did; XOR
                # with a pad makes them like coin flips again. The pad is applied before and after a step, so that a
                # step down undoes a step up.
                _flip(tape.stack, pads[k], chain.model.index_precision)
                tape.push(*chain.step(k, up, tape))
                _flip(tape.stack, pads[k], chain.model.index_precision)
            else:
                returned.append(chain.step(k, up, tape))
        for each in returned:
            tape.push(*each)

    def _pads(self, chain: Chain) -> NDArray[np.int64]:
        """Return pads (T + 1, lanes), pseudo-random in [0, 2^index_precision) and different for each x."""
        seed = np.array([crc32(row) | 1 for row in chain.x.astype("<i4")], np.uint32)
        words = integer_shifts(self.num_steps + 1, 1) * seed
        return (words >> np.uint32(32 - chain.model.index_precision)).astype(np.int64)

    def _chain(self, model: LatentModel, x: NDArray[np.int32]) -> Chain:
        q = model.posterior(x)
        if self.num_steps * q.shape[1] > MAX_MOVES:
            raise UsageError(
                f"{self.num_steps} steps of {q.shape[1]} latents are too many: steps times latents must be at most 2^21"
            )
        # A reversible step at beta = 1 would give back all bits that it takes, so the last step has a smaller beta.
        if q.shape[1] == 1:
            return MetropolisHastings(model, q, x, inverse_temperatures(self.num_steps + 1, self.schedule))
        return Flips(model, q, x, inverse_temperatures(self.num_steps, self.schedule))

    def expected_codelength(
        self, z: NDArray[np.integer], log_joint: NDArray[np.float64], log_q: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Return -E log2 w_AIS in bits, (U,), exact for one latent variable. None for more.

        E log2 w_AIS = sum_k E log2 f_{k+1}(z_k) / f_k(z_k), where z_k is distributed as q T_1 ... T_k.
        """
        if z.shape[1] != 1:
            return None
        beta = inverse_temperatures(self.num_steps + 1, self.schedule) * 2.0**-16
        log_w, q = log_joint - log_q, np.exp2(log_q)
        marginal, bound = q, np.zeros(len(q))
        for k, beta_k in enumerate(beta[:-1]):
            if k > 0:
                # T_k(z'|z) = q(z') min(1, (w(z') / w(z))^beta_k) for z' other than z.
                accepted = np.exp2(np.minimum(0, beta_k * (log_w[:, None] - log_w[..., None]))) * q[:, None]
                moved = np.einsum("uz,uzy->uy", marginal, accepted)
                marginal = moved + marginal * (1 - accepted.sum(2))
            bound += (beta[k + 1] - beta_k) * (marginal * log_w).sum(1)
        return -bound


def _flip(stack: Stack, pad: NDArray[np.int64], precision: int) -> None:
    """XOR the next `precision` bits of each lane with its pad; pad is (lanes,)."""
    bits = uniform(1 << precision, (len(pad), 1), precision)
    bits.push(stack, bits.pop(stack) ^ pad[:, None])
