"""The numerics are as accurate as they say (against 120-bit arithmetic), monotone, and pinned bit for bit."""

import hashlib
import math

import mpmath
import numpy as np
import pytest

from mcbits.core.numerics import exp_array as exp
from mcbits.core.numerics import log2_array as log2
from mcbits.core.numerics import ndtr_array as ndtr
from mcbits.core.numerics import ndtri_array as ndtri
from mcbits.core.numerics import sigmoid_array as sigmoid
from mcbits.exact import functions

mpmath.mp.prec = 120
FUNCTIONS = {"exp": exp, "log2": log2, "ndtr": ndtr, "ndtri": ndtri, "sigmoid": sigmoid}


def exact_ndtr(x):
    return mpmath.erfc(-mpmath.mpf(x) / mpmath.sqrt(2)) / 2


def grid(low: float, high: float, n: int = 2000) -> np.ndarray:
    """Evenly spaced points, jittered so that they are no round numbers."""
    rng = np.random.default_rng(0)
    return np.sort(np.concatenate([np.linspace(low, high, n // 2), rng.uniform(low, high, n // 2)]))


def probabilities() -> np.ndarray:
    """The lower tail down to 2^-1000, the upper to 2^-53, the middle, and the edges i / 2^8 of buckets."""
    tail = 2.0 ** -np.linspace(1, 1000, 300)
    upper = 1 - 2.0 ** -np.linspace(1, 53, 200)
    edges = np.arange(1, 256) / 256
    return np.unique(np.concatenate([tail, upper, edges, grid(1e-6, 1 - 1e-6, 1000)]))


DOMAINS = {
    "exp": np.concatenate([grid(-708, 709), grid(-1, 1)]),
    "log2": np.concatenate([2.0 ** grid(-1021, 1023), grid(0.5, 2), 1 + 2.0 ** -np.arange(1.0, 53)]),
    "ndtr": np.concatenate([grid(-37, 9), grid(-1, 1)]),
    "ndtri": probabilities(),
    "sigmoid": np.concatenate([grid(-700, 40), grid(-1, 1)]),
}


@pytest.mark.parametrize(
    "name, reference, relative, absolute",
    [
        ("exp", mpmath.exp, 1e-15, 0),
        ("log2", lambda x: mpmath.log(x, 2), 1e-15, 1e-15),
        ("ndtr", exact_ndtr, 1e-14, 0),
        ("sigmoid", lambda x: 1 / (1 + mpmath.exp(-x)), 2e-15, 0),
    ],
)
def test_values_agree_with_high_precision(name, reference, relative, absolute):
    points = DOMAINS[name]
    for x, y in zip(points.tolist(), FUNCTIONS[name](points).tolist()):
        truth = reference(mpmath.mpf(x))
        assert abs(y - truth) <= max(relative * abs(truth), absolute), (name, x, y)


def test_ndtri_inverts_the_exact_ndtr():
    """The error of x = ndtri(p) is (ndtr(x) - p) / density(x), to first order."""
    points = DOMAINS["ndtri"]
    for p, x in zip(points.tolist(), ndtri(points).tolist()):
        error = (exact_ndtr(x) - mpmath.mpf(p)) / mpmath.npdf(x)
        assert abs(error) <= max(1e-14 * abs(x), 2e-16), (p, x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_monotone_on_a_fine_grid(name):
    points = np.sort(DOMAINS[name])
    even, between = np.linspace(points[0], points[-1], 200_000), (points[1:] + points[:-1]) / 2
    fine = np.sort(np.concatenate([points, even, between]))
    assert (np.diff(FUNCTIONS[name](fine)) >= 0).all()


@pytest.mark.parametrize(
    "function, x, y",
    [
        (exp, 0.0, 1.0),
        (exp, -math.inf, 0.0),
        (exp, math.inf, math.inf),
        (exp, -1e4, 0.0),
        (exp, 1e4, math.inf),
        (log2, 1.0, 0.0),
        (log2, 0.0, -math.inf),
        (log2, math.inf, math.inf),
        (log2, -1.0, math.nan),
        (ndtr, 0.0, 0.5),
        (ndtr, -math.inf, 0.0),
        (ndtr, math.inf, 1.0),
        (ndtr, -1e4, 0.0),
        (ndtr, 1e4, 1.0),
        (sigmoid, 0.0, 0.5),
        (sigmoid, -math.inf, 0.0),
        (sigmoid, math.inf, 1.0),
        (sigmoid, -1e4, 0.0),
        (ndtri, 0.5, 0.0),
        (ndtri, 0.0, -math.inf),
        (ndtri, 1.0, math.inf),
        (ndtri, -0.1, math.nan),
        (ndtri, 1.1, math.nan),
        *((function, math.nan, math.nan) for function in FUNCTIONS.values()),
    ],
)
def test_special_values(function, x, y):
    np.testing.assert_array_equal(function(np.array([x])), [y])


def test_log2_of_a_power_of_two_is_exact():
    exponents = np.arange(-1022.0, 1024.0)
    np.testing.assert_array_equal(log2(np.ldexp(1.0, exponents.astype(int))), exponents)


def test_normal_quantile_is_odd_about_one_half():
    p = np.arange(1, 2048) / 4096  # 1 - p is exact
    np.testing.assert_array_equal(ndtri(p), -ndtri(1 - p))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bits_do_not_depend_on_how_the_array_is_cut(name):
    """A vectorised loop and its scalar remainder must round alike."""
    points = DOMAINS[name][:1003]
    function = FUNCTIONS[name]
    whole = function(points)
    assert function(points.reshape(17, 59)).tobytes() == whole.tobytes()
    one_by_one = np.concatenate([function(point) for point in points[:, None]])
    assert one_by_one.tobytes() == whole.tobytes()
    assert function(np.repeat(points, 2)[::2]).tobytes() == whole.tobytes()


def golden_points(name: str) -> np.ndarray:
    """Points made without any rounding, so that the golden bits test the function alone."""
    k = np.arange(1, 4097, dtype=np.int64)
    u = (k * 2654435761 % 2**32).astype(np.float64) / 2**32
    points = {"exp": u * 1024 - 512, "log2": u * 1024, "ndtr": u * 64 - 32, "ndtri": u, "sigmoid": u * 1024 - 960}
    return points[name]


GOLDEN = {
    "exp": "b8f5af322959f84f224e0ca8c69a062a84721a76915601693d5689ab2d98e741",
    "log2": "969755d0b8117ebe5f7526687e2f3eda5a64c96535809eb0fa3186e026c1c43f",
    "ndtr": "23918f322aeb419cdea159c5ac8b6f4c69bac526153a0e793dc301cf9cd7418d",
    "ndtri": "8e9ac3a105774d31443ff74f023c215ab1305217d4bbd296ae65926d4db3e0ea",
    "sigmoid": "c2327b6a9fd42be100343efe3564ea7ddf55a73eae603868a949006777428878",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_golden_bits(name):
    values = FUNCTIONS[name](golden_points(name))
    assert hashlib.sha256(values.astype("<f8").tobytes()).hexdigest() == GOLDEN[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_public_functions_are_these(name):
    points = DOMAINS[name][:100]
    assert getattr(functions, name)(points.tolist()).tobytes() == FUNCTIONS[name](points).tobytes()
