"""The stack does, lane by lane and word by word, what arithmetic on one unbounded integer does."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from oracle import OracleLane

from mcbits._rans import Stack
from mcbits.distributions import Bernoulli
from mcbits.errors import StackError

# (lprec, bprec)
FORMATS = [(32, 32), (31, 32), (16, 16), (32, 8), (48, 16), (63, 1), (1, 63), (5, 3), (20, 44), (33, 31)]
SEED = 7


def state(stack: Stack) -> list[tuple[int, list[int]]]:
    return [(int(head), stack.tail(lane).tolist()) for lane, head in enumerate(stack.heads)]


def table(start: int, freq: int, precision: int) -> list[int]:
    """The shortest cdf that has [start, start + freq) as one of its intervals."""
    return sorted({0, start, start + freq, 1 << precision})


@cache
def initial_words(lane: int, bprec: int, bits: int = 6000) -> list[int]:
    """A lane's first initial words, read off its tail, where raw bits popped and pushed back leave them."""
    precision = 64 - bprec
    stack = Stack(lane + 1, precision, bprec, SEED).select(lane, lane + 1)
    popped = []
    while stack.initial_bits()[0] < bits:
        popped.append(int(stack.heads[0]) & (1 << precision) - 1)
        stack.pop([[table(popped[-1], 1, precision)]], precision)
    for quantile in reversed(popped):
        stack.push([[quantile]], [[1]], precision)
    return stack.tail(0).tolist()[::-1]


@st.composite
def intervals(draw, precision: int) -> tuple[int, int]:
    """(start, freq) within [0, 2^precision), with the extremes likely."""
    total = 1 << precision
    freq = draw(st.one_of(st.integers(1, total), st.sampled_from([1, max(total - 1, 1), total])))
    start = draw(st.one_of(st.integers(0, total - freq), st.sampled_from([0, total - freq])))
    return start, freq


class StackAgainstOracle(RuleBasedStateMachine):
    """Random programs of pushes and pops, of one precision after the other, on stacks of every format."""

    @initialize(form=st.sampled_from(FORMATS), lanes=st.integers(1, 3))
    def fresh(self, form, lanes):
        self.lprec, self.bprec = form
        self.stack = Stack(lanes, self.lprec, self.bprec, SEED)
        self.fresh_bits = self.stack.bits()
        self.oracle = [
            OracleLane(self.lprec, self.bprec, lambda k, lane=lane: initial_words(lane, self.bprec)[k], head)
            for lane, head in enumerate(self.stack.heads.tolist())
        ]

    def draw_columns(self, data):
        precision = data.draw(st.one_of(st.integers(1, self.lprec), st.just(self.lprec)), label="precision")
        columns = st.lists(intervals(precision), max_size=4)
        width = len(first := data.draw(columns, label="lane 0"))
        rest = [data.draw(st.tuples(*[intervals(precision)] * width)) for _ in self.oracle[1:]]
        return precision, np.array([first, *rest], np.uint64).reshape(len(self.oracle), width, 2)

    @rule(data=st.data())
    def push(self, data):
        precision, columns = self.draw_columns(data)
        self.stack.push(columns[..., 0], columns[..., 1], precision)
        for lane, row in zip(self.oracle, columns.tolist()):
            for start, freq in reversed(row):
                lane.push(start, freq, precision)

    @rule(data=st.data())
    def pop(self, data):
        """Every lane pops from the same tables: an interval, and what is left of it and right of it."""
        precision = data.draw(st.integers(1, self.lprec), label="precision")
        start, freq = data.draw(intervals(precision))
        width = data.draw(st.integers(0, 4), label="width")
        cdf = table(start, freq, precision)
        tables = np.broadcast_to(np.array(cdf, np.uint64), (len(self.oracle), width, len(cdf)))
        symbols = self.stack.pop(tables, precision)
        assert symbols.shape == (len(self.oracle), width)
        for lane, row in zip(self.oracle, symbols.tolist()):
            for symbol in row:
                assert cdf[symbol] <= lane.peek(precision) < cdf[symbol + 1]
                lane.pop(cdf[symbol], cdf[symbol + 1] - cdf[symbol], precision)

    @rule(data=st.data())
    def push_on_some_lanes(self, data):
        start = data.draw(st.integers(0, len(self.oracle) - 1))
        stop = data.draw(st.integers(start + 1, len(self.oracle)))
        precision = data.draw(st.integers(1, self.lprec))
        low, freq = data.draw(intervals(precision))
        ones = np.ones((stop - start, 1), np.uint64)
        self.stack.select(start, stop).push(ones * np.uint64(low), ones * np.uint64(freq), precision)
        for lane in self.oracle[start:stop]:
            lane.push(low, freq, precision)

    @precondition(lambda self: hasattr(self, "oracle"))
    @invariant()
    def agrees(self):
        assert state(self.stack) == [(lane.head, lane.tail) for lane in self.oracle]
        assert self.stack.initial_words.tolist() == [lane.initial_words for lane in self.oracle]
        initial_bits = self.fresh_bits + [self.bprec * lane.initial_words for lane in self.oracle]
        np.testing.assert_allclose(self.stack.bits(), [lane.bits for lane in self.oracle], atol=1e-9)
        np.testing.assert_allclose(self.stack.initial_bits(), initial_bits, atol=1e-9)
        np.testing.assert_array_equal(self.stack.net_bits(), self.stack.bits() - self.stack.initial_bits())


