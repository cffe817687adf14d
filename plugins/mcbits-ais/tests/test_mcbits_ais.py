"""Run where mcbits and mcbits-ais are installed: python -m pytest plugins/mcbits-ais"""

import json
import subprocess
import sys
from io import BytesIO
from itertools import product
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch
from mcbits_ais.bound import AIS
from mcbits_ais.chains import Flips, Tape, accept, flips
from mcbits_ais.coder import AISBitsBackCoder
from mcbits_ais.schedules import SCHEDULES, inverse_temperatures

import mcbits
from mcbits.archive.format import read_header
from mcbits.bounds.base import find_bound
from mcbits.coders.base import Stack, find_coder
from mcbits.coders.bits_back import BitsBackCoder
from mcbits.errors import UsageError
from mcbits.latents.options import Precisions
from mcbits.latents.vae import FrozenVAE
from mcbits.models.binary_vae import BinaryVAE
from mcbits.studies.toy import Truth, hmm, measure, mixture
from mcbits.training.evaluation import evaluate

GOLDEN = Path(__file__).parent / "golden"
BITSWAP = pytest.mark.parametrize("bitswap", [False, True])


def images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (n, 8, 8), np.uint8)


def network(latent_dim: int, sharpness: float = 1.0) -> BinaryVAE:
    """With `sharpness` a q(z|x) so narrow that it has counts for few of the 256 buckets."""
    torch.manual_seed(0)
    vae = BinaryVAE(shape=(8, 8), latent_dim=latent_dim).eval()
    with torch.no_grad():
        for weights in vae.decoder.parameters():
            weights *= 2
        for weights in list(vae.encoder.parameters())[-1:]:
            weights -= sharpness
    return vae


@pytest.fixture(scope="module", params=[1, 2, 6])
def vae(request: pytest.FixtureRequest) -> BinaryVAE:
    return network(request.param)


def test_both_are_registered() -> None:
    assert find_coder("bb-ais") is find_coder("AISBitsBackCoder") is AISBitsBackCoder
    assert find_bound("ais") is AIS


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("n", [0, 1, 7, 1 << 16])
def test_inverse_temperatures_rise_from_0_to_1(schedule: str, n: int) -> None:
    beta = inverse_temperatures(n, schedule)
    assert len(beta) == n + 1
    assert beta[0] == 0
    assert n == 0 or beta[-1] == 1 << 16
    assert (np.diff(beta) >= 0).all() and (n == 0 or np.abs(beta + beta[::-1] - (1 << 16)).max() <= 2)


def test_metropolis_hastings_is_in_detailed_balance_to_the_last_count() -> None:
    rng = np.random.default_rng(1)
    K = 9
    q, W = rng.integers(0, 50, (3, K)), rng.integers(1, 1 << 24, (3, K))
    T = np.stack([accept(q, W, np.full(3, z)) for z in range(K)], axis=1)
    assert (T >= 0).all() and np.array_equal(T.sum(2), W * q.sum(1, keepdims=True))
    # Of f = q W, T(z'|z) as a fraction of W(z) sum(q): both flows are these over sum(q).
    flow = q[..., None] * T
    assert np.array_equal(flow, flow.swapaxes(1, 2))


def test_candidates_of_a_step_are_a_group_and_stratified() -> None:
    s = flips(5, 50)
    for i, j in product(range(4), repeat=2):
        assert np.array_equal(s[:, i] ^ s[:, j], s[:, i ^ j])
    moves = s[:, 1] != 0
    assert (moves.sum(1) == 20).all() and moves.any(0).sum() > 40
    for step in range(5):
        assert (np.sort(s[step][:, moves[step]] >> 30, axis=0) == np.arange(4)[:, None]).all()
        assert not s[step][:, ~moves[step]].any()


