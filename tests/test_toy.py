"""Ideal rates are those of a brute-force sum, every coder reaches its own, and the best of them the entropy."""

import json
from collections import Counter
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from math import factorial, log2, prod

import numpy as np
import pytest

from mcbits._rans import Stack
from mcbits.cli import main
from mcbits.coders.base import Coder
from mcbits.coders.bits_back import BitsBackCoder
from mcbits.coders.cis_bits_back import CISBitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder
from mcbits.coders.simple import SimpleCoder
from mcbits.coders.stochastic import StochasticCoder
from mcbits.distributions.coupling import quantile_shifts
from mcbits.errors import PluginError
from mcbits.studies.toy import ToyModel, Truth, hmm, measure, mixture

AT_16 = [SimpleCoder(), StochasticCoder(), BitsBackCoder(), ISBitsBackCoder(16), CISBitsBackCoder(16)]
BITS_BACK = [BitsBackCoder(), ISBitsBackCoder(1), ISBitsBackCoder(16), CISBitsBackCoder(1), CISBitsBackCoder(16)]
SYMBOLS, LANES = 10_000, 100


def label(coder: Coder) -> str:
    return f"{coder.short}-{getattr(coder, 'num_particles', 1)}"


@pytest.fixture(scope="module")
def known() -> dict[str, Truth]:
    """Models by name, at symbols drawn from them."""
    models = {
        "mixture": mixture(),
        "hmm": hmm(),
        "uniform mixture": mixture(proposal="uniform"),
        "uniform hmm": hmm(proposal="uniform"),
        "exact mixture": mixture(proposal="posterior"),
    }
    return {name: Truth(model, model.sample(SYMBOLS, 1)) for name, model in models.items()}


def probability(model: ToyModel, z: tuple[int, ...], x: tuple[int, ...]) -> tuple[float, float]:
    """p(x, z) and q(z|x), read off the integer tables one factor at a time."""
    joint, q, previous = 1.0, 1.0, model.num_latents
    for z_t, x_t in zip(z, x, strict=True):
        for table, row, column in ((model.transition, previous, z_t), (model.emission, z_t, x_t)):
            joint *= table.weights[row, column] / table.weights[row].sum()
        q *= model.proposal.weights[x_t, z_t] / model.proposal.weights[x_t].sum()
        previous = z_t
    return joint, q


def every_z(model: ToyModel) -> list[tuple[int, ...]]:
    return list(product(range(model.num_latents), repeat=model.num_steps))


SMALL = [mixture(3, 4, 3, "uniform"), mixture(4, 5, 3), hmm(5, 2, 3, 2), hmm(6, 2, 2, 2, "uniform")]


@pytest.mark.parametrize("model", SMALL)
def test_entropy_is_that_of_a_sum_over_every_path(model: ToyModel) -> None:
    x = model.sample(40, 1)
    bits = [-log2(sum(probability(model, z, tuple(row))[0] for z in every_z(model))) for row in x]
    truth = Truth(model, x)
    assert truth.information == pytest.approx(bits)
    assert truth.entropy == pytest.approx(np.mean(bits) / model.num_steps)


@pytest.mark.parametrize("model", SMALL)
def test_a_toy_model_is_a_distribution_over_x(model: ToyModel) -> None:
    every_x = product(range(model.emission.weights.shape[1]), repeat=model.num_steps)
    assert sum(probability(model, z, x)[0] for x in every_x for z in every_z(model)) == pytest.approx(1)


@pytest.mark.parametrize("num_particles", [1, 2, 5])
@pytest.mark.parametrize("model", SMALL)
def test_iwae_is_the_sum_over_every_multiset_of_particles(model: ToyModel, num_particles: int) -> None:
    x = model.sample(3, 2)
    truth = Truth(model, x)
    for row, bound in zip(np.unique(x, axis=0), truth.iwae(num_particles), strict=True):
        pairs = [probability(model, z, tuple(row)) for z in every_z(model)]
        expected = 0.0
        for particles in combinations_with_replacement(pairs, num_particles):
            counts = Counter(particles)
            ways = factorial(num_particles) // prod(map(factorial, counts.values()))
            mean = sum(p / q for p, q in particles) / num_particles
            expected += ways * prod(q for _, q in particles) * log2(mean)
        assert bound == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("seed", range(3))