StackAgainstOracle.TestCase.settings = settings(max_examples=100, stateful_step_count=20)
test_random_programs_agree_with_the_oracle = StackAgainstOracle.TestCase


@given(st.sampled_from(FORMATS), st.data())
def test_pop_undoes_push_and_push_undoes_pop(form, data):
    lprec, bprec = form
    precision = data.draw(st.integers(1, lprec))
    stack = Stack(1, lprec, bprec, SEED)
    noise = data.draw(st.lists(intervals(lprec), max_size=20))
    for start, freq in noise:
        stack.push([[start]], [[freq]], lprec)
    before = state(stack)
    start, freq = data.draw(intervals(precision))
    cdf = table(start, freq, precision)
    stack.push([[start]], [[freq]], precision)
    assert cdf[stack.pop([[cdf]], precision)[0, 0]] == start
    assert state(stack) == before
    symbol = int(stack.pop([[cdf]], precision)[0, 0])
    stack.push([[cdf[symbol]]], [[cdf[symbol + 1] - cdf[symbol]]], precision)
    # Words drawn by the pop now lie below everything else, the first of them on top.
    drawn = initial_words(0, bprec)[: int(stack.initial_words[0])]
    assert state(stack) == [(before[0][0], drawn[::-1] + before[0][1])]


@pytest.mark.parametrize("lprec, bprec", FORMATS)
def test_a_fresh_stack_has_no_message(lprec, bprec):
    """All it holds is less than a bit a lane, in a random head, and that is counted as initial bits."""
    stack = Stack(3, lprec, bprec)
    assert all(1 << lprec <= head < 2 << lprec and tail == [] for head, tail in state(stack))
    assert (stack.initial_words == 0).all()
    for bits in (stack.bits(), stack.initial_bits()):
        assert bits.dtype == np.float64
        np.testing.assert_allclose(bits, np.log2(stack.heads.astype(float)) - lprec, atol=1e-9)
    np.testing.assert_array_equal(stack.net_bits(), np.zeros(3))


@given(st.integers(1, 32), st.lists(intervals(32), max_size=8))
def test_a_certain_symbol_leaves_the_stack_as_it_is(precision, noise):
    stack = filled(noise)
    before = state(stack)
    stack.push([[0]], [[1 << precision]], precision)
    assert state(stack) == before
    assert stack.pop([[[0, 1 << precision]]], precision).tolist() == [[0]]
    assert state(stack) == before and stack.initial_words[0] == 0


