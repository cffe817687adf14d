"""Ideal rates are computed from the probabilities by enumeration over z, without coder, stack or discretiser."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.base import Coder
from mcbits.distributions.coupling import integer_shifts
from mcbits.studies.toy.model import ToyModel

F64 = NDArray[np.float64]

_MONTE_CARLO_DRAWS = 10_000_000


@dataclass(frozen=True)
class Ideal:
    """A rate in bits/dim; `standard_error` is 0 if the rate is exact."""

    rate: float
    standard_error: float = 0.0


class Truth:
    """The exact probabilities of a toy model at given x (n, T), and rates in bits/dim averaged over these x.

    It works with U different x and all S = K^T latents at once, so S must be small.
    """

    def __init__(self, model: ToyModel, x: NDArray[np.int32]):
        self.model, self.x = model, x
        self._unique, which, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
        self._which, self._share = which.reshape(-1), counts / len(x)
        self._z = z = np.indices((model.num_latents,) * model.num_steps).reshape(model.num_steps, -1).T
        first = np.full((len(z), 1), model.num_latents)
        log_prior = model.transition.log2[np.concatenate([first, z[:, :-1]], axis=1), z].sum(1)
        self._log_q: F64 = model.proposal.log2[self._unique[:, None], z].sum(2)
        self._log_joint: F64 = log_prior + model.emission.log2[z, self._unique[:, None]].sum(2)
        self._q = np.exp2(self._log_q)

    @property
    def information(self) -> F64:
        """-log2 p(x) of each of the n x, in bits."""
        bits: F64 = -np.log2(np.exp2(self._log_joint).sum(1))
        return bits[self._which]

    @property
    def entropy(self) -> float:
        """The mean of -log2 p(x) in bits/dim, a lower limit for every coder; it tends to the entropy as n grows."""
        return float(self.information.mean()) / self.model.num_steps

    def ideal(self, coder: Coder) -> Ideal | None:
        """Return the expected rate of a coder on these x if the bits that it pops are fresh coin flips.

        None if neither this class nor the coder knows it. The rate is exact, except for bb-cis with more than one step,
        where u is drawn and not enumerated.
        """
        N = coder.num_particles
        match coder.short:
            case "simple":
                return self._mean(-self._at_median)
            case "stochastic":
                return self._mean(-(self._q * self._log_joint).sum(1))
            case "bb-elbo":
                return self._mean(-self.iwae(1))
            case "bb-is":
                return self._mean(-self.iwae(N))
            case "bb-cis":
                return self._coupled_iwae(N) if self.model.num_steps == 1 else self._sampled_coupled_iwae(N)
        bits = coder.expected_codelength(self._z, self._log_joint, self._log_q)
        return None if bits is None else self._mean(bits)

    def iwae(self, num_particles: int) -> F64:
        """Return E log2 (w_1 + ... + w_N) / N for each different x, (U,) in bits, to about 1e-8 bits for any N.

        For a sum S > 0, E ln S is the integral of (exp(-t) - E exp(-t S)) / t over t > 0 (Frullani). E exp(-t S) is the
        N-th power of E exp(-t w). In s = ln t the integrand is analytic and vanishes at both ends, so the trapezoidal
        rule converges exponentially.
        """
        s, transform = self._laplace
        integrand = np.exp(-np.exp(s))[:, None] - transform**num_particles
        log_sum: F64 = integrand.sum(0) * (s[1] - s[0]) / np.log(2) + self._log_w.max(1)
        return log_sum - np.float64(np.log2(num_particles))

    @property
    def _log_w(self) -> F64:
        return self._log_joint - self._log_q

    @cached_property
    def _laplace(self) -> tuple[F64, F64]:
        """The nodes s (nodes,) and E exp(-e^s w) (nodes, U), with the largest weight of each x scaled to 1."""
        log_w = (self._log_w - self._log_w.max(1, keepdims=True)) * np.log(2)
        # Above the last node the term of the smallest weight has vanished. Below the first node even 2^20 particles
        # change nothing.
        s = np.arange(-38.0, 4.0 - log_w.min(), 0.4)
        return s, np.stack([(self._q * np.exp(-np.exp(each + log_w))).sum(1) for each in s])

    @property
    def _at_median(self) -> F64:
        q = self.model.posterior(self._unique)
        z = q.inverse(np.full(q.shape, 1 << q.precision - 1))
        return self._log_joint[np.arange(len(z)), self._index(z)]

    def _coupled_iwae(self, N: int) -> Ideal:
        """Return minus E_u log2 of the mean weight, exactly: u is cut where a particle z_i = F^-1(u + s_i) changes."""
        q = self.model.posterior(self._unique)
        size, shifts = 1 << q.precision, self._shifts(N)[:, 0]
        F = q.cdf()[:, 0, :-1].astype(np.int64)
        u = np.sort(((F[:, None] - shifts[:, None]) % size).reshape(len(F), -1), axis=1)
        share = np.diff(u, axis=1, append=u[:, :1] + size) / size
        return self._mean(-(share * self._log_mean_weight(u[..., None], N)).sum(1))

    def _sampled_coupled_iwae(self, N: int) -> Ideal:
        draws = max(2, _MONTE_CARLO_DRAWS // (self._unique.size * N))
        rng = np.random.default_rng(0)
        size = 1 << self.model.posterior(self._unique[:1]).precision
        u = rng.integers(0, size, (len(self._unique), draws, self.model.num_steps))
        bits = -self._log_mean_weight(u, N)
        variance = (self._share**2 * bits.var(axis=1, ddof=1) / draws).sum()
        return Ideal(self._mean(bits.mean(1)).rate, float(np.sqrt(variance)) / self.model.num_steps)

    def _log_mean_weight(self, u: NDArray[np.int64], N: int) -> F64:
        """Return log2 of the mean weight of the N particles that come from u (U, draws, T): (U, draws)."""
        q, rows = self.model.posterior(self._unique), np.arange(len(self._unique))[:, None]
        w = np.exp2(self._log_w)
        total = np.zeros(u.shape[:2])
        for shift in self._shifts(N):
            total += w[rows, self._index(q.inverse((u + shift) % (1 << q.precision)))]
        return np.log2(total / N)

    def _shifts(self, N: int) -> NDArray[np.int64]:
        precision = self.model.posterior(self._unique[:1]).precision
        return (integer_shifts(N, self.model.num_steps) >> np.uint32(32 - precision)).astype(np.int64)

    def _index(self, z: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the index of z (..., T) in the enumeration, (...)."""
        place: NDArray[np.int64] = z @ self.model.num_latents ** np.arange(self.model.num_steps)[::-1]
        return place

    def _mean(self, bits: F64) -> Ideal:
        return Ideal(float(self._share @ bits) / self.model.num_steps)
