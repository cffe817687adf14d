"""What every distribution promises a coder, asserted of any family that check_distribution can make."""

from collections.abc import Callable

import numpy as np
import pytest
from oracle import OracleLane

from mcbits._rans import Stack
from mcbits.distributions import Distribution
from mcbits.errors import McbitsError

UNIT = 2.0**-16  # codelengths are in units of 2^-16 bit


def noise_stack(noise: np.ndarray) -> Stack:
    """A message of random words, `noise` (lanes, n) below 2^32: its quantiles are as good as uniform."""
    return Stack.from_words(noise[:, 0] | np.uint64(1 << 48), list(noise[:, 1:]))


def make_noise(distribution: Distribution, rng: np.random.Generator) -> np.ndarray:
    """Enough for one pop of the distribution."""
    lanes, *rest = distribution.shape
    return rng.integers(0, 1 << 32, (lanes, 8 + int(np.prod(rest))), dtype=np.uint64)


def state(stack: Stack) -> list[tuple[int, list[int]]]:
    return [(int(head), stack.tail(lane).tolist()) for lane, head in enumerate(stack.heads)]


def oracles(stack: Stack) -> list[OracleLane]:
    def out_of_noise(k: int) -> int:
        raise AssertionError("the stack ran out of noise")

    return [OracleLane(stack.lprec, stack.bprec, out_of_noise, *words) for words in state(stack)]


def frequencies(distribution: Distribution) -> np.ndarray:
    return np.diff(distribution.cdf().astype(np.int64), axis=-1)