def filled(noise: list[tuple[int, int]], lanes: int = 1) -> Stack:
    stack = Stack(lanes, seed=SEED)
    for start, freq in noise:
        stack.push([[start]] * lanes, [[freq]] * lanes, 32)
    return stack


def test_columns_are_pushed_last_first_and_popped_first_first():
    rng = np.random.default_rng(0)
    symbols = rng.integers(0, 4, (5, 1000))
    cdf = np.array([0, 1, 10, 200, 256], np.uint64)
    stack, one_by_one = Stack(5), Stack(5)
    stack.push(cdf[symbols], np.diff(cdf)[symbols], 8)
    for column in reversed(range(1000)):
        one = symbols[:, column : column + 1]
        one_by_one.push(cdf[one], np.diff(cdf)[one], 8)
    assert state(stack) == state(one_by_one)
    np.testing.assert_array_equal(stack.pop(np.broadcast_to(cdf, (5, 1000, 5)), 8), symbols)
    assert state(stack) == state(Stack(5))


@pytest.mark.parametrize("precision", [1, 8, 16, 24])
def test_a_push_costs_what_its_frequency_says(precision):
    """log2(2^precision / freq) bits a symbol; the head's own rounding is below 2^(precision - 31) bits."""
    rng = np.random.default_rng(precision)
    total = 1 << precision
    freqs = rng.integers(1, total, (2, 20_000), endpoint=True, dtype=np.uint64)
    starts = (rng.random(freqs.shape) * (total - freqs)).astype(np.uint64)
    stack = Stack(2)
    stack.push(starts, freqs, precision)
    ideal = (precision - np.log2(freqs)).sum(1)
    np.testing.assert_allclose(stack.net_bits(), ideal, atol=20_000 * 2.0 ** (precision - 31) + 1e-6)
    assert (stack.initial_words == 0).all()


def raw(stack: Stack, count: int) -> np.ndarray:
    """`count` raw 32-bit draws of every lane of a stack that has no message, (lanes, count)."""
    lanes = stack.lanes
    out = np.empty((lanes, count), np.uint64)
    for k in range(count):
        out[:, k] = stack.heads & np.uint64(0xFFFFFFFF)
        tables = [[table(int(quantile), 1, 32)] for quantile in out[:, k]]
        for lane in range(lanes):
            stack.select(lane, lane + 1).pop([tables[lane]], 32)
    return out


def test_initial_words_of_a_lane_depend_on_seed_and_lane_alone():
    many, few, other = raw(Stack(9, seed=3), 20), raw(Stack(2, seed=3), 20), raw(Stack(9, seed=4), 20)
    np.testing.assert_array_equal(many[:2], few)
    assert np.unique(np.concatenate([many, other])).size == many.size + other.size


def test_initial_words_do_not_depend_on_the_order_in_which_lanes_draw():
    together, apart = Stack(3, seed=3), Stack(3, seed=3)
    expected = raw(together, 10)
    for lane in (2, 0, 1):
        np.testing.assert_array_equal(raw(apart.select(lane, lane + 1), 10)[0], expected[lane])
    assert state(together) == state(apart)


def test_noise_is_a_stream_of_its_own_and_lane_by_lane():
    stack = Stack(9, seed=3)
    before, noise = state(stack), raw(stack.noise(), 20)
    assert state(stack) == before
    words = np.concatenate([noise, raw(Stack(9, seed=3), 20), raw(Stack(9, seed=4), 20)])
    assert np.unique(words).size == words.size
    np.testing.assert_array_equal(raw(stack.noise(), 20), noise)
    np.testing.assert_array_equal(raw(Stack(2, seed=3).noise(), 20), noise[:2])
    np.testing.assert_array_equal(raw(stack.select(4, 6).noise(), 20), noise[4:6])


