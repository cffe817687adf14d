"""The AVX2 loops and the plain ones give the same bits, so which of them a machine runs cannot be told from a file."""

import numpy as np
import pytest

from mcbits.core import fixed, simd
from mcbits.distributions import Bernoulli, GaussianBuckets, GaussianGrid

rng = np.random.default_rng(0)


@pytest.fixture
def both(request):
    """Calls a function under the plain loops and under the processor's, and returns both results."""

    def call(function):
        results = []
        for wide in (0, -1):
            simd.set_width(wide)
            results.append(function())
        return results

    yield call
    simd.set_width(-1)


@pytest.mark.parametrize("precision", [9, 16, 30])
@pytest.mark.parametrize("leaky", [True, False])
@pytest.mark.parametrize("num_buckets", [3, 64, 255, 256])
def test_gaussian_tables(both, precision, leaky, num_buckets):
    mean = rng.integers(-40000, 40000, (4, 300)).astype(np.int32)
    log_scale = rng.integers(-3000, 3000, (4, 300)).astype(np.int32)
    a, b = both(lambda: GaussianGrid(mean, log_scale, num_buckets, -3.0, 3.5, precision, leaky).cdf())
    assert np.array_equal(a, b)
    if num_buckets in (64, 256):
        bits = num_buckets.bit_length() - 1
        a, b = both(lambda: GaussianBuckets(mean, log_scale, bits, precision, leaky).cdf())
        assert np.array_equal(a, b)


@pytest.mark.parametrize("dims", [1, 7, 8, 784, 1024, 1025, 5000])
def test_bernoulli_totals(both, dims):
    logits = rng.integers(-6000, 6000, (2, 5, dims)).astype(np.int32)
    logits[0, 0] = rng.choice([-(2**31), 2**31 - 1], dims)
    x = rng.integers(0, 2, (2, dims))
    a, b = both(lambda: Bernoulli(logits, 16).total_codelength(x))
    assert np.array_equal(a, b)
    assert np.array_equal(a, Bernoulli(logits, 16).codelength(np.repeat(x[:, None], 5, axis=1)).sum(axis=2))


@pytest.mark.parametrize("channels", [1, 8, 200, 203])
@pytest.mark.parametrize("shift", [0, 1, 11])
def test_lookups(both, channels, shift):
    limit = 2**24 - 1
    acc = rng.integers(-limit // 2, limit // 2, (20, channels)).astype(np.float32)
    bias = rng.integers(-limit // 2, limit // 2, channels).astype(np.float32)
    table = rng.integers(-256, 257, 8192).astype(np.float32)

    def run():
        out = np.empty_like(acc)
        fixed.lookup["float", "float"](acc, bias, shift, -4096, table, False, 0, out)
        return out

    a, b = both(run)
    assert np.array_equal(a, b)
    index = ((acc + bias).astype(np.int64) + (1 << shift >> 1) >> shift) + 4096
    assert np.array_equal(a, table[np.clip(index, 0, 8191)])
