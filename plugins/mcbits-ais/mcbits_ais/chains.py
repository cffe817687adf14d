"""A chain steps through f_k ∝ q(z|x) w(z)^beta_k, w = p(x, z) / q(z|x); both directions use the same integers."""

from abc import ABC, abstractmethod
from functools import cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.base import Stack, log_weights
from mcbits.distributions import Categorical, Distribution, uniform
from mcbits.distributions.base import Repeatable
from mcbits.distributions.coupling import integer_shifts, within_bucket
from mcbits.latents.base import LatentModel

LOG_CANDIDATES = 2
"""log2 of C, the number of latents from which a step of `Flips` chooses.

With the same number of evaluations of p(x|z), C = 2 gives the same rate and takes longer; C = 8 or more is worse.
"""

MOVING = 2 / 5
"""The share of the dimensions that a step of `Flips` moves. Both were measured on the EMNIST VAE with 50 latents."""


class Tape:
    """A stack that counts: `bits` (lanes,) is what was pushed minus what was popped, in units of 2^-16 bits."""

    def __init__(self, stack: Stack):
        self.stack = stack
        self.bits = np.zeros(stack.lanes, np.int64)

    def pop(self, distribution: Distribution) -> NDArray[Any]:
        symbols: NDArray[Any] = distribution.pop(self.stack)
        self.bits -= distribution.total_codelength(symbols)
        return symbols

    def push(self, distribution: Distribution, symbols: NDArray[np.integer]) -> None:
        distribution.push(self.stack, symbols)
        self.bits += distribution.total_codelength(symbols)


class Chain(ABC):
    """A chain and its state, given x and q(z|x).

    An encoder calls `start`, steps up and calls `leave`. A decoder calls `rejoin`, steps down and calls `end`.
    `beta`: inverse temperatures of steps 0, 1, ... in units of 2^-16. They rise from 0.
    """

    def __init__(self, model: LatentModel, q: Repeatable, x: NDArray[np.int32], beta: NDArray[np.int64]):
        self.model, self.q, self.x, self.beta = model, q, x, beta

    @abstractmethod
    def start(self, tape: Tape) -> None:
        """Pop the first state."""

    @abstractmethod
    def step(self, k: int, up: bool, tape: Tape) -> tuple[Categorical, NDArray[np.integer]]:
        """Pop the next state. Return the distribution and the symbols that the caller must push for the old state.

        A step up pops z_k from T_k(z_k|z_{k-1}), which keeps f_k invariant, and the caller pushes z_{k-1} with the
        reverse R_k(z_{k-1}|z_k). A step down pops z_{k-1} from R_k, and the caller pushes z_k with T_k.
        """

    @abstractmethod
    def leave(self, tape: Tape) -> NDArray[np.int32]:
        """Push what the state holds besides the latents, and return the latents z_T (lanes, dims)."""

    @abstractmethod
    def rejoin(self, tape: Tape, z: NDArray[np.int32]) -> None:
        """Undo `leave`: set the state from the latents z (lanes, dims) and pop the rest."""

    @abstractmethod
    def end(self, tape: Tape) -> None:
        """Undo `start`: push the first state."""

    def log_weights(self, z: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return log2 w of z (lanes, N, dims), (lanes, N), in units of 2^-16 bits, with one run of the network."""
        return log_weights(self.q, self.model.joint(z), z, self.x)

    def tempered(self, k: int, log_w: NDArray[np.int64], precision: int) -> Categorical:
        """Return the choice of one of N with probabilities in proportion to w^beta_k, for log2 w (lanes, N)."""
        return Categorical.from_log2(self.beta[k] * log_w >> 16, precision)


class MetropolisHastings(Chain):
    """A chain of one latent variable.

    q proposes z', and the step accepts it with probability min(1, (w(z') / w(z))^beta_k). The weights of all K symbols
    are computed at once, so T_k(.|z) is a table. T_k is in detailed balance with f_k, so it is its own reverse.
    """

    z: NDArray[np.int32]

    def start(self, tape: Tape) -> None:
        self._stand(tape.pop(self.q))

    def step(self, k: int, up: bool, tape: Tape) -> tuple[Categorical, NDArray[np.integer]]:
        # With this precision, counts of q times counts of w^beta_k add up to less than 2^53.
        precision = min(self.model.index_precision, 52 - self.q.precision)
        z, W = self.z, counts(self.tempered(k, self._log_w, precision))
        self.z = tape.pop(self._kernel(W, z))
        return self._kernel(W, self.z), z

    def leave(self, tape: Tape) -> NDArray[np.int32]:
        return self.z

    def rejoin(self, tape: Tape, z: NDArray[np.int32]) -> None:
        self._stand(z)

    def end(self, tape: Tape) -> None:
        tape.push(self.q, self.z)

    def _stand(self, z: NDArray[np.int32]) -> None:
        self.z, self._freq = z, counts(self.q)
        # A symbol that q never draws has no weight. Its count of 0 means that it is never proposed, so any weight will
        # do: take that of the likeliest symbol.
        likeliest = self._freq.argmax(axis=1)[:, None]
        every = np.where(self._freq > 0, np.arange(self._freq.shape[1]), likeliest).astype(np.int32)
        self._log_w = self.log_weights(every[..., None])

    def _kernel(self, W: NDArray[np.int64], z: NDArray[np.int32]) -> Categorical:
        return Categorical(accept(self._freq, W, z[:, 0])[:, None], self.model.index_precision)


def counts(one: Distribution) -> NDArray[np.int64]:
    """Return the frequencies (lanes, K) of a distribution over one dimension."""
    F = one.cdf()[:, 0].astype(np.int64)
    return F[:, 1:] - F[:, :-1]


def accept(q: NDArray[np.int64], W: NDArray[np.int64], z: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the weights (lanes, K) of T(z'|z): q(z') min(W(z), W(z')) for z' other than z. They sum to W(z) sum(q).

    q and W are counts (lanes, K), z is (lanes,). These integers satisfy detailed balance with q W.
    """
    lane = np.arange(len(z))
    W_z = W[lane, z]
    weights = q * np.minimum(W, W_z[:, None])
    weights[lane, z] = 0
    weights[lane, z] = W_z * q.sum(axis=1) - weights.sum(axis=1)
    return weights


