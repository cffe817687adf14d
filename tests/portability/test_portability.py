"""Frozen networks keep the rate of float ones, and give the same bits in any build, batch, backend and thread count."""

import hashlib
import json
import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import in_slices
from torch.nn import functional as F

import mcbits
from mcbits.datasets.binarize import binarize
from mcbits.datasets.emnist import EMNIST
from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC, equal_mass_centres
from mcbits.exact import FrozenNetwork
from mcbits.latents.vae import FrozenVAE, Precisions
from mcbits.training.checkpoint import load_float

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CHECKPOINTS = ["mnist_num=1", "mnist_num=5", "mnist_num=50", "letters_num=1", "letters_num=50"]


def checkpoint(name: str) -> Path:
    path = SHARED / "checkpoints" / f"train_bin_emnist_split={name}"
    if not path.exists():
        pytest.skip("no published checkpoints in ../shared")
    return path


def eval500() -> np.ndarray:
    path = SHARED / "data" / "emnist" / "eval500.npy"
    if not path.exists():
        pytest.skip("no eval500.npy in ../shared")
    return np.load(path)


def test_a_build_from_scratch_gives_the_golden_bits():
    command = [sys.executable, str(ROOT / "tests" / "portability" / "run.py"), "--only", "gcc -O0"]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stdout + result.stderr
    if "skipped" in result.stdout:
        pytest.skip(result.stdout.strip())
    assert result.stdout == "ok   gcc -O0: identical\n"


def iwae(x, z, mean, log_scale, logits) -> float:
    """-IWAE in bits/dim of x (n, D) at z (n, N, d) under these parameters, in float64."""
    log_w = -F.binary_cross_entropy_with_logits(logits, x[:, None].expand_as(logits), reduction="none").sum(-1)
    log_w += torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    log_w -= torch.distributions.Normal(mean[:, None], log_scale.exp()[:, None]).log_prob(z).sum(-1)
    return -float((log_w.logsumexp(1) - math.log(z.shape[1])).mean()) / (x.shape[1] * math.log(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_freezing_moves_the_rate_by_at_most_a_ten_thousandth(name):
    """Both networks see the same particles, so that the difference holds no sampling noise."""
    images, particles = eval500().reshape(500, -1), 50
    float_vae, frozen = load_float(checkpoint(name)).double(), mcbits.load_model(checkpoint(name))
    x = torch.tensor(images, dtype=torch.float64)
    with torch.no_grad():
        mean, log_scale = float_vae.encoder(x)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((500, particles, mean.shape[1]), dtype=torch.float64, generator=generator)
    wanted = mean[:, None] + log_scale.exp()[:, None] * noise
    centres = torch.tensor(np.unique(equal_mass_centres(256)), dtype=torch.float64) / 2**CENTRE_FRAC
    z = centres[torch.bucketize(wanted, (centres[1:] + centres[:-1]) / 2)]
    rows = (z.numpy() * 2**CENTRE_FRAC).astype(np.float32)
    with torch.no_grad():
        logits = float_vae.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
    want = iwae(x, z, mean, log_scale, logits)
    (integers,) = frozen.decoder.run(rows.reshape(-1, rows.shape[-1]))
    logits = torch.tensor(integers / 2.0**frozen.observation.frac_bits).unflatten(0, z.shape[:2])
    mean, log_scale = map(torch.tensor, frozen.encoder.run(images.astype(np.float32)))
    got = iwae(x, z, mean / 2**MEAN_FRAC, log_scale / 2**LOG_SCALE_FRAC, logits)
    print(f"{name}: float64 {want:.6f}, frozen {got:.6f}, apart {got - want:+.2e} bits/dim")
    assert abs(got - want) <= 1e-4


def hashes(model: Path, images: np.ndarray) -> dict[str, str]:
    """Backend and batch -> SHA-256 of the frequencies of all images, and of their file."""
    whole_run, found = FrozenNetwork.run, {}
    for backend, batch in product(("numpy", "torch:cpu"), (1, 7, 50, 1000)):
        FrozenNetwork.run = in_slices(whole_run, batch)
        vae = FrozenVAE(model, backend)
        latent, x = vae.latent_model(Precisions()), images.reshape(len(images), -1).astype(np.int32)
        q = latent.posterior(x)
        z = q.inverse(np.full(q.shape, 1 << q.precision - 1, np.uint64))
        parts = [*q.intervals(z), *latent.likelihood(z).intervals(x)]
        frequencies = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
        blob = mcbits.compress(images, vae, "bb-is", num_particles=3, lanes=250, verify=False)
        found[f"{backend} {batch}"] = f"{frequencies} {hashlib.sha256(blob).hexdigest()}"
    FrozenNetwork.run = whole_run
    return found


@pytest.mark.slow
def test_a_thousand_images_have_the_same_frequencies_and_bytes_everywhere(tmp_path):
    first = eval500()
    digits = EMNIST.load(SHARED / "data", split="mnist", download=False)
    np.save(tmp_path / "images.npy", np.concatenate([first, binarize(digits.test[:500], digits.levels, seed=0)]))
    mcbits.load_model(checkpoint("mnist_num=50")).save(tmp_path / "codec.safetensors")
    found = {}
    for threads in ("1", "2"):
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "golden")])}
        env |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        command = [sys.executable, __file__, str(tmp_path)]
        result = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        found |= {f"{setting}, {threads} threads": value for setting, value in json.loads(result.stdout).items()}
    assert len(found) == 16 and len(set(found.values())) == 1, found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(json.dumps(hashes(folder / "codec.safetensors", np.load(folder / "images.npy"))))
