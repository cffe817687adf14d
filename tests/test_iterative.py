"""What refines q(z|x) when encoding refines it to the same bits when decoding, from x alone, and shortens the code."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import binary_vae
from torch import nn

import mcbits
from mcbits.archive.format import read_header
from mcbits.archive.jobs import compress_file, info
from mcbits.archive.options import CodingOptions
from mcbits.coders.base import make_coder
from mcbits.errors import FormatError, UsageError
from mcbits.exact import FixedPoint, FrozenNetwork
from mcbits.exact.freeze import freeze
from mcbits.exact.gradient import Gradient
from mcbits.latents.options import MAX_STEPS, Precisions, Refinement
from mcbits.latents.refinement import Refiner
from mcbits.latents.vae import FrozenVAE
from mcbits.models.binary_vae import BinaryVAE

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
CODERS = {"simple": {}, "stochastic": {}, "bb-elbo": {}, "bb-is": {"num_particles": 4}, "bb-cis": {"num_particles": 4}}
REFINED = {"iterative_post_improvement": True, "iterative_improvement_steps": 5}
LATENT = FixedPoint(shape=(12,), frac=8, bound=1024)
MLPS = {
    "linear": [nn.Linear(12, 60)],
    "tanh": [nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 60)],
    "relu": [nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 60)],
    "sigmoid": [nn.Linear(12, 40), nn.Sigmoid(), nn.Linear(40, 60)],
    "softplus": [nn.Linear(12, 40), nn.Softplus(), nn.Linear(40, 60)],
    "elu": [nn.Linear(12, 40), nn.ELU(), nn.Linear(40, 60)],
    "silu": [nn.Linear(12, 40), nn.SiLU(), nn.Linear(40, 60)],
    "tanh of tanh": [nn.Linear(12, 40), nn.Tanh(), nn.Tanh(), nn.Linear(40, 60), nn.Tanh()],
    "no activation": [nn.Linear(12, 40), nn.Linear(40, 60)],
}


def mlp(name: str) -> nn.Sequential:
    torch.manual_seed(2)
    module = nn.Sequential(*MLPS[name])
    for layer in module:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return module.eval()


def cotangent(rows: int, width: int, bound: int = 4096) -> np.ndarray:
    return np.random.default_rng(7).integers(-bound, bound + 1, (rows, width)).astype(np.float64)


@pytest.mark.parametrize("name", MLPS)
def test_gradient_of_a_frozen_network_is_close_to_autograd(name):
    module = mlp(name)
    gradient = Gradient(freeze(module, [LATENT], [8]), 4096)
    z = np.random.default_rng(1).integers(-700, 701, (200, 12)).astype(np.float32)
    ran, g = gradient.run(z), cotangent(200, 60)
    at = torch.tensor(z / 256.0, dtype=torch.float64, requires_grad=True)
    (module.double()(at) * torch.tensor(g)).sum().backward()
    error = gradient.pull(g, ran) - at.grad.numpy()
    assert np.sqrt((error**2).mean() / (at.grad.numpy() ** 2).mean()) < 0.03


def test_running_for_the_gradient_returns_what_the_network_returns():
    frozen = freeze(mlp("tanh"), [LATENT], [8])
    z = np.random.default_rng(1).integers(-1024, 1025, (50, 12)).astype(np.float32)
    assert np.array_equal(Gradient(frozen, 4096).run(z)[0], frozen.run(z)[0])


def permuted(frozen: FrozenNetwork, units: np.ndarray, outputs: np.ndarray) -> FrozenNetwork:
    """The same function with the hidden units and the outputs of a two-layer network in another order."""
    tensors = dict(frozen.tensors)
    tensors["0.weight"], tensors["0.bias"] = tensors["0.weight"][:, units], tensors["0.bias"][units]
    tensors["2.weight"], tensors["2.bias"] = tensors["2.weight"][units][:, outputs], tensors["2.bias"][outputs]
    return FrozenNetwork(frozen.inputs, frozen.layers, frozen.outputs, tensors)


@pytest.mark.parametrize("bound", [1, 1 << 12, 1 << 40])
def test_gradient_has_the_same_bits_in_any_order_of_summation(bound):
    torch.manual_seed(0)
    frozen = freeze(nn.Sequential(nn.Linear(12, 200), nn.Tanh(), nn.Linear(200, 784)), [LATENT], [8])
    z = np.random.default_rng(1).integers(-1024, 1025, (20, 12)).astype(np.float32)
    g = cotangent(20, 784, bound)
    g[0] = bound * np.where(g[0] < 0, -1, 1)
    gradient = Gradient(frozen, bound)
    want = gradient.pull(g, gradient.run(z))
    for seed in range(3):
        units, outputs = (np.random.default_rng(seed).permutation(n) for n in (200, 784))
        other = Gradient(permuted(frozen, units, outputs), bound)
        assert np.array_equal(other.pull(g[:, outputs], other.run(z)), want)


def refined(vae: FrozenVAE, x: np.ndarray, batch: int, refinement: Refinement) -> list[np.ndarray]:
    """Mean and log-scale of each q(z|x), refined `batch` images at a time."""
    refine = Refiner(vae.decoder, vae.latent_dim, vae.observation, refinement)
    parts = []
    for start in range(0, len(x), batch):
        part = x[start : start + batch]
        parts.append(refine(part, *vae.encoder.run(part.astype(np.float32))))
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def test_refined_posteriors_do_not_depend_on_batch_or_backend():
    vae = binary_vae((28, 28), hidden=200, latent_dim=50).freeze()
    x = (np.random.default_rng(0).random((50, 784)) < 0.2).astype(np.int32)
    whole = refined(vae, x, 50, Refinement(steps=10))
    start = vae.encoder.run(x.astype(np.float32))
    assert all(each.dtype == np.int32 and not np.array_equal(each, old) for each, old in zip(whole, start, strict=True))
    for batch in (1, 7):
        assert all(map(np.array_equal, refined(vae, x, batch, Refinement(steps=10)), whole))
    vae.encoder, vae.decoder = (network.with_backend("torch:cpu") for network in (vae.encoder, vae.decoder))
    assert all(map(np.array_equal, refined(vae, x, 50, Refinement(steps=10)), whole))


SCRIPT = """
import hashlib, sys
import numpy as np
from mcbits.latents.options import Refinement
from mcbits.latents.refinement import Refiner
from mcbits.latents.vae import FrozenVAE
assert "torch" not in sys.modules
vae = FrozenVAE(open(sys.argv[1], "rb").read())
x = (np.random.default_rng(0).random((64, 784)) < 0.2).astype(np.int32)
refine = Refiner(vae.decoder, vae.latent_dim, vae.observation, Refinement(steps=10))
for refined in refine(x, *vae.encoder.run(x.astype(np.float32))):
    print(hashlib.sha256(refined.tobytes()).hexdigest())