class Flips(Chain):
    """A chain of any number of latent variables that flips bits of a uniform u.

    The state is u, uniform on [0, 2^r)^D, with z = F^-1(u), where F is the cdf of q(z|x) at precision r.
    Step k has C candidates u XOR s_j with s_i XOR s_j = s_(i XOR j). So all candidates have the same set of
    candidates, their orbit. T_k is heat-bath: j from Cat(w^beta_k). Given the orbit alone, the state before the step
    was distributed as f_{k-1} on it. So R_k, with j from Cat(w^beta_{k-1}), is the best possible reverse (Del Moral et
    al. 2006, section 3.3.2). One step to beta = 1 is coupled importance sampling with C particles (Ruan et al. 2021,
    section 3.4).
    In a coordinate that moves, each candidate has its own C-th part of [0, 2^r). So the candidates are stratified draws
    from q with the full width of q, and q can draw each of them.
    """

    u: NDArray[np.int64]
    log_w: NDArray[np.int64]
    """log2 w of u, (lanes, 1), in units of 2^-16 bits."""

    def __init__(self, model: LatentModel, q: Repeatable, x: NDArray[np.int32], beta: NDArray[np.int64]):
        super().__init__(model, q, x, beta)
        self._start = uniform(1 << q.precision, (len(x), q.shape[1]), q.precision)
        self._shifts = flips(len(beta), q.shape[1]) >> 32 - q.precision

    def start(self, tape: Tape) -> None:
        self._stand(tape.pop(self._start))

    def step(self, k: int, up: bool, tape: Tape) -> tuple[Categorical, NDArray[np.integer]]:
        u = self.u[:, None] ^ self._shifts[k]
        log_w = np.concatenate([self.log_w, self.log_weights(self.q.inverse(u[:, 1:]))], axis=1)
        here, there = (k - 1, k) if up else (k, k - 1)
        j = tape.pop(self.tempered(there, log_w, self.model.index_precision))
        self.u = np.take_along_axis(u, j[..., None], axis=1)[:, 0]
        self.log_w = np.take_along_axis(log_w, j, axis=1)
        # Seen from candidate j, the old candidate i has index i XOR j.
        log_w = np.take_along_axis(log_w, np.arange(log_w.shape[1]) ^ j, axis=1)
        return self.tempered(here, log_w, self.model.index_precision), j

    def leave(self, tape: Tape) -> NDArray[np.int32]:
        z = self.q.inverse(self.u)
        start, freq = self.q.intervals(z)
        tape.push(within_bucket(self.q, freq, tape.stack), self.u - start.astype(np.int64))
        return z

    def rejoin(self, tape: Tape, z: NDArray[np.int32]) -> None:
        start, freq = self.q.intervals(z)
        self._stand(start.astype(np.int64) + tape.pop(within_bucket(self.q, freq, tape.stack)))

    def end(self, tape: Tape) -> None:
        tape.push(self._start, self.u)

    def _stand(self, u: NDArray[np.int64]) -> None:
        self.u = u
        self.log_w = self.log_weights(self.q.inverse(u[:, None]))


@cache
def flips(num_steps: int, dims: int) -> NDArray[np.int64]:
    """Return s_j of every step, (num_steps, C, dims), in units of 2^-32. It is 0 in the dimensions that do not move.

    Each step moves pseudo-random dimensions. Generator i of log2 C keeps the i highest bits, flips the next bit, and
    flips the lower bits pseudo-randomly.
    """
    words = integer_shifts(num_steps * (1 + LOG_CANDIDATES) + 1, dims)[1:].astype(np.int64)
    order, *generators = words.reshape(num_steps, -1, dims).swapaxes(0, 1)
    moves = order.argsort(axis=1, kind="stable") < ceil(MOVING * dims)
    s = np.zeros((num_steps, 1, dims), np.int64)
    for i, word in enumerate(generators):
        s_i = ((word | 1 << 31) >> i) * moves
        s = np.concatenate([s, s ^ s_i[:, None]], axis=1)
    s.flags.writeable = False
    return s
