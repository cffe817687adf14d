"""Every built-in family keeps the shared contract and rounds its law by no more than it must."""

import hashlib

import mpmath
import numpy as np
import pytest
from contract import (
    UNIT,
    check_distribution,
    check_pop,
    check_push,
    check_quantiles,
    check_refusals,
    check_symbols,
    check_table,
    frequencies,
    make_noise,
    noise_stack,
    some_symbols,
    state,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mcbits._rans import Stack
from mcbits.core.mixture import Family
from mcbits.distributions import Bernoulli, Categorical, GaussianBuckets, GaussianGrid, Particles, Uniform
from mcbits.distributions.base import Repeatable
from mcbits.distributions.family import FamilyDistribution
from mcbits.errors import McbitsError

mpmath.mp.prec = 120
quick = settings(max_examples=30)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 5))  # lanes are coded in pairs
seeds = st.integers(0, 2**32 - 1)
ONE, HALF = np.ones((1, 1), np.int32), np.full((1, 1), 0.5)


@given(shapes, st.integers(1, 30), st.data())
@quick
def test_uniform_keeps_the_contract(shape, precision, data):
    size = data.draw(st.integers(1, min(1 << precision, 300)))
    check_distribution(lambda rows: Uniform(size, (len(rows), shape[1]), precision), shape[0])


@given(shapes, st.integers(1, 30), seeds, st.data())
@quick
def test_categorical_keeps_the_contract(shape, precision, seed, data):
    """Weights from all alike to one that has everything, many of them zero."""
    size = data.draw(st.integers(1, min(1 << precision, 100)))
    rng = np.random.default_rng(seed)
    weights = np.floor(2.0 ** rng.uniform(-4, 46, (*shape, size))).astype(np.int64)
    weights[..., rng.integers(size)] += 1
    check_distribution(lambda rows: Categorical(weights[rows], precision), shape[0], seed)


@given(shapes, st.integers(1, 30), seeds)
@quick
def test_bernoulli_keeps_the_contract(shape, precision, seed):
    rng = np.random.default_rng(seed)
    extremes = np.array([-(2**31), 2**31 - 1, -4097, -4096, -4095, 0, 4094, 4095, 4096])
    logits = np.where(rng.random(shape) < 0.5, rng.integers(-4096, 4096, shape), rng.choice(extremes, shape))
    check_distribution(lambda rows: Bernoulli(logits[rows].astype(np.int32), precision), shape[0], seed)