def take(table: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    return np.take_along_axis(table, symbols[..., None].astype(np.int64), -1)[..., 0]


def some_symbols(distribution: Distribution, rng: np.random.Generator) -> list[np.ndarray]:
    """The rarest, the likeliest, the first and the last symbols of the support, and random ones."""
    freqs = frequencies(distribution)
    support = freqs > 0
    rarest = np.where(support, freqs, 2 << distribution.precision).argmin(-1)
    last = distribution.num_symbols - 1 - support[..., ::-1].argmax(-1)
    random = np.where(support, rng.random(freqs.shape), -1).argmax(-1)
    return [rarest, freqs.argmax(-1), support.argmax(-1), last, random]


def check_table(distribution: Distribution, leaky: bool) -> None:
    """Frequencies sum to exactly 2^precision, and leave out no symbol if leaky."""
    cdf = distribution.cdf()
    assert np.issubdtype(cdf.dtype, np.integer)
    assert cdf.shape == (*distribution.shape, distribution.num_symbols + 1)
    assert (cdf[..., 0] == 0).all()
    assert (cdf[..., -1] == 1 << distribution.precision).all()
    assert (frequencies(distribution) >= leaky).all()


def check_symbols(distribution: Distribution, symbols: np.ndarray) -> None:
    """Intervals are those of the table, and codelength is precision - log2(frequency) to the unit."""
    cdf, freqs = distribution.cdf(), take(frequencies(distribution), symbols)
    starts, widths = distribution.intervals(symbols)
    np.testing.assert_array_equal(starts, take(cdf, symbols))
    np.testing.assert_array_equal(widths, freqs)
    codelength = distribution.codelength(symbols)
    assert codelength.dtype == np.int64 and codelength.shape == symbols.shape
    assert np.abs(codelength * UNIT - (distribution.precision - np.log2(freqs))).max(initial=0) <= UNIT
    np.testing.assert_array_equal(distribution.total_codelength(symbols), codelength.sum(-1))


def check_quantiles(distribution: Distribution, quantiles: np.ndarray) -> None:
    """The inverse returns the symbol whose interval holds the quantile."""
    symbols, cdf = distribution.inverse(quantiles), distribution.cdf()
    assert symbols.shape == distribution.shape and np.issubdtype(symbols.dtype, np.integer)
    assert (take(cdf, symbols) <= quantiles).all()
    assert (quantiles < take(cdf, symbols + 1)).all()


def check_push(distribution: Distribution, symbols: np.ndarray, noise: np.ndarray) -> None:
    """A push codes last to first by the intervals of the table, at the codelength; a pop undoes it."""
    stack = noise_stack(noise)
    before, bits, expected = state(stack), stack.bits(), oracles(stack)
    starts = take(distribution.cdf(), symbols).reshape(len(noise), -1)
    freqs = take(frequencies(distribution), symbols).reshape(len(noise), -1)
    for lane, oracle in enumerate(expected):
        for start, freq in zip(reversed(starts[lane].tolist()), reversed(freqs[lane].tolist())):
            oracle.push(start, freq, distribution.precision)
    distribution.push(stack, symbols)
    assert state(stack) == [(oracle.head, oracle.tail) for oracle in expected]
    # The head, at least freq 2^(lprec - precision) when divided by freq, is rounded by less than freq.
    rounding = 1.5 * 2.0 ** (distribution.precision - stack.lprec)
    codelength = distribution.codelength(symbols).reshape(len(noise), -1).sum(1) * UNIT
    assert np.abs(stack.bits() - bits - codelength).max() <= starts.shape[1] * (UNIT + rounding) + 1e-6
    np.testing.assert_array_equal(distribution.pop(stack), symbols)
    assert state(stack) == before


def check_pop(distribution: Distribution, noise: np.ndarray) -> None:
    """A pop returns first to last the symbols whose intervals hold the quantiles; a push undoes it."""
    stack = noise_stack(noise)
    before, expected = state(stack), oracles(stack)
    cdf = distribution.cdf().reshape(len(noise), -1, distribution.num_symbols + 1)
    symbols = distribution.pop(stack)
    assert symbols.shape == distribution.shape and np.issubdtype(symbols.dtype, np.integer)
    for lane, oracle in enumerate(expected):
        for table, symbol in zip(cdf[lane], symbols[lane].ravel().tolist()):
            assert symbol == np.searchsorted(table, oracle.peek(distribution.precision), side="right") - 1
            oracle.pop(int(table[symbol]), int(table[symbol + 1] - table[symbol]), distribution.precision)
    assert state(stack) == [(oracle.head, oracle.tail) for oracle in expected]
    assert (stack.initial_words == 0).all()
    distribution.push(stack, symbols)
    assert state(stack) == before


def check_refusals(distribution: Distribution, noise: np.ndarray) -> None:
    """What is outside the support, or of another shape, is an error that leaves the stack as it was."""
    stack = noise_stack(noise)
    before, freqs = state(stack), frequencies(distribution)
    fine = freqs.argmax(-1)
    first = freqs.reshape(-1, distribution.num_symbols)[0]
    for symbol in (-1, distribution.num_symbols, 2**32, *np.flatnonzero(first == 0)[:1]):
        bad = fine.copy()
        bad.flat[0] = symbol
        with pytest.raises(McbitsError):
            distribution.push(stack, bad)
        with pytest.raises(McbitsError):
            distribution.codelength(bad)
    with pytest.raises(McbitsError):
        distribution.push(stack, fine[..., 1:])
    assert state(stack) == before
    more = noise_stack(np.concatenate([noise, noise[:1]]))
    before = state(more)
    with pytest.raises(McbitsError):
        distribution.push(more, fine)
    with pytest.raises(McbitsError):
        distribution.pop(more)
    assert state(more) == before


def check_distribution(
    make: Callable[[np.ndarray], Distribution], lanes: int, seed: int = 0, leaky: bool = True
) -> None:
    """Asserts the whole contract of a family for one choice of its parameters.

    `make(rows)` builds the distribution on the lanes `rows`, an integer array of values in 0 ... lanes - 1;
    a lane's parameters must not depend on which other lanes there are. All quantiles are tried where the
    precision is at most 8, else 64 random ones and the ends. `leaky=False` allows frequencies of 0.
    """
    rng = np.random.default_rng(seed)
    whole = make(np.arange(lanes))
    assert whole.shape[0] == lanes
    check_table(whole, leaky)
    for symbols in some_symbols(whole, rng):
        check_symbols(whole, symbols)
        check_push(whole, symbols, make_noise(whole, rng))
    for _ in range(4):
        check_pop(whole, make_noise(whole, rng))

    total = 1 << whole.precision
    for quantile in range(total) if whole.precision <= 8 else (0, total - 1):
        check_quantiles(whole, np.full(whole.shape, quantile, np.uint64))
    for _ in range(64):
        check_quantiles(whole, rng.integers(0, total, whole.shape, dtype=np.uint64))

    # A lane's bits are its own: coded alone they are those it has among others.
    noise, symbols = make_noise(whole, rng), some_symbols(whole, rng)[-1]
    stack = noise_stack(noise)
    whole.push(stack, symbols)
    for lane in range(lanes):
        alone, rows = make(np.array([lane])), slice(lane, lane + 1)
        np.testing.assert_array_equal(alone.cdf(), whole.cdf()[rows])
        single = noise_stack(noise[rows])
        alone.push(single, symbols[rows])
        assert state(single) == state(stack)[rows]

    # Drawn n times, a lane has the same table n times over, whichever way is quicker for that many.
    for num_particles in (1, 3, 20):
        drawn = whole.expand(num_particles)
        assert drawn.shape == (lanes, num_particles, *whole.shape[1:])
        assert (drawn.precision, drawn.num_symbols) == (whole.precision, whole.num_symbols)
        np.testing.assert_array_equal(drawn.cdf(), np.repeat(whole.cdf()[:, None], num_particles, axis=1))
        symbols = some_symbols(drawn, rng)[-1]
        check_symbols(drawn, symbols)
        check_push(drawn, symbols, make_noise(drawn, rng))
        check_pop(drawn, make_noise(drawn, rng))
        check_quantiles(drawn, rng.integers(0, total, drawn.shape, dtype=np.uint64))

    check_refusals(whole, make_noise(whole, rng))
    check_refusals(drawn, make_noise(drawn, rng))
