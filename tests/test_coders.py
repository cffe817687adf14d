"""Every coder undoes itself bit for bit, whatever is computed together, and costs what its bound says."""

import numpy as np
import pytest

from mcbits._rans import Stack
from mcbits.coders.bits_back import BitsBackCoder
from mcbits.coders.cis_bits_back import CISBitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder, swap_with_last
from mcbits.coders.simple import SimpleCoder
from mcbits.coders.stochastic import StochasticCoder
from mcbits.distributions import Bernoulli, GaussianBuckets, Uniform
from mcbits.distributions.coupling import integer_shifts, shifts
from mcbits.errors import DataError, UsageError
from mcbits.latents.base import LatentModel

BITS_BACK = [BitsBackCoder(), ISBitsBackCoder(1), ISBitsBackCoder(7), CISBitsBackCoder(1), CISBitsBackCoder(7)]
CODERS = [SimpleCoder(), StochasticCoder(), *BITS_BACK]
DIMS, LATENTS = 30, 6


class Toy(LatentModel):
    """A LatentModel without a network: logits and posterior means are fixed integer-linear maps of z and x."""

    index_precision = 24

    def __init__(self, rows_at_once=True):
        rng = np.random.default_rng(0)
        self.to_x = rng.integers(-3, 4, (LATENTS, DIMS))
        self.rows_at_once = rows_at_once

    def prior(self, lanes):
        return Uniform(64, (lanes, LATENTS), 8)

    def posterior(self, x):
        mean = (2 * np.asarray(x, np.int64) - 1) @ self.to_x.T * 60
        return GaussianBuckets(mean.astype(np.int32), np.full(mean.shape, -150, np.int32), 6, 16, leaky=False)

    def likelihood(self, z):
        rows = np.asarray(z, np.int64).reshape(-1, LATENTS)
        if self.rows_at_once:
            logits = (rows - 32) @ self.to_x * 4
        else:
            logits = np.concatenate([(row[None] - 32) @ self.to_x * 4 for row in rows])
        return Bernoulli(logits.reshape(*np.shape(z)[:-1], DIMS).astype(np.int32), 16)

    def sample(self, n, seed=1):
        """Images (n, DIMS) from the model itself."""
        z = Uniform(64, (n, LATENTS), 8).pop(Stack(n, seed=seed))
        return self.likelihood(z).pop(Stack(n, seed=seed + 1))


def reread(stack):
    """The stack as a decoder gets it."""
    tails = [stack.tail(k) for k in range(stack.lanes)]
    return Stack.from_words(stack.heads, tails, initial_words=stack.initial_words)


def state(stack):
    return stack.heads.tolist(), [stack.tail(k).tolist() for k in range(stack.lanes)]


@pytest.mark.parametrize("lanes", [1, 5])
@pytest.mark.parametrize("coder", CODERS, ids=lambda c: f"{c.short}-{getattr(c, 'num_particles', '')}")
def test_decode_inverts_encode_and_gives_the_bits_back(coder, lanes):
    model, steps = Toy(), 20
    x = model.sample(lanes * steps).reshape(steps, lanes, DIMS)
    stack = Stack(lanes, seed=3)
    for step, images in enumerate(x):
        stack.step(step)
        coder.encode(stack, images, model)
    stack.step(None)
    encoded = state(stack)
    stack = reread(stack)
    for step, images in reversed(list(enumerate(x))):
        stack.step(step)
        assert np.array_equal(coder.decode(stack, model), images)
    if coder.short != "stochastic":  # whose samples are not in the message
        for step, images in enumerate(x):
            stack.step(step)
            coder.encode(stack, images, model)
        stack.step(None)
        assert state(stack) == encoded


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: f"{c.short}-{getattr(c, 'num_particles', '')}")
def test_lanes_are_coded_alike_together_and_one_by_one(coder):
    x = Toy().sample(12).reshape(4, 3, DIMS)
    together, apart = Stack(3, seed=3), Stack(3, seed=3)
    for images in x:
        coder.encode(together, images, Toy())
        for lane in range(3):
            coder.encode(apart.select(lane, lane + 1), images[lane : lane + 1], Toy(rows_at_once=False))
    assert state(together) == state(apart)


@pytest.mark.parametrize("coder", CODERS, ids=lambda c: f"{c.short}-{getattr(c, 'num_particles', '')}")
def test_the_message_grows_by_the_ideal_codelength(coder):
    model, stack = Toy(), Stack(seed=4)
    ideal = sum(coder.encode(stack, images[None], model)[0] for images in model.sample(400)) * 2.0**-16
    assert stack.net_bits()[0] == pytest.approx(ideal, rel=2e-4)


def test_more_particles_lower_the_rate_and_coupling_the_initial_bits():
    model = Toy()
    x = model.sample(500)

    def cost(coder):
        stack = Stack(seed=5)
        for images in x:
            coder.encode(stack, images[None], model)
        return stack.net_bits()[0] / len(x), stack.initial_bits()[0]

    elbo, _ = cost(BitsBackCoder())
    few, few_bits = cost(ISBitsBackCoder(4))
    many, many_bits = cost(ISBitsBackCoder(64))
    coupled, coupled_bits = cost(CISBitsBackCoder(64))
    assert elbo > few > many
    assert coupled == pytest.approx(many, rel=0.02)
    assert coupled_bits <= 16 * LATENTS + 33 < few_bits < many_bits


def test_shifts_are_distinct_bijections_that_start_with_the_identity():
    s = integer_shifts(100, 50)
    assert not s[0].any() and len(np.unique(s[1:])) == 99 * 50
    assert np.array_equal(s, integer_shifts(100, 50)) and np.array_equal(shifts(100, 50), s / 2**32)
    assert abs(shifts(100, 50)[1:].mean() - 0.5) < 0.02
    assert s[1, 0] == 3822966890  # part of the format
    with pytest.raises(ValueError):
        s[0, 0] = 1


def test_swapping_twice_is_the_identity():
    z = np.arange(2 * 5 * 3).reshape(2, 5, 3)
    again = z.copy()
    swap_with_last(again, np.array([4, 1]))
    assert np.array_equal(again[1, -1], z[1, 1]) and np.array_equal(again[0], z[0])
    swap_with_last(again, np.array([4, 1]))
    assert np.array_equal(again, z)


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "5", True])
def test_options_are_checked(wrong):
    with pytest.raises(UsageError, match="num_particles"):
        ISBitsBackCoder(wrong)


def test_images_outside_the_model_leave_the_stack_alone():
    stack = Stack(seed=1)
    before = state(stack)
    with pytest.raises(DataError):
        SimpleCoder().encode(stack, np.full((1, DIMS), 2, np.int32), Toy())
    assert state(stack) == before


@pytest.mark.parametrize("coder", [BitsBackCoder(), ISBitsBackCoder(16), CISBitsBackCoder(16)], ids=lambda c: c.short)
def test_steps_find_clean_bits_even_under_a_poor_proposal(coder):
    """With q far from p(z|x), what a step pushes back is biased; popped as it is, it would cost the next step
    percents."""
    model = Toy()
    model.posterior = lambda x: GaussianBuckets(
        np.zeros((len(x), LATENTS), np.int32), np.zeros((len(x), LATENTS), np.int32), 6, 16
    )
    x = model.sample(3000)

    def cost(lanes):
        stack = Stack(lanes, seed=6)
        for step in range(len(x) // lanes):
            stack.step(step)
            coder.encode(stack, x[step * lanes : (step + 1) * lanes], model)
        return stack.net_bits().sum()

    assert cost(1) == pytest.approx(cost(len(x)), rel=0.02)