def test_initial_words_are_fair_bits():
    """A generator that favours a bit would cost rate. 5 sigma of 64 * 256 draws of every bit."""
    words = raw(Stack(64, seed=1), 257)
    ones = (words[..., None] >> np.arange(32, dtype=np.uint64) & np.uint64(1)).mean((0, 1))
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(words.size)


def test_golden_bits():
    """A change here changes every file: it is a new format version."""
    stack = Stack(2, seed=1)
    cdf = np.array([0, 1, 1000, 30_000, 65_536], np.uint64)
    symbols = stack.pop(np.broadcast_to(cdf, (2, 6, 5)), 16)
    stack.push(symbols % 2 * 7, symbols + 1, 12)
    assert (symbols.tolist(), state(stack)) == GOLDEN


GOLDEN = (
    [[3, 3, 3, 3, 3, 3], [2, 3, 2, 2, 3, 2]],
    [(42329982197833737, [724952418, 4202505]), (73611347133562880, [2437884181, 8194])],
)


def test_select_shares_state_with_the_whole():
    stack, separate = Stack(4, seed=SEED), Stack(4, seed=SEED)
    part = stack.select(1, 3)
    assert part.lanes == 2 and (part.lprec, part.bprec) == (32, 32)
    fresh = state(stack)
    part.push([[5] * 9] * 2, [[3] * 9] * 2, 16)
    separate.push([[5] * 9] * 4, [[3] * 9] * 4, 16)
    assert state(part) == state(stack)[1:3] == state(separate)[1:3]
    assert state(stack)[::3] == fresh[::3]
    before = state(part)
    part.select(1, 2).push([[0]], [[1]], 32)
    assert state(stack)[2] == state(part)[1] != before[1]
    assert state(stack)[1] == before[0]
    stack.push([[0]] * 4, [[1]] * 4, 32)
    assert state(part) == state(stack)[1:3]


def test_a_view_outlives_the_whole():
    part = Stack(3).select(1, 2)
    part.push([[0] * 1000], [[1] * 1000], 16)
    assert part.net_bits()[0] == pytest.approx(16_000)


def test_heads_and_tails_are_copies():
    stack = filled([(0, 1)] * 5)
    before = state(stack)
    for words in (stack.heads, stack.tail(0), stack.initial_words):
        words[...] = 0
    assert state(stack) == before


@given(st.lists(intervals(32), max_size=20))
def test_from_words_restores_a_stack(noise):
    stack = filled(noise, lanes=2)
    stack.select(1, 2).push([[1] * 3], [[1] * 3], 32)
    copy = Stack.from_words(stack.heads, [stack.tail(0), stack.tail(1)], seed=SEED)
    assert state(copy) == state(stack)
    for either in (stack, copy):
        either.push([[7], [7]], [[11], [11]], 20)
    assert state(copy) == state(stack)


def test_words_keep_to_bprec_and_heads_to_their_interval():
    for lprec, bprec in FORMATS:
        stack = Stack(1, lprec, bprec, SEED)
        rng = np.random.default_rng(0)
        for _ in range(200):
            start = int(rng.integers(0, 1 << min(lprec, 62)))
            stack.push([[start]], [[1]], lprec)
        assert 1 << lprec <= int(stack.heads[0]) < 1 << lprec + bprec
        assert all(word < 1 << bprec for word in stack.tail(0).tolist())


@pytest.mark.parametrize("lprec, bprec", [(0, 32), (32, 0), (33, 32), (64, 1), (-1, 8), (8, -1)])
def test_formats_that_do_not_fit_are_refused(lprec, bprec):
    with pytest.raises(StackError):
        Stack(1, lprec, bprec)


@pytest.mark.parametrize("lanes", [0, -1])
def test_a_stack_has_at_least_one_lane(lanes):
    with pytest.raises(StackError):
        Stack(lanes)


