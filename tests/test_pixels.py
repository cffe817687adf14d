"""Pixels that see their neighbours decode to the same pictures, and their bytes depend on no order of computing."""

import numpy as np
import pytest
from builders import frozen_pixels, pixel_heads, smooth_pictures
from contract import noise_stack, oracles, state
from hypothesis import given, settings
from hypothesis import strategies as st
from pixel_oracle import PixelOracle

import mcbits
from mcbits._rans import Stack
from mcbits.coders.simple import SimpleCoder
from mcbits.core import simd
from mcbits.core.mixture import Family
from mcbits.core.neighbours import Neighbours, codelength_of
from mcbits.core.threads import Alone
from mcbits.errors import DataError, UsageError
from mcbits.latents.options import Precisions
from mcbits.observations.neighbours import difference_table, level_table
from mcbits.testing import check_coder


def runtime(channels=1, radius=2, *, symbols=256, unit=0, M=3, features=0):
    networks = pixel_heads(channels, radius, M=M, features=features)
    family = Family("logistic", symbols, M, unit)
    tables = difference_table(symbols, unit), level_table(symbols)
    return Neighbours(family, radius, [network.dense() for network in networks], *tables, features), networks


def some_features(shape, features, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(-1023, 1024, (*shape, features)).astype(np.int16)


@given(
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    st.integers(2, 3),
    st.sampled_from([(256, 0, 22), (300, 2, 23), (1 << 16, 7, 30), (2, 0, 16)]),
    st.integers(0, 3),
    st.integers(1, 5),
)
@settings(max_examples=25, deadline=None)
def test_push_is_that_of_plain_python_and_pop_undoes_it(shape, radius, kind, num_features, lanes):
    symbols, unit, precision = kind
    lanes = min(lanes, shape[0])
    core, networks = runtime(shape[3], radius, symbols=symbols, unit=unit, features=num_features)
    x, features = smooth_pictures(shape, symbols), some_features(shape[:3], num_features)
    noise = np.random.default_rng(1).integers(0, 1 << 32, (lanes, 4 + x.size), dtype=np.uint64)
    stack = noise_stack(noise)
    before, expected = state(stack), oracles(stack)
    oracle = PixelOracle(networks, K=symbols, unit=unit, radius=radius, precision=precision)
    oracle.encode(x.astype(int), features, expected)
    core.push(stack, *core.intervals(x, features, precision), precision)
    assert state(stack) == [(each.head, each.tail) for each in expected]
    np.testing.assert_array_equal(core.pop(stack, shape[:3], features, precision), x)
    assert state(stack) == before


def test_pop_then_push_is_the_identity():
    core, _ = runtime(3, radius=3)
    noise = np.random.default_rng(2).integers(0, 1 << 32, (2, 4000), dtype=np.uint64)
    stack, features = noise_stack(noise), some_features((4, 6, 7), 0)
    before = state(stack)
    x = core.pop(stack, (4, 6, 7), features, 22)
    core.push(stack, *core.intervals(x, features, 22), 22)
    assert state(stack) == before and len(np.unique(x)) > 50


def test_later_samples_change_no_earlier_interval():
    """A context that held a pixel not yet decoded would look better than it is."""
    core, _ = runtime(3, radius=3)
    x = smooth_pictures((1, 12, 13, 3))
    order = PixelOracle([None] * 3, K=256, unit=0, radius=3, precision=22).order(12, 13, 1, 1, 0)
    features, rng = some_features((1, 12, 13), 0), np.random.default_rng(3)
    starts, freqs = core.intervals(x, features, 22)
    for cut in rng.integers(1, len(order), 30):
        changed = x.copy()
        for at in order[cut:]:
            changed[at] = rng.integers(256)
        again = core.intervals(changed, features, 22)
        for at in order[:cut]:
            assert (starts[at], freqs[at]) == (again[0][at], again[1][at])


@pytest.mark.parametrize("width", [0, 1, 2])
def test_bytes_depend_on_no_width_of_registers_and_no_thread(width):
    frozen, x = frozen_pixels(3), smooth_pictures((5, 30, 41, 3)).astype(np.uint8)
    usual = mcbits.compress(x, frozen, lanes=3)
    simd.set_width(width)
    try:
        with Alone():
            assert mcbits.compress(x, frozen, lanes=3) == usual
            np.testing.assert_array_equal(mcbits.decompress(usual, frozen), x)
    finally:
        simd.set_width(-1)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (2, 3), (3, 2), (13, 64), (64, 13), (31, 33)])
