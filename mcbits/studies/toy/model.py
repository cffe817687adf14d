"""The probabilities of a toy model are ratios of integers, so coders and enumeration use the same numbers."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.distributions import Categorical
from mcbits.distributions.base import Repeatable
from mcbits.errors import UsageError
from mcbits.latents.base import LatentModel

WEIGHT_BITS = 16
"""The weights of each row of p(z_t|z_{t-1}) and p(x_t|z_t) add up to 2 to this power."""

PRECISION = 20
"""Precision of all distributions, in bits: with it, 256 symbols lose less than 0.0004 bits to leaking."""


class Table:
    """A conditional distribution p(b|a) as integer weights (number of a, number of b)."""

    def __init__(self, weights: NDArray[np.int64]):
        self.weights = weights

    @property
    def log2(self) -> NDArray[np.float64]:
        """The array log2 p(b|a), indexed [a, b]."""
        log2: NDArray[np.float64] = np.log2(self.weights / self.weights.sum(1, keepdims=True))
        return log2

    @cached_property
    def codelengths(self) -> NDArray[np.int64]:
        """The codelengths of b given a, indexed [a, b], in units of 2^-16 bits."""
        rows = np.arange(len(self.weights))[None]
        given = self.given(rows)
        return np.stack([given.codelength(np.full_like(rows, b))[0] for b in range(self.weights.shape[1])], axis=1)

    def given(self, a: NDArray[np.integer]) -> Categorical:
        """Return p(b|a) for a (lanes, dims), shape (lanes, dims)."""
        return Categorical(self.weights[a], PRECISION)


class MarkovChain(Repeatable):
    """The distribution p(z_1) p(z_2|z_1) ... p(z_T|z_{T-1}), shape (lanes, T).

    The conditional of each symbol is a row of one table; the last row of `table` is p(z_1). Symbols may also be
    (lanes, particles, T).
    """

    def __init__(self, table: Table, shape: tuple[int, int]):
        self.shape, self.precision, self.num_symbols = shape, PRECISION, table.weights.shape[1]
        self._table = table

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        start, freq = self.intervals(symbols)
        stack.push(start.reshape(len(start), -1), freq.reshape(len(freq), -1), self.precision)

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        return np.stack([self._walk(lambda t, given: given.pop(stack)) for _ in range(draws)], axis=1)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        z = np.asarray(symbols)
        rows = z.reshape(-1, self.shape[1])
        start, freq = self._table.given(self._previous(rows)).intervals(rows)
        return start.reshape(z.shape), freq.reshape(z.shape)

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        """Return the symbols (lanes, T) at quantiles (lanes, T), one after the other, each given the symbol before."""
        u = np.asarray(quantiles)
        return self._walk(lambda t, given: given.inverse(u[:, t : t + 1]))

    def total_codelength(self, symbols: ArrayLike) -> NDArray[np.int64]:
        z = np.asarray(symbols)
        total: NDArray[np.int64] = self._table.codelengths[self._previous(z), z].sum(-1)
        return total

    def _previous(self, z: NDArray[np.integer]) -> NDArray[np.integer]:
        first = np.full_like(z[..., :1], self.num_symbols)
        return np.concatenate([first, z[..., :-1]], axis=-1)

    def _walk(self, draw: Callable[[int, Categorical], NDArray[np.int32]]) -> NDArray[np.int32]:
        z = np.full((self.shape[0], self.shape[1] + 1), self.num_symbols, np.int32)
        for t in range(self.shape[1]):
            z[:, t + 1 : t + 2] = draw(t, self._table.given(z[:, t : t + 1]))
        return z[:, 1:]


class ParticleLikelihood:
    """The likelihood p(x|z) for z (lanes, particles, T): the codelength under each particle, and one to code with."""

    def __init__(self, emission: Table, z: NDArray[np.integer]):
        # A copy, since coders may reorder z in place later.
        self._emission, self._z = emission, z.copy()

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the codelength of x (lanes, T) under each particle, (lanes, particles), in units of 2^-16 bits."""
        total: NDArray[np.int64] = self._emission.codelengths[self._z, x[:, None]].sum(-1)
        return total

    def codelength(self, symbols: NDArray[np.integer]) -> NDArray[np.int64]:
        """UsageError, as for `push`."""
        raise UsageError("x is coded given one particle: choose it with particle(j)")

    def particle(self, j: NDArray[np.integer]) -> Categorical:
        """Return p(x|z_j) for j (lanes,), shape (lanes, T)."""
        return self._emission.given(self._z[np.arange(len(j)), j])

    def push(self, stack: Stack, symbols: NDArray[np.integer]) -> None:
        """UsageError: of many particles only one codes, `particle(j)`."""
        raise UsageError("x is coded given one particle: choose it with particle(j)")

    def pop(self, stack: Stack) -> NDArray[np.signedinteger]:
        """UsageError, as for `push`."""
        raise UsageError("x is coded given one particle: choose it with particle(j)")