WRAPS = 2**64 - 1
BAD_PUSHES = {
    "zero frequency": ([[0]], [[0]], 16),
    "interval too long": ([[0]], [[65_537]], 16),
    "interval outside": ([[65_535]], [[2]], 16),
    "start outside": ([[65_536]], [[1]], 16),
    "start + freq wraps": (np.array([[WRAPS]], np.uint64), [[2]], 16),
    "freq wraps": ([[2]], np.array([[WRAPS]], np.uint64), 16),
    "negative start": (np.array([[-1]]), [[2]], 16),
    "negative frequency": ([[5]], np.array([[-1]]), 16),
    "precision above lprec": ([[0]], [[1]], 33),
    "precision 0": ([[0]], [[1]], 0),
    "negative precision": ([[0]], [[1]], -1),
    "not two-dimensional": ([0], [1], 16),
    "too few lanes": ([[0]], [[1]], 16),
    "shapes differ": ([[0, 1], [0, 1]], [[1], [1]], 16),
    "bad first column": ([[9, 1], [70_000, 1]], [[1, 1], [1, 1]], 16),
    "bad last lane": ([[1, 1], [1, 9]], [[1, 1], [1, 0]], 16),
}


@pytest.mark.parametrize("case", BAD_PUSHES)
def test_a_bad_push_is_an_error_and_changes_nothing(case):
    starts, freqs, precision = BAD_PUSHES[case]
    lanes = 2 if np.ndim(starts) == 2 and (len(starts) == 2 or case == "too few lanes") else 1
    stack = filled([(3, 1000)] * 4, lanes)
    before = state(stack)
    with pytest.raises(StackError):
        stack.push(starts, freqs, precision)
    assert state(stack) == before


BAD_POPS = {
    "does not start at 0": ([[[1, 5, 16]]], 4),
    "does not reach the total": ([[[0, 5, 15]]], 4),
    "goes beyond the total": ([[[0, 5, 17]]], 4),
    "zero frequency": ([[[0, 5, 5, 16]]], 4),
    "falls": ([[[0, 9, 5, 16]]], 4),
    "no symbol": ([[[0]]], 4),
    "precision above lprec": ([[[0, 5, 1 << 33]]], 33),
    "precision 0": ([[[0, 1]]], 0),
    "negative precision": ([[[0, 1]]], -1),
    "no dimension axis": ([[0, 5, 16]], 4),
    "too many lanes": ([[[0, 16]], [[0, 16]]], 4),
    "bad last column": ([[[0, 5, 16], [0, 5, 17]]], 4),
}


@pytest.mark.parametrize("case", BAD_POPS)
def test_a_bad_pop_is_an_error_and_changes_nothing(case):
    stack = filled([(3, 1000)] * 4)
    before = state(stack)
    with pytest.raises(StackError):
        stack.pop(*BAD_POPS[case])
    assert state(stack) == before and stack.initial_words[0] == 0


@pytest.mark.parametrize(
    "heads, tails",
    [
        ([1 << 16], [[]]),  # one digit too many
        ([(1 << 8) - 1], [[]]),
        ([1 << 8], [[256]]),
        ([1 << 8], [[], []]),
        ([1 << 8, 1 << 8], [[]]),
    ],
)
def test_from_words_refuses_words_out_of_range(heads, tails):
    with pytest.raises(StackError):
        Stack.from_words(heads, tails, lprec=8, bprec=8)


@pytest.mark.parametrize("start, stop", [(-1, 1), (0, 4), (2, 1)])
def test_select_refuses_lanes_that_are_not_there(start, stop):
    with pytest.raises(StackError):
        Stack(3).select(start, stop)


@pytest.mark.parametrize("lane", [-1, 3])
def test_tail_refuses_a_lane_that_is_not_there(lane):
    with pytest.raises((StackError, IndexError)):
        Stack(3).tail(lane)