def test_pictures_of_every_size_come_back(size, channels):
    frozen = frozen_pixels(channels)
    x = smooth_pictures((3, *size, channels)).astype(np.uint8)
    x = x[..., 0] if channels == 1 else x
    for lanes in (1, 2, 7):
        np.testing.assert_array_equal(mcbits.decompress(mcbits.compress(x, frozen, lanes=lanes), frozen), x)


def test_samples_of_sixteen_bits_come_back_in_their_type():
    frozen = frozen_pixels(symbols=1 << 16, unit=7)
    x = smooth_pictures((2, 9, 11), 1 << 16)
    x[0, 0, :2] = 0, 65535
    restored = mcbits.decompress(mcbits.compress(x, frozen), frozen)
    assert restored.dtype == np.uint16
    np.testing.assert_array_equal(restored, x)


def test_blocks_hold_about_a_million_samples():
    frozen, x = frozen_pixels(), smooth_pictures((3, 700, 1000)).astype(np.uint8)
    blob = mcbits.compress(x, frozen, workers=2)
    assert blob == mcbits.compress(x, frozen)
    np.testing.assert_array_equal(mcbits.decompress(blob, frozen, workers=2), x)


@pytest.mark.parametrize("coder", ["bb-elbo", "bb-is", "bb-cis", "simple", "stochastic"])
def test_without_latents_every_coder_is_the_simple_one(coder):
    frozen, x = frozen_pixels(), smooth_pictures((20, 8, 8)).astype(np.uint8)
    assert mcbits.compress(x, frozen, coder=coder) == mcbits.compress(x, frozen, coder="simple")


def test_the_latent_model_keeps_what_coders_promise():
    frozen = frozen_pixels()
    model = frozen.of_shape((8, 8)).latent_model(Precisions())
    check_coder(SimpleCoder(), model, smooth_pictures((120, 8, 8)).reshape(120, 64).astype(np.int32), lanes=2)


def test_codelengths_are_what_pushes_cost():
    core, _ = runtime(3, radius=3)
    x, features = smooth_pictures((6, 20, 20, 3)), some_features((6, 20, 20), 0)
    starts, freqs = core.intervals(x, features, 22)
    stack = Stack()
    core.push(stack, starts, freqs, 22)
    expected = codelength_of(freqs.reshape(6, -1), 22).sum() * 2.0**-16
    assert stack.net_bits().sum() == pytest.approx(expected, abs=0.0001 * x.size)


@pytest.mark.parametrize("shape", [(4, 4, 4), (4, 4), (64,), (4, 4, 3, 1)])
def test_images_of_other_channels_are_refused(shape):
    with pytest.raises(DataError, match="expects"):
        mcbits.compress(np.zeros((2, *shape), np.uint8), frozen_pixels(3))


def test_a_sample_beyond_the_symbols_is_refused():
    with pytest.raises(DataError, match="a pixel is 17"):
        mcbits.compress(np.full((2, 4, 4), 17, np.uint8), frozen_pixels(symbols=17))


def test_refinement_without_latents_is_refused():
    with pytest.raises(UsageError, match="no latents"):
        mcbits.compress(np.zeros((2, 4, 4), np.uint8), frozen_pixels(), iterative_post_improvement=True)
