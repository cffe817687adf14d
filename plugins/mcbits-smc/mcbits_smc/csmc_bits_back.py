"""Coupled BB-SMC makes all particles of a frame from one uniform draw, so a frame needs initial bits for only one."""

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
    """A coder like BB-SMC whose particles are z_t^i = F_i^-1(u_t + s_t^i), with the sum modulo 2^r.

    F_i is the cdf of q under the state of particle i at precision r, u_t is uniform on [0, 2^r)^D, and s_t^i are fixed
    shifts (see `strata`).
    Given z_t of the line B, u_t + s_t^B is uniform within its bucket. Coding it in the bucket returns all bits but
    -log2 q(z_t|x_t).
    Source: coupled importance sampling in Ruan et al. 2021, section 3.4.
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
        """Return the uniform distribution of u_t + s_t^0, where s_t^0 is 0."""
        return uniform(1 << q.precision, (1, q.shape[1]), q.precision)