def test_coupled_iwae_is_the_mean_over_every_u(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcbits.studies.toy.model.PRECISION", 9)
    model, coder = mixture(seed, 5, 3), CISBitsBackCoder(3)
    x = model.sample(30, 1)
    q = model.posterior(x)
    shifts = quantile_shifts(coder.num_particles, q)
    u = np.arange(1 << 9)
    bits = []
    for i, (symbol,) in enumerate(x.tolist()):
        start, _ = q.intervals(np.tile(np.arange(5), (len(x), 1))[..., None])
        z = np.searchsorted(start[i, :, 0], (u[:, None] + shifts[:, 0]) % (1 << 9), side="right") - 1
        w = np.array([p / r for p, r in (probability(model, (k,), (symbol,)) for k in range(5))])
        bits.append(-np.log2(w[z].mean(1)).mean())
    assert Truth(model, x).ideal(coder).rate == pytest.approx(np.mean(bits))


def test_a_drawn_coupled_iwae_is_within_its_error_of_the_enumerated_one() -> None:
    model = mixture()
    truth = Truth(model, model.sample(500, 1))
    exact, drawn = truth.ideal(CISBitsBackCoder(4)), truth._sampled_coupled_iwae(4)
    assert exact.standard_error == 0 < drawn.standard_error < 1e-3
    assert abs(drawn.rate - exact.rate) < 4 * drawn.standard_error


def test_the_chain_prior_puts_every_path_where_its_inverse_finds_it() -> None:
    prior, stack = hmm().prior(200), Stack(200, seed=3)
    z = prior.pop(stack)
    start, freq = prior.intervals(z)
    for quantiles in (start, start + freq - 1):
        assert np.array_equal(prior.inverse(quantiles), z)
    prior.push(stack, z)
    assert stack.net_bits() == pytest.approx(0, abs=1e-9)
    particles = prior.expand(3).pop(stack)
    assert particles.shape == (200, 3, 5)
    assert np.array_equal(prior.expand(3).total_codelength(particles), prior.expand(3).codelength(particles).sum(-1))


@pytest.mark.parametrize("coder", AT_16, ids=label)
@pytest.mark.parametrize("name", ["mixture", "hmm"])
def test_net_is_within_one_percent_of_the_exact_ideal_at_16_particles(name, coder, known) -> None:
    truth = known[name]
    found = measure(coder, truth, LANES, seed=2)
    assert abs(found.net - found.ideal) < 0.01 * found.ideal


@pytest.mark.parametrize("coder", AT_16, ids=label)
@pytest.mark.parametrize("name", ["mixture", "hmm", "uniform mixture", "uniform hmm"])
def test_on_fresh_bits_net_is_the_exact_ideal_however_poor_the_proposal(name, coder, known) -> None:
    truth = known[name]
    found = measure(coder, truth, lanes=SYMBOLS, seed=2)
    error = np.hypot(found.standard_error, found.ideal_error)
    assert abs(found.net - found.ideal) < 4 * error + 2e-4 * found.ideal


@pytest.mark.parametrize(
    ("name", "coder"), [("mixture", ISBitsBackCoder), ("mixture", CISBitsBackCoder), ("hmm", ISBitsBackCoder)]
)
def test_net_falls_towards_the_entropy_with_particles(name, coder, known) -> None:
    truth = known[name]
    found = [measure(coder(N), truth, LANES, seed=2) for N in (1, 4, 16, 64)]
    for fewer, more in zip(found, found[1:], strict=False):
        assert more.net < fewer.net + fewer.standard_error
    assert found[-1].net > truth.entropy - 4 * found[-1].standard_error
    assert found[-1].net - truth.entropy < 0.1 * (found[0].net - truth.entropy)


@pytest.mark.parametrize("coder", BITS_BACK, ids=label)
def test_with_the_exact_posterior_bits_back_reaches_the_entropy(coder, known) -> None:
    truth = known["exact mixture"]
    assert measure(coder, truth, LANES, seed=2).net == pytest.approx(truth.entropy, rel=2e-4)


def test_coupling_keeps_initial_bits_where_one_particle_has_them() -> None:
    truth = Truth(mixture(), mixture().sample(400, 1))
    independent, coupled = (measure(c(16), truth, 4, 2) for c in (ISBitsBackCoder, CISBitsBackCoder))
    assert coupled.initial_bits < 20 + 33 < independent.initial_bits


def test_a_coder_from_anywhere_may_bring_its_exact_rate() -> None:
    @dataclass(frozen=True)
    class Known(BitsBackCoder):
        short = "known"

        def expected_codelength(self, z, log_joint, log_q):
            return (np.exp2(log_q) * (log_q - log_joint)).sum(1)

    @dataclass(frozen=True)
    class Unknown(BitsBackCoder):
        short = "unknown"

    for model in (mixture(), hmm()):
        truth = Truth(model, model.sample(200, 1))
        assert truth.ideal(Known()).rate == pytest.approx(truth.ideal(BitsBackCoder()).rate)
        assert truth.ideal(Unknown()) is None


def test_a_coder_that_restores_something_else_is_named() -> None:
    @dataclass(frozen=True)
    class Broken(SimpleCoder):
        short = "broken"

        def decode(self, stack, model):
            return super().decode(stack, model) ^ 1

    with pytest.raises(PluginError, match="broken"):
        measure(Broken(), Truth(mixture(), mixture().sample(100, 1)), 10)


def test_models_and_symbols_are_functions_of_the_seed() -> None:
    assert mixture().sample(4, 1)[:, 0].tolist() == [6, 41, 19, 32]
    assert not np.array_equal(mixture(1).emission.weights, mixture(0).emission.weights)
    assert (mixture().emission.weights.sum(1) == 1 << 16).all() and mixture().emission.weights.min() >= 1


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["toy", *arguments])
    return exit.value.code, *capsys.readouterr()