def gaussian_parameters(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mostly like a posterior's; now and then as far out as an int32 goes."""
    mean, log_scale = rng.normal(0, 2 * 4096, shape), rng.normal(-256, 512, shape)
    far = rng.choice([-(2.0**31), -40 * 4096, 40 * 4096, 2.0**31 - 1], shape)
    edge = rng.choice([-(2.0**31), -2049, -2048, 2047, 2048, 2.0**31 - 1], shape)
    mean = np.where(rng.random(shape) < 0.2, far, mean)
    log_scale = np.where(rng.random(shape) < 0.2, edge, log_scale)
    return mean.astype(np.int32), log_scale.astype(np.int32)


@pytest.mark.parametrize("leaky", [True, False])
@given(shapes, st.integers(1, 30), seeds, st.data())
@quick
def test_gaussian_buckets_keep_the_contract(leaky, shape, precision, seed, data):
    log_num_bucket = data.draw(st.integers(1, min(precision, 12)))
    mean, log_scale = gaussian_parameters(np.random.default_rng(seed), shape)
    check_distribution(
        lambda rows: GaussianBuckets(mean[rows], log_scale[rows], log_num_bucket, precision, leaky),
        shape[0],
        seed,
        leaky,
    )


@pytest.mark.parametrize("leaky", [True, False])
@given(shapes, st.integers(1, 30), seeds, st.data())
@quick
def test_gaussian_grid_keeps_the_contract(leaky, shape, precision, seed, data):
    num_buckets = data.draw(st.integers(2, min(1 << precision, 300)))
    low = data.draw(st.floats(-10, 10))
    high = low + data.draw(st.floats(1e-3, 20))
    mean, log_scale = gaussian_parameters(np.random.default_rng(seed), shape)
    check_distribution(
        lambda rows: GaussianGrid(mean[rows], log_scale[rows], num_buckets, low, high, precision, leaky),
        shape[0],
        seed,
        leaky,
    )


EXTREMES = np.array([-(2.0**31), -(2.0**20), -1.0, 0.0, 1.0, 2.0**20, 2.0**31 - 1])


def family_parameters(rng: np.random.Generator, shape: tuple[int, int], count: int) -> np.ndarray:
    """Mostly like a network's; now and then as far out as an int32 goes."""
    usual, far = rng.normal(0, 1000, (*shape, count)), rng.choice(EXTREMES, (*shape, count))
    return np.where(rng.random((*shape, count)) < 0.1, far, usual).astype(np.int32)


@given(shapes, st.integers(1, 8), st.integers(0, 5), seeds, st.data())
@quick
def test_logistic_mixture_keeps_the_contract(shape, M, unit, seed, data):
    precision = data.draw(st.integers(1, 30))
    size = data.draw(st.integers(2, min(1 << precision, 300)))
    base = data.draw(st.integers(-size, 2 * size))
    parameters = family_parameters(np.random.default_rng(seed), shape, 3 * M)
    family = Family("logistic", size, M, unit)
    check_distribution(lambda rows: FamilyDistribution(family, parameters[rows], base, precision), shape[0], seed)


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
@given(shapes, st.integers(1, 30), seeds, st.data())
@quick
def test_evaluated_categorical_keeps_the_contract(name, shape, precision, seed, data):
    size = 2 if name == "bernoulli" else data.draw(st.integers(2, min(1 << precision, 256)))
    family = Family(name, size)
    parameters = family_parameters(np.random.default_rng(seed), shape, family.num_parameters)
    check_distribution(lambda rows: FamilyDistribution(family, parameters[rows], 0, precision), shape[0], seed)


def test_every_quantile_of_sixteen_bits_finds_its_symbol():
    rng, K = np.random.default_rng(5), 1 << 16
    family = Family("logistic", K, 4, 8)
    parameters = family_parameters(rng, (1, 40), 12)
    distribution = FamilyDistribution(family, parameters, K // 2, 30)
    for _ in range(50):
        check_quantiles_of(distribution, rng.integers(0, 1 << 30, (1, 40)).astype(np.uint64))


def check_quantiles_of(distribution, quantiles):
    """As check_quantiles, without a table of all symbols."""
    symbols = distribution.inverse(quantiles)
    start, freq = distribution.intervals(symbols)
    assert ((start <= quantiles) & (quantiles < start + freq)).all()


@pytest.mark.parametrize("precision", [1, 8, 30])
def test_one_symbol_costs_nothing_at_any_precision(precision):
    check_distribution(lambda rows: Categorical(np.full((len(rows), 2, 1), 5), precision), 2)
    check_distribution(lambda rows: Uniform(1, (len(rows), 2), precision), 2)


@pytest.mark.parametrize("precision", [1, 8, 12])
def test_as_many_symbols_as_quantiles_leaves_one_each(precision):
    size = 1 << precision
    for distribution in (
        Uniform(size, (1, 1), precision),
        Categorical(np.arange(size)[None, None], precision),
        GaussianBuckets(9000 * ONE, -700 * ONE, precision, precision),
        GaussianGrid(9000 * ONE, -700 * ONE, size, -4.0, 4.0, precision),
    ):
        assert (frequencies(distribution) == 1).all()


@pytest.mark.parametrize("precision", [8, 30])
def test_all_mass_in_one_bucket_costs_nothing(precision):
    def make(rows):
        lanes = np.ones((len(rows), 2), np.int32)
        return GaussianGrid(-163_840 * lanes, -323 * lanes, 2, 0.0, 1.0, precision, leaky=False)

    assert (frequencies(make([0]))[..., 0] == 1 << precision).all()
    check_distribution(make, 2, leaky=False)


@given(st.integers(1, 30), seeds)
@quick
def test_uniform_is_the_floor_of_equal_parts(precision, seed):
    """F(k) = floor(k 2^r / n), with a size of its own in every place."""
    rng = np.random.default_rng(seed)
    sizes = np.minimum(np.floor(2.0 ** rng.uniform(0, 30, (2, 3))), 1 << precision).astype(np.int64)
    uniform, total = Uniform(sizes, (2, 3), precision), 1 << precision
    symbols = rng.integers(0, sizes)
    starts, freqs = uniform.intervals(symbols)
    pairs = zip(symbols.ravel().tolist(), sizes.ravel().tolist())
    exact = [[k * total // n, (k + 1) * total // n] for k, n in pairs]
    np.testing.assert_array_equal(np.stack([starts, starts + freqs], -1).reshape(-1, 2), exact)
    for quantiles in (starts, starts + freqs - np.uint64(1)):
        np.testing.assert_array_equal(uniform.inverse(quantiles), symbols)
    with pytest.raises(McbitsError):
        uniform.intervals(sizes)


def test_uniform_costs_log2_of_its_size():
    """At r = 30 and n <= 2^16 at most 8.8e-5 bits more, whether or not n is a power of two."""
    sizes = np.array([[2, 3, 1000, 50_001, 65_535, 65_536]])
    for symbols in (sizes * 0, sizes // 2, sizes - 1):
        cost = Uniform(sizes, sizes.shape, 30).codelength(symbols) * UNIT
        assert (cost - np.log2(sizes) <= 4.4e-5 + UNIT).all()


@given(st.integers(1, 30), seeds, st.data())
@quick
def test_categorical_is_the_fast_leaky_rounding(precision, seed, data):
    """F(k) = k + floor((2^r - K) S_k / S_K), but for one count where the quotient in doubles falls short."""
    size = data.draw(st.integers(1, min(1 << precision, 50)))
    rng = np.random.default_rng(seed)
    weights = np.floor(2.0 ** rng.uniform(-3, 47, size)).astype(np.int64)
    weights[rng.integers(size)] += 1
    sums = [sum(weights[:k].tolist()) for k in range(size + 1)]
    exact = [k + ((1 << precision) - size) * s // sums[-1] for k, s in enumerate(sums)]
    cdf = Categorical(weights[None, None], precision).cdf()[0, 0].astype(np.int64)
    assert set(cdf - exact) <= {-1, 0}
    assert cdf[0] == 0
    assert cdf[-1] == 1 << precision


@given(seeds, st.integers(-(2**40), 2**40))
@quick
def test_categorical_from_log_weights_sees_only_their_differences(seed, shift):
    log_w = np.random.default_rng(seed).integers(-40 << 16, 40 << 16, (3, 50))
    one = Categorical.from_log2(log_w, 16)
    assert one.shape == (3, 1) and one.num_symbols == 50
    np.testing.assert_array_equal(one.cdf(), Categorical.from_log2(log_w + shift, 16).cdf())


def test_categorical_from_log_weights_is_their_softmax():
    log_w = np.random.default_rng(0).integers(-12 << 16, 0, (20, 10))
    probability = np.exp2(log_w * UNIT)
    probability /= probability.sum(1, keepdims=True)
    freqs = frequencies(Categorical.from_log2(log_w, 24))[:, 0]
    np.testing.assert_allclose(freqs, probability * 2**24, rtol=1e-5, atol=12)  # the leak is 10


@pytest.mark.parametrize("precision", [8, 16, 30])
def test_bernoulli_is_the_sigmoid(precision):
    logits = np.arange(-4096, 4096, dtype=np.int32)[None]
    ones, total = frequencies(Bernoulli(logits, precision))[0, :, 1], 1 << precision
    exact = 1 + (total - 2) / (1 + np.exp(-logits[0] / 256))  # leaky: each symbol has one to begin with
    assert np.abs(exact - ones).max() <= 1 + total * 1e-14
    assert (np.diff(ones) >= 0).all()


def test_bernoulli_clamps_logits():
    beyond = np.array([[-(2**31), -4097, 4096, 2**31 - 1]], np.int32)
    within = np.array([[-4096, -4096, 4095, 4095]], np.int32)
    np.testing.assert_array_equal(Bernoulli(beyond, 16).cdf(), Bernoulli(within, 16).cdf())


def test_bernoulli_particles_share_the_symbols():
    """x is scored under every particle's likelihood without being repeated."""
    rng = np.random.default_rng(0)
    logits, x = rng.integers(-5000, 5000, (3, 4, 100), dtype=np.int32), rng.integers(0, 2, (3, 100))
    all_particles = Bernoulli(logits, 16)
    total = all_particles.total_codelength(x)
    assert total.shape == (3, 4)
    for j in range(4):
        np.testing.assert_array_equal(Bernoulli(logits[:, j], 16).codelength(x).sum(1), total[:, j])
    j = np.array([3, 0, 2])
    chosen = all_particles.particle(j)
    np.testing.assert_array_equal(chosen.cdf(), Bernoulli(logits[np.arange(3), j], 16).cdf())


def test_particles_are_each_what_they_would_be_alone():
    rng = np.random.default_rng(0)
    weights, x = rng.integers(0, 50, (3, 4, 6 * 5)) + 1, rng.integers(0, 5, (3, 6))

    def categorical(rows):
        return Categorical(rows.reshape(len(rows), 6, 5), 12)

    particles = Particles(categorical, weights)
    assert particles.shape == (3, 4, 6)
    for j in range(4):
        alone = categorical(weights[:, j])
        np.testing.assert_array_equal(alone.cdf(), particles.cdf()[:, j])
        np.testing.assert_array_equal(alone.total_codelength(x), particles.total_codelength(x)[:, j])
    j = np.array([3, 0, 2])
    chosen = categorical(weights[np.arange(3), j])
    np.testing.assert_array_equal(particles.particle(j).cdf(), chosen.cdf())


@given(shapes, seeds)
@quick
def test_particles_are_pushed_and_popped_by_their_own_tables(shape, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 50, (shape[0], 3, shape[1] * 4))
    particles = Particles(lambda rows: Categorical(rows.reshape(len(rows), shape[1], 4), 12), weights)
    check_table(particles, leaky=True)
    for symbols in some_symbols(particles, rng):
        check_symbols(particles, symbols)
        check_push(particles, symbols, make_noise(particles, rng))
    check_pop(particles, make_noise(particles, rng))
    check_quantiles(particles, rng.integers(0, 1 << 12, particles.shape, dtype=np.uint64))
    check_refusals(particles, make_noise(particles, rng))


def families(rng: np.random.Generator, lanes: int, dims: int, precision: int):
    """One of each, as a function of the lanes wanted."""
    weights, logits = rng.integers(1, 99, (lanes, dims, 200)), rng.integers(-3000, 3000, (lanes, dims), dtype=np.int32)
    mean, log_scale = gaussian_parameters(rng, (lanes, dims))
    return {
        "uniform": lambda rows: Uniform(77, (len(mean[rows]), dims), precision),
        "categorical": lambda rows: Categorical(weights[rows], precision),
        "bernoulli": lambda rows: Bernoulli(logits[rows], precision),
        "gaussian": lambda rows: GaussianBuckets(mean[rows], log_scale[rows], 8, precision, leaky=False),
        "leaky gaussian": lambda rows: GaussianBuckets(mean[rows], log_scale[rows], 8, precision),
    }


@pytest.mark.parametrize("precision", [12, 16, 24])
@pytest.mark.parametrize("num_draws", [1, 7, 8, 40, 1700])
@pytest.mark.parametrize("lanes", [4, 11])
def test_lanes_together_are_what_each_is_alone(lanes, num_draws, precision):
    """However many are coded at a time, by whatever loop so many draws deserve, on however many threads."""
    dims = 3 if num_draws > 100 else 11
    for name, family in families(np.random.default_rng(lanes), lanes, dims, precision).items():
        together, apart = Stack(lanes, seed=5), Stack(lanes, seed=5)
        z = family(slice(None)).expand(num_draws).pop(together)
        family(slice(None)).expand(num_draws).push(together, z)  # made anew, so that nothing is known of it
        found = state(together)
        for lane in range(lanes):
            own, alone = family(slice(lane, lane + 1)).expand(num_draws), apart.select(lane, lane + 1)
            np.testing.assert_array_equal(own.pop(alone), z[lane : lane + 1], err_msg=name)
            own.push(alone, z[lane : lane + 1])
        assert state(apart) == found, name


@pytest.mark.parametrize("num_draws", [1, 40, 1700])
def test_a_push_that_fails_at_one_symbol_leaves_every_lane_as_it_was(num_draws):
    """The last that is pushed is the one without a frequency."""
    lanes, dims = 6, 3
    mean, log_scale = np.zeros((lanes, dims), np.int32), np.full((lanes, dims), -1000, np.int32)
    q = GaussianBuckets(mean, log_scale, 8, 16, leaky=False)
    stack = Stack(lanes, seed=3)
    GaussianBuckets(mean, log_scale, 8, 16).expand(50).pop(stack)
    before = state(stack)
    z = np.full((lanes, num_draws, dims), 128, np.int32)
    z[-2, 0, 0] = 255
    for known in (False, True):
        if known:
            q.cdf()
        with pytest.raises(McbitsError):
            q.expand(num_draws).push(stack, z)
        assert state(stack) == before


def check_gaussian_law(distribution, edges, mean: float, log_scale: float, leak: int) -> None:
    """The rounding of the exact masses, up to 5e-7 in the cdf and the one unit that its floor takes."""
    size, total = distribution.num_symbols, 1 << distribution.precision
    cdf = distribution.cdf()[0, 0].tolist()
    for k in range(1, size):
        mass_below = mpmath.ncdf((edges[k] - mpmath.mpf(mean)) / mpmath.exp(log_scale))
        assert abs(leak * k + (total - leak * size) * mass_below - cdf[k]) <= 1 + total * 5e-7


laws = pytest.mark.parametrize(
    "mean, log_scale",
    [(0, 0), (4096, 0), (-5000, -300), (123, -1300), (2000, 400), (9000, -800), (-20_000, 100), (7, -2048)],
)


@laws
@pytest.mark.parametrize("precision", [12, 16, 30])
@pytest.mark.parametrize("leaky", [True, False])
def test_gaussian_buckets_hold_the_exact_mass(mean, log_scale, precision, leaky):
    edges = [mpmath.sqrt(2) * mpmath.erfinv(mpmath.mpf(2 * k) / 64 - 1) for k in range(1, 64)]
    distribution = GaussianBuckets(mean * ONE, log_scale * ONE, 6, precision, leaky)
    check_gaussian_law(distribution, [None, *edges], mean / 4096, log_scale / 256, int(leaky))


@laws
@pytest.mark.parametrize("precision", [12, 16, 30])
@pytest.mark.parametrize("leaky", [True, False])
def test_gaussian_grid_holds_the_exact_mass(mean, log_scale, precision, leaky):
    edges = [-3 + 5 * mpmath.mpf(k) / 50 for k in range(51)]
    distribution = GaussianGrid(mean * ONE, log_scale * ONE, 50, -3.0, 2.0, precision, leaky)
    check_gaussian_law(distribution, edges, mean / 4096, log_scale / 256, int(leaky))


def test_gaussians_clamp_the_log_scale():
    mean = np.array([[500, 500, -7, -7]], np.int32)
    beyond = np.array([[-(2**31), -2049, 2049, 2**31 - 1]], np.int32)
    within = beyond.clip(-2048, 2048)
    for family, options in ((GaussianBuckets, (8, 16)), (GaussianGrid, (100, -4.0, 4.0, 16))):
        cdf = [family(mean, log_scale, *options).cdf() for log_scale in (beyond, within)]
        np.testing.assert_array_equal(*cdf)


def test_prior_is_uniform_over_the_buckets():
    np.testing.assert_allclose(frequencies(GaussianBuckets(0 * ONE, 0 * ONE, 8, 16)), 256, atol=1)


REFUSED = {
    "uniform, more symbols than quantiles": lambda: Uniform(5, (1, 1), 2),
    "uniform, no symbol": lambda: Uniform(0, (1, 1), 8),
    "uniform, negative size": lambda: Uniform(-3, (1, 1), 8),
    "uniform, sizes of another shape": lambda: Uniform(np.array([3, 4, 5]), (2, 2), 8),
    "uniform, precision": lambda: Uniform(2, (1, 1), 32),
    "categorical, more symbols than quantiles": lambda: Categorical(np.ones((1, 1, 5), int), 2),
    "categorical, negative weight": lambda: Categorical(np.array([[[3, -1]]]), 8),
    "categorical, no weight": lambda: Categorical(np.array([[[0, 0]]]), 8),
    "categorical, sum beyond 2^53": lambda: Categorical(np.array([[[2**53, 1]]]), 8),
    "categorical, sum beyond 2^64": lambda: Categorical(np.array([[[2**63, 2**63, 5]]], np.uint64), 8),
    "categorical, floats": lambda: Categorical(np.array([[[0.5, 0.5]]]), 8),
    "categorical, no lanes": lambda: Categorical(np.array([[1, 1]]), 8),
    "categorical, precision": lambda: Categorical(np.ones((1, 1, 1), int), 0),
    "bernoulli, floats": lambda: Bernoulli(HALF, 8),
    "bernoulli, no lanes": lambda: Bernoulli(ONE[0], 8),
    "bernoulli, precision": lambda: Bernoulli(ONE, 32),
    "buckets, more symbols than quantiles": lambda: GaussianBuckets(ONE, ONE, 4, 3),
    "buckets, negative number of bits": lambda: GaussianBuckets(ONE, ONE, -1, 8),
    "buckets, floats": lambda: GaussianBuckets(HALF, HALF, 4, 8),
    "buckets, shapes differ": lambda: GaussianBuckets(np.ones((1, 2), np.int32), ONE, 4, 8),
    "buckets, precision": lambda: GaussianBuckets(ONE, ONE, 4, 32),
    "grid, more symbols than quantiles": lambda: GaussianGrid(ONE, ONE, 9, -1.0, 1.0, 3),
    "grid, no symbol": lambda: GaussianGrid(ONE, ONE, 0, -1.0, 1.0, 8),
    "grid, no width": lambda: GaussianGrid(ONE, ONE, 4, 1.0, 1.0, 8),
    "grid, upside down": lambda: GaussianGrid(ONE, ONE, 4, 2.0, 1.0, 8),
    "grid, infinite": lambda: GaussianGrid(ONE, ONE, 4, float("-inf"), 1.0, 8),
    "grid, not a number": lambda: GaussianGrid(ONE, ONE, 4, float("nan"), 1.0, 8),
}


@pytest.mark.parametrize("case", REFUSED)
def test_parameters_without_a_meaning_are_refused(case):
    with pytest.raises(McbitsError):
        REFUSED[case]()


def golden_distributions() -> dict:
    k = np.arange(600, dtype=np.int64)
    mean = (k * 2654435761 % 32768 - 16384).astype(np.int32).reshape(3, 200)
    log_scale = (k * 40503 % 2048 - 1536).astype(np.int32).reshape(3, 200)
    return {
        "uniform": Uniform((k % 37 + 1).reshape(3, 200), (3, 200), 30),
        "categorical": Categorical((k * 2654435761 % 2**32).reshape(3, 4, 50), 16),
        "log-weights": Categorical.from_log2((k * 2654435761 % 2**21).reshape(12, 50), 16),
        "bernoulli": Bernoulli(mean // 4, 16),
        "buckets": GaussianBuckets(mean, log_scale, 8, 16),
        "fine buckets": GaussianBuckets(mean, log_scale, 12, 24),
        "proposal": GaussianBuckets(mean, log_scale, 8, 16, leaky=False),
        "grid": GaussianGrid(mean, log_scale, 256, -4.0, 4.0, 16),
    }


GOLDEN = {
    "uniform": "9039249f147533ed42b55085ef5c039e0b0a63708cf8e2e020b3c38028821a18",
    "categorical": "190f506da2ff092b81dd4ed39f3db1e4588ef1e07fc6929e0e17e6e2e9cfbe11",
    "log-weights": "deadefce8a7f7ebfc1afe385ab7aabab554d9a34aa2dd159fa26c0472b364a12",
    "bernoulli": "147dcce57ee62c338a895b8f87d75dce7ddd19e3eb66e6dd04e0b7f75d78837f",
    "buckets": "f2c2df84f7a8eaf4728eb0b62f478b797ed270ee94793a3640c2addfcbe339cf",
    "fine buckets": "4a8391297413b9c71bacf04e6f997cb753036c89342c17cf67ceffe6eeb166ad",
    "proposal": "ec7cd9dab35c11a05d1b955419dc6c7b3ce970f2933b8857fd5242baaf46c530",
    "grid": "95aa6bab4c711c65d56b1b40ed6933deb505bf53d2d843ece08739dec6157212",
}


@pytest.mark.parametrize("name", golden_distributions())
def test_golden_bits(name):
    """A change here changes every file: it is a new format version."""
    distribution = golden_distributions()[name]
    lanes, dims = distribution.shape
    noise = np.arange(1, lanes * (dims + 8) + 1, dtype=np.uint64).reshape(lanes, -1)
    stack = noise_stack(noise * np.uint64(2654435761) % np.uint64(2**32))
    symbols = distribution.pop(stack)
    lengths = distribution.codelength(symbols)
    words = [symbols, lengths, stack.heads, *(stack.tail(lane) for lane in range(lanes))]
    data = b"".join(part.astype("<u8").tobytes() for part in words)
    assert hashlib.sha256(data).hexdigest() == GOLDEN[name]


@pytest.mark.parametrize(
    "distribution",
    [
        Uniform(4, (3, 5), 8),
        Categorical.from_log2(np.zeros((3, 4), np.int64), 8),
        GaussianBuckets(np.zeros((3, 5), np.int32), np.zeros((3, 5), np.int32), 4, 12),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_no_particles_are_popped_as_none(distribution: Repeatable) -> None:
    assert distribution.expand(0).pop(Stack(3)).shape == (3, 0, distribution.shape[1])