@pytest.mark.parametrize("lprec, bprec", [(32, 32), (16, 16), (1, 63), (40, 7)])
def test_steps_are_undone_in_reverse_whatever_was_drawn_meanwhile(lprec, bprec):
    """Step t pops more than there is, so that initial words are drawn while words of earlier steps lie above them."""
    rng = np.random.default_rng(0)
    cdf = np.array([0, 1, 2], np.uint64)
    tables = np.broadcast_to(cdf, (2, 200, 3))
    stack = Stack(2, lprec, bprec, seed=1)
    states = []
    for number in range(5):
        stack.step(number)
        popped = stack.pop(tables[:, : 50 * number], 1)
        pushed = rng.integers(0, 2, (2, 30 * number + 5))
        stack.push(pushed, np.ones(pushed.shape), 1)
        states.append((popped, pushed))
    stack.step(None)
    stack = Stack.from_words(
        stack.heads, [stack.tail(k) for k in range(2)], lprec, bprec, initial_words=stack.initial_words
    )
    for number in reversed(range(5)):
        stack.step(number)
        popped, pushed = states[number]
        assert np.array_equal(stack.pop(np.broadcast_to(cdf, (2, pushed.shape[1], 3)), 1), pushed)
        stack.push(popped, np.ones(popped.shape), 1)


def test_steps_whiten_what_lies_on_the_stack():
    """Ten thousand zeros pushed in one step are popped in the next as random bits."""
    zeros = np.zeros((1, 10_000), np.uint64)
    cdf = np.broadcast_to(np.array([0, 1, 2], np.uint64), (1, 9_000, 3))
    stack = Stack(1, seed=1)
    stack.step(0)
    stack.push(zeros, np.ones(zeros.shape), 1)
    stack.step(1)
    assert abs(stack.pop(cdf, 1).mean() - 0.5) < 0.02


def test_a_step_costs_nothing():
    stack = Stack(1000, seed=1)
    before = stack.bits()
    stack.step(0)
    assert np.abs(stack.bits() - before).max() < 0.006


def test_ending_the_steps_restores_the_plain_head():
    stack = Stack(3, seed=1)
    heads = stack.heads
    stack.step(7)
    assert np.all(stack.heads != heads)
    stack.step(None)
    assert np.array_equal(stack.heads, heads)
    with pytest.raises(StackError):
        stack.step(-1)


@pytest.mark.parametrize("precision", [2, 3, 8, 16, 24, 30])
@pytest.mark.parametrize("symbol", [0, 1])
def test_a_push_by_reciprocal_is_the_push_by_division(precision, symbol):
    # Heads where a quotient that is off by the least would be another integer: next to multiples of the frequency,
    # up to the largest that may stand before a push.
    logits = np.repeat(np.arange(-4096, 4096, 7 if precision > 3 else 512, dtype=np.int32), 12)[:, None]
    bernoulli = Bernoulli(logits, precision)
    x = np.full(logits.shape, symbol, np.int32)
    start, freq = bernoulli.intervals(x)
    quotients = [(1 << 64 - precision) - 1, (1 << 64 - precision) // 3, (1 << 63 - precision) + 1, 1 << 33]
    heads = [
        min(max(quotients[i % 4] * int(f) + (0, -1, int(f) - 1)[i // 4 % 3], 1 << 32), (1 << 64) - 1)
        for i, f in enumerate(freq[:, 0])
    ]
    stacks = [Stack.from_words(np.array(heads, np.uint64), [np.zeros(0, np.uint64)] * len(heads)) for _ in range(2)]
    bernoulli.push(stacks[0], x)
    stacks[1].push(start, freq, precision)
    assert np.array_equal(stacks[0].heads, stacks[1].heads)
    assert all(np.array_equal(stacks[0].tail(lane), stacks[1].tail(lane)) for lane in range(len(heads)))
