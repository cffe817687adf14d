"""Every probability of a toy model is an integer over 2^16: coders, decoders and enumeration see the same numbers."""

from collections.abc import Callable
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.distributions import Categorical
from mcbits.distributions.base import Repeatable
from mcbits.latents.base import LatentModel

WEIGHT_BITS = 16
"""The weights of each row of a table add up to 2 to this power."""

PRECISION = 20
"""Of all distributions, in bits: enough for 256 symbols to lose less than 0.0004 bits to leaking."""


class Table:
    """A conditional distribution p(b|a) as integer weights (number of a, number of b)."""

    def __init__(self, weights: NDArray[np.int64]):
        self.weights = weights

    @property
    def log2(self) -> NDArray[np.float64]:
        """log2 p(b|a), indexed [a, b]."""
        log2: NDArray[np.float64] = np.log2(self.weights / self.weights.sum(1, keepdims=True))
        return log2

    @cached_property
    def codelengths(self) -> NDArray[np.int64]:
        """What a coder pays for b given a, indexed [a, b], in units of 2^-16 bits."""
        rows = np.arange(len(self.weights))[None]
        given = self.given(rows)
        return np.stack([given.codelength(np.full_like(rows, b))[0] for b in range(self.weights.shape[1])], axis=1)

    def given(self, a: NDArray[np.integer]) -> Categorical:
        """p(b|a), a and b both (lanes, dims)."""
        return Categorical(self.weights[a], PRECISION)


class MarkovChain(Repeatable):
    """p(z_1) p(z_2|z_1) ... p(z_T|z_{T-1}), shape (lanes, T): the conditional of each symbol is a row of one table.

    The last row of `table` is p(z_1). Symbols may also be (lanes, particles, T).
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
        """Symbol by symbol, quantiles (lanes, T): each under the conditional that the symbols before it select."""
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
    """p(x|z) for z (lanes, particles, T): what it would cost under every particle, and one of them to code with."""

    def __init__(self, emission: Table, z: NDArray[np.integer]):
        # A copy, since coders may go on to reorder z in place.
        self._emission, self._z = emission, z.copy()

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        """Of x (lanes, T) under each particle: (lanes, particles), in units of 2^-16 bits."""
        total: NDArray[np.int64] = self._emission.codelengths[self._z, x[:, None]].sum(-1)
        return total

    def particle(self, j: NDArray[np.integer]) -> Categorical:
        """p(x|z_j), j (lanes,)."""
        return self._emission.given(self._z[np.arange(len(j)), j])


class ToyModel(LatentModel):
    """A hidden Markov model as a LatentModel: z (lanes, T) over K symbols, x (lanes, T), and q(z|x) one step at a time.

    `transition` (K + 1, K) holds p(z_t|z_{t-1}) and in its last row p(z_1), `emission` p(x_t|z_t), `proposal`
    q(z_t|x_t).
    """

    index_precision = 24

    def __init__(self, transition: Table, emission: Table, proposal: Table, num_steps: int):
        self.transition, self.emission, self.proposal, self.num_steps = transition, emission, proposal, num_steps
        self.num_latents = emission.weights.shape[0]
        self.sequence = ToySequence(self)

    def prior(self, lanes: int) -> MarkovChain:
        """p(z), shape (lanes, T)."""
        return MarkovChain(self.transition, (lanes, self.num_steps))

    def posterior(self, x: NDArray[np.integer]) -> Categorical:
        """q(z|x), shape (lanes, T)."""
        return self.proposal.given(x)

    def likelihood(self, z: NDArray[np.integer]) -> Categorical | ParticleLikelihood:
        """p(x|z) for z (lanes, T) or (lanes, particles, T)."""
        return self.emission.given(z) if z.ndim == 2 else ParticleLikelihood(self.emission, z)

    def sample(self, n: int, seed: int) -> NDArray[np.int32]:
        """n draws of x from the model, (n, T), a function of the seed."""
        stack = Stack(n, seed=seed)
        return self.emission.given(self.prior(n).pop(stack)).pop(stack)


class ToySequence:
    """A ToyModel as a SequenceModel of num_steps frames of one symbol; a state (rows, 1) is the z before, or K."""

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
    """A discrete mixture of random probabilities: one z, one x.

    q(z|x) is the exact posterior, the same with its weights multiplied by random integers 1 ... 8 ("noisy"), or
    uniform. With the uniform one the bits that a symbol leaves on the stack are far from coin flips, and the next
    symbol, which pops them at once, shows it: net lies some percent above the ideal.
    After the toy experiments of Ruan et al. 2021, section 5.
    """
    words = np.random.PCG64(seed)
    p_z, p_x = _random_rows(words, 1, num_latents), _random_rows(words, num_latents, num_symbols)
    # With a single step no z has a predecessor: of the transitions only the last row, p(z_1), is ever read.
    transition = np.repeat(p_z, num_latents + 1, axis=0)
    return ToyModel(Table(transition), Table(p_x), _proposal(words, p_x.T * p_z, proposal), num_steps=1)


def hmm(
    seed: int = 0,
    num_latents: int = 4,
    num_symbols: int = 4,
    num_steps: int = 5,
    proposal: Literal["noisy", "uniform"] = "noisy",
) -> ToyModel:
    """A hidden Markov model of random probabilities, with few enough paths z to enumerate them all.

    q(z_t|x_t) is a noisy p(z_1|x_1) (see `mixture`) or uniform; either way it knows nothing of the other steps.
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
    """Positive integers (rows, K), each row adding up to 2^16: gaps between K - 1 sorted uniform cuts, Dirichlet(1)."""
    # Raw words rather than a Generator's methods: numpy keeps them for good.
    room = np.uint64((1 << WEIGHT_BITS) - K + 1)
    cuts = np.sort((words.random_raw((rows, K - 1)) % room).astype(np.int64), axis=1) + np.arange(1, K)
    return np.diff(cuts, axis=1, prepend=0, append=1 << WEIGHT_BITS)