"""


def test_refined_posteriors_do_not_depend_on_threads(tmp_path):
    binary_vae((28, 28), hidden=200, latent_dim=50).freeze().save(tmp_path / "codec.safetensors")
    results = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, tmp_path / "codec.safetensors"],
            env=os.environ | {"OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            check=True,
            capture_output=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(results) == 1 and len(results.pop().split()) == 2


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("lanes", [1, 7, 64])
def test_decompress_inverts_compress_with_refined_posteriors(vae, images, coder, lanes):
    blob = mcbits.compress(images, vae, coder, lanes=lanes, verify=False, **CODERS[coder], **REFINED)
    assert np.array_equal(mcbits.decompress(blob, vae), images)
    if coder != "simple":  # which codes the encoder's choice of z, and so as a rule the same one
        assert blob != mcbits.compress(images, vae, coder, lanes=lanes, verify=False, **CODERS[coder])


@pytest.mark.parametrize("coder", ["bb-elbo", "bb-is"])
def test_refining_lowers_the_rate(vae, images, tmp_path, coder):
    made = make_coder(coder, CODERS[coder])
    plain, better = (
        compress_file(images, tmp_path / "x.mcb", vae, CodingOptions(made, lanes=60, ramp="off", refinement=refinement))
        for refinement in (None, Refinement(steps=50, lr=0.05))
    )
    assert better.ideal < plain.ideal and better.net < plain.net


def test_the_file_keeps_steps_and_learning_rate_exactly(vae, images, tmp_path):
    rate = 0.1 + 0.2
    compress_file(
        images, tmp_path / "x.mcb", vae, CodingOptions(make_coder("bb-elbo", {}), refinement=Refinement(3, rate))
    )
    assert info(tmp_path / "x.mcb")["refinement"] == {"steps": 3, "lr": rate}


def test_a_file_without_refinement_does_not_mention_it(vae, images):
    blob = mcbits.compress(images, vae, "bb-elbo", iterative_improvement_steps=7)
    header = read_header(BytesIO(blob))
    assert header.refinement == {} and blob.startswith(header.pack())
    assert len(replace(header, refinement={"steps": 1, "lr": 0.5}).pack()) > len(header.pack())


@pytest.mark.parametrize(
    "refinement",
    [{"steps": 10**9, "lr": 0.01}, {"steps": 5}, {"steps": 5, "lr": 10**400}, {"steps": 1.5, "lr": "x"}, [5]],
)
def test_a_header_that_asks_for_nonsense_is_refused(vae, images, refinement):
    blob = mcbits.compress(images, vae, "bb-elbo", verify=False, **REFINED)
    header = read_header(BytesIO(blob))
    forged = replace(header, refinement=refinement).pack() + blob[len(header.pack()) :]
    with pytest.raises(FormatError):
        mcbits.decompress(forged, vae)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"steps": MAX_STEPS + 1}, {"steps": 1.0}, {"lr": 0.0}, {"lr": 1.5}, {"lr": float("nan")}]
)
def test_steps_and_learning_rates_that_mean_nothing_are_refused(wrong):
    with pytest.raises(UsageError, match="iterative_improvement_"):
        Refinement(**wrong)


def test_refined_parameters_stay_within_what_a_gaussian_takes(vae, images):
    x = images.reshape(60, -1).astype(np.int32)
    mean, log_scale = refined(vae, x, 60, Refinement(steps=200, lr=1.0))
    assert np.abs(mean).max() <= 8 << 12 and np.abs(log_scale).max() <= 8 << 8


class Convolutional(BinaryVAE):
    def __init__(self) -> None:
        super().__init__(shape=(6, 6), hidden=8, latent_dim=4)
        self.decoder = nn.Sequential(
            nn.Linear(4, 18), nn.Tanh(), nn.Unflatten(1, (2, 3, 3)), nn.ConvTranspose2d(2, 1, 2, 2), nn.Flatten()
        )


class Clamped(BinaryVAE):
    def __init__(self) -> None:
        super().__init__(shape=(6, 6), hidden=8, latent_dim=4)
        self.decoder = nn.Sequential(nn.Linear(4, 18), nn.Hardtanh(), nn.Linear(18, 36))


@pytest.mark.parametrize(
    ("model", "layer"), [(Convolutional, r"layer \d \(reshape\) of the decoder"), (Clamped, r"layer 1 \(round\)")]
)
def test_a_network_without_exact_gradient_is_refused_by_layer(model, layer):
    frozen = model().eval().freeze()
    frozen.latent_model(Precisions())
    with pytest.raises(UsageError, match=layer) as error:
        frozen.latent_model(Precisions(), Refinement())
    assert "\n" not in str(error.value)


def test_an_observation_model_that_is_not_binary_is_refused_by_name(vae):
    class Other(type(vae.observation)):
        name = "other"

        def distribution(self, parameters_int, precision):
            return None

    other = FrozenVAE(vae.data)
    other.observation = Other()
    with pytest.raises(UsageError, match="binary images, not observation model other"):
        other.latent_model(Precisions(), Refinement())


DECODE = """
import sys, hashlib, mcbits
images = mcbits.decompress(open(sys.argv[1], "rb").read(), sys.argv[2])
assert "torch" not in sys.modules
print(hashlib.sha256(images.tobytes()).hexdigest())
"""


@pytest.mark.parametrize(
    ("coder", "particles", "gain"), [("bb-elbo", 1, 0.002), ("bb-is", 50, 0.001)], ids=["bb-elbo", "bb-is"]
)
def test_published_checkpoints_gain_and_decode_in_a_fresh_process(coder, particles, gain, tmp_path):
    checkpoint = SHARED / "checkpoints" / f"train_bin_emnist_split=mnist_num={particles}"
    if not checkpoint.exists():
        pytest.skip(f"needs the published checkpoints in {SHARED}")
    images = np.load(SHARED / "data" / "emnist" / "eval500.npy")[:100]
    frozen = mcbits.load_model(checkpoint)
    frozen.save(tmp_path / "codec.safetensors")
    made = make_coder(coder, {} if coder == "bb-elbo" else {"num_particles": particles})
    plain, better = (
        compress_file(images, tmp_path / "x.mcb", frozen, CodingOptions(made, verify=False, refinement=refinement))
        for refinement in (None, Refinement(steps=50, lr=0.01))
    )
    assert plain.net - better.net > gain and better.file_bytes < plain.file_bytes
    decoded = subprocess.run(
        [sys.executable, "-c", DECODE, tmp_path / "x.mcb", tmp_path / "codec.safetensors"],
        check=True,
        capture_output=True,
    )
    assert decoded.stdout.decode().strip() == hashlib.sha256(images.tobytes()).hexdigest()


def test_the_command_line_refines(vae, images, tmp_path):
    vae.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", images)
    asked = ["--iterative_post_improvement", "--iterative-improvement-steps", "4", "--iterative_improvement_lr", "0.02"]
    command = ["compress", "x.npy", "-o", "x.mcb", "--model", "codec.safetensors", "--coder", "bb-elbo", *asked]
    run(tmp_path, *command)
    assert json.loads(run(tmp_path, "info", "x.mcb", "--json"))["refinement"] == {"steps": 4, "lr": 0.02}
    run(tmp_path, "decompress", "x.mcb", "-o", "again.npy", "--model", "codec.safetensors")
    assert np.array_equal(np.load(tmp_path / "again.npy"), images)


def run(directory: Path, *arguments: str) -> str:
    """Standard output of a command in a process of its own."""
    root = str(Path(__file__).resolve().parents[1])
    env = os.environ | {"PYTHONPATH": root + os.pathsep + os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(
        [sys.executable, "-m", "mcbits", *arguments], cwd=directory, env=env, check=True, capture_output=True, text=True
    )
    return done.stdout
