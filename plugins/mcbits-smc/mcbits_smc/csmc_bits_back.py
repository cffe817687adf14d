"""Coupled BB-SMC: in each frame one uniform draw drives all particles, so that only one need be paid for at first."""

from dataclasses import dataclass
from typing import ClassVar

from mcbits.coders.base import Stack
from mcbits.distributions import Distribution, uniform
from mcbits.distributions.coupling import within_bucket
from mcbits.latents.base import SequenceModel
from mcbits_smc.smc_bits_back import Drawn, Ints, SMCBitsBackCoder
from mcbits_smc.strata import strata


@dataclass(frozen=True)
class CSMCBitsBackCoder(SMCBitsBackCoder):
    """As BB-SMC with z_t^i = F_i^-1(u_t + s_t^i), F_i the cdf of q under particle i's state at precision r, u_t uniform
    on [0, 2^r)^D and s_t^i fixed shifts (see `strata`), as in coupled importance sampling (Ruan et al. 2021, section
    3.4).

    Given z_t of the line B, u_t + s_t^B is uniform within its bucket: coding it there returns all but -log2 q(z_t|x_t)
    bits.
    """

    name: ClassVar[str] = "CSMCBitsBackCoder"
    short: ClassVar[str] = "bb-csmc"
    bound: ClassVar[str] = "cfivo"
    ramped: ClassVar[bool] = False

    def _pop_all(self, p: SequenceModel, q: Distribution, t: int, stack: Stack) -> Drawn:
        u = (self._first(q).pop(stack) + self._shifts(p, q, t)) % (1 << q.precision)
        return q.inverse(u), u

    def _push_others(self, p: SequenceModel, s: Ints, x_t: Ints, z: Ints, u: Ints | None, B: int, stack: Stack) -> None:
        assert u is not None  # as `_pop_all` left it
        q_B = p.posterior(s[[B]], x_t)
        start, freq = q_B.intervals(z[[B]])
        within_bucket(q_B, freq, stack).push(stack, u[[B]] - start.astype(u.dtype))

    def _pop_others(
        self, p: SequenceModel, q: Distribution, t: int, s: Ints, x_t: Ints, z_B: Ints, B: int, stack: Stack
    ) -> Drawn:
        q_B = p.posterior(s[[B]], x_t)
        start, freq = q_B.intervals(z_B)
        shifts = self._shifts(p, q, t)
        u_B = start.astype(shifts.dtype) + within_bucket(q_B, freq, stack).pop(stack)
        u = (u_B - shifts[B] + shifts) % (1 << q.precision)
        return q.inverse(u), u

    def _push_all(self, q: Distribution, z: Ints, u: Ints | None, stack: Stack) -> None:
        assert u is not None
        self._first(q).push(stack, u[:1])

    def _shifts(self, p: SequenceModel, q: Distribution, t: int) -> Ints:
        N = self.num_particles
        shifts: Ints = (strata(N, p.num_frames, q.shape[1])[t] << q.precision) // N
        return shifts

    @staticmethod
    def _first(q: Distribution) -> Distribution:
        """Of u_t + s_t^0, where s_t^0 is 0."""
        return uniform(1 << q.precision, (1, q.shape[1]), q.precision)