class ToyModel(LatentModel):
    """A hidden Markov model as a LatentModel: z (lanes, T) over K symbols and x (lanes, T).

    `transition` (K + 1, K) holds p(z_t|z_{t-1}), and p(z_1) in its last row. `emission` holds p(x_t|z_t). `proposal`
    holds q(z_t|x_t), so q(z|x) is a product over steps.
    """

    index_precision = 24

    def __init__(self, transition: Table, emission: Table, proposal: Table, num_steps: int):
        self.transition, self.emission, self.proposal, self.num_steps = transition, emission, proposal, num_steps
        self.num_latents = emission.weights.shape[0]
        self.sequence = ToySequence(self)

    def prior(self, lanes: int) -> MarkovChain:
        """Return p(z), shape (lanes, T)."""
        return MarkovChain(self.transition, (lanes, self.num_steps))

    def posterior(self, x: NDArray[np.integer]) -> Categorical:
        """Return q(z|x), shape (lanes, T)."""
        return self.proposal.given(x)

    def likelihood(self, z: NDArray[np.integer]) -> Categorical | ParticleLikelihood:
        """Return p(x|z) for z (lanes, T) or (lanes, particles, T)."""
        return self.emission.given(z) if z.ndim == 2 else ParticleLikelihood(self.emission, z)

    def sample(self, n: int, seed: int) -> NDArray[np.int32]:
        """Draw n x from the model and return them, (n, T). They depend on the seed alone."""
        stack = Stack(n, seed=seed)
        return self.emission.given(self.prior(n).pop(stack)).pop(stack)


class ToySequence:
    """A ToyModel as a SequenceModel of num_steps frames of one symbol.

    A state (rows, 1) is the z of the frame before, or K at the first frame.
    """

    def __init__(self, model: ToyModel):
        self._model, self.index_precision, self.num_frames = model, model.index_precision, model.num_steps

    def of_length(self, num_frames: int) -> "ToySequence":
        shorter = ToySequence(self._model)
        shorter.num_frames = num_frames
        return shorter

    def start(self, rows: int) -> NDArray[np.integer]:
        return np.full((rows, 1), self._model.num_latents)

    def prior(self, state: NDArray[np.integer]) -> Categorical:
        return self._model.transition.given(state)

    def posterior(self, state: NDArray[np.integer], x_t: NDArray[np.integer]) -> Categorical:
        return self._model.proposal.given(x_t)

    def likelihood(self, state: NDArray[np.integer], z_t: NDArray[np.integer]) -> Categorical:
        return self._model.emission.given(z_t)

    def advance(
        self, state: NDArray[np.integer], x_t: NDArray[np.integer], z_t: NDArray[np.integer]
    ) -> NDArray[np.integer]:
        return z_t


Proposal = Literal["noisy", "uniform", "posterior"]


def mixture(seed: int = 0, num_latents: int = 256, num_symbols: int = 64, proposal: Proposal = "noisy") -> ToyModel:
    """Return a discrete mixture with random probabilities: one z, one x.

    q(z|x) is the exact posterior ("posterior"), the posterior with weights multiplied by random integers 1 ... 8
    ("noisy"), or uniform ("uniform"). With the uniform one, the bits that a symbol leaves on the stack are far from
    coin flips. The next symbol pops these bits, so the net rate is some percent above the ideal.
    Source: the toy experiments of Ruan et al. 2021, section 5.
    """
    words = np.random.PCG64(seed)
    p_z, p_x = _random_rows(words, 1, num_latents), _random_rows(words, num_latents, num_symbols)
    # With only one step no z has a predecessor, so only the last row of the transitions, p(z_1), is read.
    transition = np.repeat(p_z, num_latents + 1, axis=0)
    return ToyModel(Table(transition), Table(p_x), _proposal(words, p_x.T * p_z, proposal), num_steps=1)


def hmm(
    seed: int = 0,
    num_latents: int = 4,
    num_symbols: int = 4,
    num_steps: int = 5,
    proposal: Literal["noisy", "uniform"] = "noisy",
) -> ToyModel:
    """Return a hidden Markov model with random probabilities, with few enough paths z to enumerate them all.

    q(z_t|x_t) is a noisy p(z_1|x_1) (see `mixture`) or uniform. It does not depend on the other steps.
    """
    words = np.random.PCG64(seed)
    transition, p_x = _random_rows(words, num_latents + 1, num_latents), _random_rows(words, num_latents, num_symbols)
    return ToyModel(Table(transition), Table(p_x), _proposal(words, p_x.T * transition[-1], proposal), num_steps)


def _proposal(words: np.random.PCG64, posterior: NDArray[np.int64], kind: Proposal) -> Table:
    if kind == "uniform":
        return Table(np.ones_like(posterior))
    noise = (words.random_raw(posterior.shape) % np.uint64(8)).astype(np.int64) + 1
    return Table(posterior * noise if kind == "noisy" else posterior)


def _random_rows(words: np.random.PCG64, rows: int, K: int) -> NDArray[np.int64]:
    """Return positive integers (rows, K) with rows that add up to 2^16: gaps of K - 1 uniform cuts, so Dirichlet(1)."""
    # Raw words, and not a Generator's methods, since numpy guarantees that they never change.
    room = np.uint64((1 << WEIGHT_BITS) - K + 1)
    cuts = np.sort((words.random_raw((rows, K - 1)) % room).astype(np.int64), axis=1) + np.arange(1, K)
    return np.diff(cuts, axis=1, prepend=0, append=1 << WEIGHT_BITS)
