"""A frozen VRNN is the float one to within its rounding, and the same bits whatever is computed together."""

from io import BytesIO

import numpy as np
import pytest
import torch

import mcbits
from mcbits.archive.format import info, read_blocks, read_header
from mcbits.bounds.base import find_bound
from mcbits.coders.base import find_coder
from mcbits.errors import DataError, FormatError, ModelError, UsageError
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.latents.options import Precisions
from mcbits.training.evaluation import evaluate

CODERS = [
    ("simple", {}),
    ("bb-elbo", {}),
    ("bb-is", {"num_particles": 4}),
    ("bb-cis", {"num_particles": 4}),
    ("bb-smc", {}),
    ("bb-smc", {"resampling": "always"}),
    ("bb-csmc", {}),
    ("bb-csmc", {"resampling": "never"}),
]


@pytest.fixture(scope="session")
def frozen(vrnn) -> FrozenModel:
    return vrnn.freeze()


@pytest.mark.parametrize(("coder", "options"), CODERS)
@pytest.mark.parametrize("ramp", ["off", "auto"])
def test_every_coder_restores_sequences_of_all_lengths(frozen, sequences, coder, options, ramp):
    ramp = ramp if find_coder(coder).ramped else "off"
    blob = mcbits.compress(sequences, frozen, coder, ramp=ramp, verify=False, **options)
    assert np.array_equal(mcbits.decompress(blob, frozen), sequences)


@pytest.mark.parametrize(
    ("coder", "particles"), [("bb-elbo", 1), ("bb-is", 4), ("bb-smc", 4), ("bb-csmc", 4), ("bb-smc", 1)]
)
def test_ideal_rate_of_the_float_model_is_what_the_frozen_one_is_coded_at(
    vrnn, frozen, sequences, tmp_path, coder, particles
):
    from mcbits.archive.jobs import compress_file
    from mcbits.archive.options import CodingOptions

    many = np.repeat(sequences, 40, axis=0)
    made = find_coder(coder)(**({"num_particles": particles} if coder != "bb-elbo" else {}))
    report = compress_file(many, tmp_path / "x.mcb", frozen, CodingOptions(made, ramp="off", verify=False))
    bound = find_bound(made.bound).of(made)
    floats = evaluate(vrnn, many, bound, particles)
    assert report.unit == "frame" and report.units.sum() == 40 * 46
    assert report.ideal == pytest.approx(floats["ideal"], rel=0.01)
    assert report.net == pytest.approx(report.ideal, rel=0.001)


def test_one_particle_of_bb_smc_is_bb_elbo_to_the_bit(frozen, sequences):
    payloads = []
    for coder, options in (("bb-elbo", {}), ("bb-smc", {"num_particles": 1})):
        file = BytesIO(mcbits.compress(sequences, frozen, coder, **options))
        read_header(file)
        payloads.append(next(read_blocks(file)))
    assert payloads[0] == payloads[1]


def test_a_row_of_a_network_does_not_depend_on_the_others(frozen):
    rng, model = np.random.default_rng(0), frozen.latent_model(Precisions()).sequence
    x, z = rng.integers(0, 2, (50, 6)), rng.integers(0, 256, (50, 3))
    states = {backend: model_at(frozen, backend).advance(model.start(50), x, z) for backend in ("numpy", "torch")}
    assert np.array_equal(states["numpy"], states["torch"])
    s = states["numpy"]
    together = model.advance(s, x, z), model.posterior(s, x).cdf(), model.likelihood(s, z).logits
    for first, last in ((0, 1), (1, 8), (8, 50)):
        part = slice(first, last)
        alone = model.posterior(s[part], x[part]).cdf(), model.likelihood(s[part], z[part]).logits
        assert np.array_equal(model.advance(s[part], x[part], z[part]), together[0][part])
        assert np.array_equal(alone[0], together[1][part]) and np.array_equal(alone[1], together[2][part])


def model_at(frozen, backend):
    return load_frozen(frozen.data, backend).latent_model(Precisions()).sequence


def test_the_file_tells_lengths_and_the_rate_a_frame(frozen, sequences, tmp_path):
    (tmp_path / "x.mcb").write_bytes(blob := mcbits.compress(sequences, frozen, "bb-smc"))
    found = info(tmp_path / "x.mcb")
    assert (found["num_images"], found["num_frames"], found["unit"]) == (8, 46, "frame")
    assert found["file"] == 8 * len(blob) / 46


def test_blocks_of_several_workers_are_those_of_one(frozen, sequences, monkeypatch):
    monkeypatch.setattr("mcbits.archive.encoding.BLOCK_SIZE", 3)
    alone, shared = (mcbits.compress(sequences, frozen, "bb-csmc", workers=n, verify=False) for n in (1, 2))
    assert alone == shared and np.array_equal(mcbits.decompress(shared, frozen, workers=2), sequences)


def test_what_is_no_sequence_of_the_model_is_refused(frozen, sequences):
    gap = sequences.copy()
    gap[0, 3] = 255
    with pytest.raises(DataError, match="one frame or more, and then only"):
        mcbits.compress(gap, frozen, "bb-smc")
    with pytest.raises(DataError, match="a pixel is 2"):
        mcbits.compress(np.full_like(sequences, 2), frozen, "bb-smc")
    with pytest.raises(UsageError, match="leave lanes at 1"):
        mcbits.compress(sequences, frozen, "bb-elbo", lanes=2)
    with pytest.raises(UsageError, match="iterative inference is for single images"):
        mcbits.compress(sequences, frozen, "bb-elbo", iterative_post_improvement=True)


def test_a_damaged_file_or_another_model_is_an_error(vrnn, frozen, sequences):
    blob = bytearray(mcbits.compress(sequences, frozen, "bb-csmc"))
    with torch.no_grad():
        vrnn.proposal.mean.bias.add_(0.5)
        other = vrnn.freeze()
        vrnn.proposal.mean.bias.sub_(0.5)
    with pytest.raises(ModelError):
        mcbits.decompress(bytes(blob), other)
    blob[-60] ^= 1
    with pytest.raises(FormatError):
        mcbits.decompress(bytes(blob), frozen)