def test_one_step_costs_importance_sampling_among_its_candidates() -> None:
    model = network(6).freeze().latent_model(Precisions())
    x = images(5).reshape(5, -1).astype(np.int32)
    chain = Flips(model, model.posterior(x), x, inverse_temperatures(1, "linear"))
    tape = Tape(Stack(5, seed=3))
    chain.start(tape)
    w = np.exp2(chain.log_weights(chain.q.inverse(chain.u[:, None] ^ flips(2, 6)[1] >> 16)) / 65536)
    start = tape.bits.copy()
    tape.push(*chain.step(1, True, tape))
    assert (tape.bits - start - chain.log_w[:, 0]) / 65536 == pytest.approx(-np.log2(w.mean(1)), abs=1e-3)


@BITSWAP
@pytest.mark.parametrize("num_steps", [0, 1, 5])
@pytest.mark.parametrize("toy", [mixture(2, 20, 7), hmm(2)], ids=["mixture", "hmm"])
def test_decoding_restores_symbols_and_stack(toy, num_steps: int, bitswap: bool) -> None:
    coder = AISBitsBackCoder(num_steps, bitswap=bitswap)
    x = toy.sample(60, 1).reshape(20, 3, -1)
    stack = Stack(3, seed=1)
    bits = sum(coder.encode(stack, each, toy) for each in x)
    assert abs(stack.net_bits().sum() - bits.sum() / 65536) < 60
    for each in reversed(x):
        assert np.array_equal(coder.decode(stack, toy), each)
    assert stack.net_bits() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_with_the_exact_posterior_every_step_is_free(schedule: str) -> None:
    toy = mixture(0, 64, 16, proposal="posterior")
    truth = Truth(toy, toy.sample(300, 1))
    for num_steps in (0, 1, 16):
        coder = AISBitsBackCoder(num_steps, schedule)
        assert truth.ideal(coder).rate == pytest.approx(truth.entropy, abs=1e-9)
    assert measure(coder, truth, 100).net == pytest.approx(truth.entropy, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_exact_rate_is_the_sum_over_every_path(seed: int, schedule: str) -> None:
    toy, coder = mixture(seed, 4, 3), AISBitsBackCoder(2, schedule)
    (beta_1, beta_2), x = inverse_temperatures(3, schedule)[1:3] / 65536, toy.sample(30, 1)
    expected = 0.0
    for (symbol,) in x.tolist():
        p = toy.transition.weights[-1] * toy.emission.weights[:, symbol] / 2**32
        q = toy.proposal.weights[symbol] / toy.proposal.weights[symbol].sum()

        def step(start: int, end: int, beta: float, w: np.ndarray = p / q, q: np.ndarray = q) -> float:
            move = q * np.minimum(1, (w / w[start]) ** beta)
            return move[end] if end != start else 1 - (move.sum() - move[start])

        for z_0, z_1, z_2 in product(range(4), repeat=3):
            there = step(z_0, z_1, beta_1) * step(z_1, z_2, beta_2)
            back = step(z_1, z_0, beta_1) * step(z_2, z_1, beta_2)
            expected -= q[z_0] * there * log2(p[z_2] * back / (q[z_0] * there))
    assert Truth(toy, x).ideal(coder).rate == pytest.approx(expected / len(x))


@pytest.fixture(scope="module", params=["noisy", "uniform"])
def truth(request: pytest.FixtureRequest) -> Truth:
    toy = mixture(0, 64, 16, proposal=request.param)
    return Truth(toy, toy.sample(2000, 1))


def test_exact_rate_falls_from_the_elbo_towards_the_entropy(truth: Truth) -> None:
    rates = [truth.ideal(AISBitsBackCoder(T)).rate for T in (0, 1, 4, 16, 32)]
    assert rates[0] == pytest.approx(truth.ideal(BitsBackCoder()).rate)
    assert (np.diff(rates) < 0).all() and rates[-1] > truth.entropy
    assert rates[-1] - truth.entropy < 0.2 * (rates[0] - truth.entropy)


def test_net_is_the_exact_rate_and_bitswap_saves_initial_bits(truth: Truth) -> None:
    plain, swapped = (measure(AISBitsBackCoder(16, bitswap=b), truth, 100, 2) for b in (False, True))
    for found in (plain, swapped):
        assert found.ideal_error == 0
        assert abs(found.net - found.ideal) < 0.01 * found.ideal
    assert swapped.initial_bits < 0.6 * plain.initial_bits


@BITSWAP
@pytest.mark.parametrize("lanes", [1, 3])
def test_images_come_back(vae: BinaryVAE, lanes: int, bitswap: bool) -> None:
    model, x = vae.freeze(), images(7)
    blob = mcbits.compress(x, model, coder="bb-ais", lanes=lanes, num_steps=3, bitswap=bitswap)
    assert np.array_equal(mcbits.decompress(blob, model), x)


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.mcb")), ids=lambda file: file.stem)
def test_golden_files_decode_and_are_written_again_byte_for_byte(file: Path) -> None:
    blob, x = file.read_bytes(), np.load(GOLDEN / "images.npy")
    assert np.array_equal(mcbits.decompress(blob), x)
    header = read_header(BytesIO(blob))
    options = header.options | {"lanes": header.lanes, "embed_model": True, "seed": 0}
    assert mcbits.compress(x, FrozenVAE(header.model), coder=header.coder, **options) == blob


@pytest.mark.parametrize("latent_dim", [1, 6])
def test_a_proposal_with_buckets_of_no_count_is_no_obstacle(latent_dim: int) -> None:
    model, x = network(latent_dim, sharpness=4.0).freeze(), images(20)
    q = model.latent_model(Precisions()).posterior(x.reshape(20, -1))
    assert (np.diff(q.cdf().astype(int)) == 0).mean() > 0.5
    blob = mcbits.compress(x, model, coder="bb-ais", lanes=20, num_steps=20)
    assert np.array_equal(mcbits.decompress(blob, model), x)


def test_the_bound_is_what_the_coder_pays(vae: BinaryVAE) -> None:
    x, steps = images(40), 8
    model = vae.freeze().latent_model(Precisions())
    coder = AISBitsBackCoder(steps)
    paid = [coder.encode(Stack(40, seed=s), x.reshape(40, -1).astype(np.int32), model) / 65536 / 64 for s in range(20)]
    error = np.std([each.mean() for each in paid]) / 20**0.5
    chains = [evaluate(vae, x, AIS.of(coder), 20, seed=s)["ideal"] for s in range(10)]
    assert abs(np.mean(paid) - np.mean(chains)) < 4 * np.hypot(error, np.std(chains) / 10**0.5) + 2e-4


def test_more_steps_never_lower_the_bound_and_none_are_the_elbo(vae: BinaryVAE) -> None:
    rate = {T: evaluate(vae, images(40), AIS(T), 25)["ideal"] for T in (0, 4, 32)}
    assert rate[0] == pytest.approx(evaluate(vae, images(40), "elbo", 500)["ideal"], abs=2e-3)
    assert rate[32] < rate[4] < rate[0]


def test_what_cannot_be_is_said_in_one_line() -> None:
    with pytest.raises(UsageError, match="linear or sigmoidal, not 'cubic'"):
        AISBitsBackCoder(schedule="cubic")
    with pytest.raises(UsageError, match="between 0 and 65536"):
        AISBitsBackCoder(num_steps=1 << 17)
    with pytest.raises(UsageError, match="too many"):
        mcbits.compress(images(1), network(60).freeze(), coder="bb-ais", num_steps=1 << 16)


def command(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mcbits", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_knows_it_and_a_fresh_process_decodes(tmp_path) -> None:
    network(6).freeze().save(tmp_path / "model.safetensors")
    np.save(tmp_path / "images.npy", images(9))
    model, file = ["--model", tmp_path / "model.safetensors"], tmp_path / "x.mcb"
    coded = command("compress", tmp_path / "images.npy", "-o", file, *model, "--coder", "bb-ais", "--num_steps", 5,
                    "--schedule", "sigmoidal", "--bitswap", "false", "--json")  # fmt: skip
    assert json.loads(coded)["num_steps"] == 5
    assert "bb-ais" in command("info", file)
    command("decompress", file, "-o", tmp_path / "y.npy", *model)
    assert np.array_equal(np.load(tmp_path / "y.npy"), images(9))
    toy = json.loads(command("toy", "--coder", "bb-ais", "--num_symbols", 50, "--lanes", 50, "--json"))
    assert toy["results"][0]["ideal_error"] == 0