def test_the_command_measures_every_coder_at_every_number_of_particles(capsys) -> None:
    options = ("--num-symbols", "300", "--num_particles", "1,4", "--lanes", "30", "--json", "--quiet")
    code, out, err = run(capsys, *options)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [(row["coder"], row["num_particles"]) for row in document["results"]] == [
        ("simple", 1), ("stochastic", 1), ("bb-elbo", 1), ("bb-is", 1), ("bb-is", 4), ("bb-cis", 1), ("bb-cis", 4),
    ]  # fmt: skip
    truth = Truth(mixture(0), mixture(0).sample(300, 1))
    assert document["entropy"] == truth.entropy
    again = measure(ISBitsBackCoder(4), truth, 30, 2)
    row = document["results"][4]
    assert (row["net"], row["ideal"], row["initial_bits"]) == (again.net, again.ideal, again.initial_bits)


def test_the_table_shows_the_entropy_and_every_coder(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    code, out, _ = run(capsys, "--model", "hmm", "--coder", "bb-elbo,bb-is", "--num_symbols", "50", "--quiet")
    assert code == 0
    for name in ("entropy", "bb-elbo", "bb-is"):
        assert name in out
    assert sum("bb-is" in line for line in out.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--num_particles", "1,x"), "'1,x' is no list of integers"),
        (("--num_particles", "0"), "num_particles must be between 1 and 65536"),
        (("--coder", "bb-iss"), "did you mean bb-is"),
    ],
)
def test_wrong_options_are_named_in_one_line(arguments, message, capsys) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and message in err
