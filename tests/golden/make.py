"""The corpus is regenerated whole by `python tests/golden/make.py`, and only when the format has a new version.

`--keep-model` regenerates corpus.json and the .mcb files from the models, networks and images that are there.
"""

import argparse
import json
import lzma
from typing import Any

import numpy as np
import torch
from corpus import CORPUS, FOLDER, IMAGES_SHAPE, MODELS, NETWORKS, encoded, models, vectors
from torch import nn

from mcbits.datasets.binarize import binarize
from mcbits.datasets.digits import Digits
from mcbits.exact import FixedPoint, dumps
from mcbits.exact.freeze import freeze
from mcbits.models.binary_vae import BinaryVAE
from mcbits.models.conv_vae import ConvVAE
from mcbits.models.vae import VAE

CODERS = {
    "simple": {}, "stochastic": {}, "bb-elbo": {}, "bb-is": {"num_particles": 8}, "bb-cis": {"num_particles": 8},
}  # fmt: skip
NARROW = {"lprec": 8, "bprec": 8, "log_num_bucket": 4, "prior_mprec": 6}
NARROW |= {"prop_mprec": 8, "cond_mprec": 8, "index_mprec": 8}
PRECISIONS = {"lprec": 20, "bprec": 12, "log_num_bucket": 6, "prop_mprec": 14, "cond_mprec": 12, "index_mprec": 12}


def jobs() -> dict[str, dict[str, Any]]:
    """File name -> how many images, their dtype, and what `mcbits.compress` is told."""
    made = {}
    for coder, options in CODERS.items():
        for lanes in (1, 3):
            made[f"{coder}-lanes{lanes}"] = (50, {"coder": coder, "lanes": lanes, **options})
    made["bb-is-ramp-off"] = (20, {"coder": "bb-is", "num_particles": 8, "ramp": "off"})
    made["bb-is-ramp-slow-lanes3"] = (50, {"coder": "bb-is", "num_particles": 8, "ramp": "0.25", "lanes": 3})
    made["bb-elbo-500-lanes"] = (500, {"coder": "bb-elbo", "lanes": 500, "seed": 3})
    made["bb-elbo-blocks"] = (2100, {"coder": "bb-elbo", "lanes": 64})
    made["bb-is-precisions"] = (50, {"coder": "bb-is", "num_particles": 3, **PRECISIONS})
    made["bb-is-embedded-model"] = (20, {"coder": "bb-is", "num_particles": 3, "embed_model": True})
    for coder in ("bb-elbo", "bb-is", "bb-cis"):
        refined = {"iterative_post_improvement": True, "iterative_improvement_steps": 20}
        made[f"{coder}-refined"] = (20, {"coder": coder, "lanes": 4, **CODERS[coder], **refined})
    made["bool"] = (20, {"coder": "bb-cis", "num_particles": 3})
    made["flat"] = (20, {"coder": "bb-is", "num_particles": 3})
    for coder in ("bb-elbo", "bb-is", "bb-cis"):
        made[f"{coder}-narrow"] = (20, {"coder": coder, **{k: min(v, 3) for k, v in CODERS[coder].items()}, **NARROW})
        made[f"{coder}-conv"] = (20, {"coder": coder, "lanes": 2, **CODERS[coder]})
    for coder in ("bb-is", "bb-cis"):
        made[f"{coder}-small-blocks"] = (50, {"coder": coder, "lanes": 3, **CODERS[coder]})
    return {
        f"{name}.mcb": {
            "num_images": n,
            "dtype": "bool" if name == "bool" else "uint8",
            "shape": [64] if name == "flat" else [8, 8],
            "model": "conv" if "conv" in name else "dense",
            "block_size": 20 if "small-blocks" in name else 2048,
            "arguments": {**arguments, "seed": arguments.get("seed", 0)},
        }
        for name, (n, arguments) in made.items()
    }


def train(vae: VAE, images: np.ndarray) -> VAE:
    """`vae` made good enough that its posteriors differ from its prior."""
    x = torch.tensor(images, dtype=torch.float32).flatten(1)
    optimizer = torch.optim.Adam(vae.parameters(), lr=3e-3)
    for _ in range(1500):
        optimizer.zero_grad()
        (-vae.log_weights(x[torch.randint(len(x), (100,))], 1).mean()).backward()
        optimizer.step()
    return vae.eval()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.SiLU(), nn.Conv2d(4, 4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.inner(x)
        return x + y


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru = nn.LSTMCell(10, 12), nn.GRUCell(10, 12)

    def forward(self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, g: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h, c = self.lstm(x, (h, c))
        return h, c, self.gru(x, g)


class Wide(nn.Module):
    """Needs float64: 1024 equal weights leave float32 too few bits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 1024), nn.Linear(1024, 3)
        with torch.no_grad():
            self.second.weight[:] = 0.03 * self.second.weight.sign()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.second(torch.tanh(self.first(x)))
        return y


def layers() -> bytes:
    """The frozen networks that have every kind of layer between them."""
    torch.manual_seed(1)
    convolutions = nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ELU(), Residual()),
        *(nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5)),
        *(nn.Softplus(), nn.Linear(5, 5)),
    ).eval()
    binary, grey = FixedPoint(shape=(64,), frac=0, bound=1), FixedPoint(shape=(8,), frac=8, bound=1024)
    x, h = FixedPoint(shape=(10,), frac=8, bound=1024), FixedPoint(shape=(12,), frac=8, bound=256)
    c = FixedPoint(shape=(12,), frac=16, bound=8 << 16)
    return dumps(
        {
            "convolutions": freeze(convolutions, [binary], [12]),
            "recurrent": freeze(Recurrent(), [x, h, c, h], [8, 16, 8]),
            "float64": freeze(Wide(), [grey], [12]),
        },
        {},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep-model", action="store_true")
    if not parser.parse_args().keep_model:
        digits = Digits.load()
        images = binarize(digits.train[:500], digits.levels, seed=0)
        np.save(FOLDER / "images.npy", np.packbits(images.reshape(500, -1), axis=1))
        x, shape = binarize(digits.train, digits.levels, seed=1), IMAGES_SHAPE[1:]
        torch.manual_seed(0)
        MODELS["dense"].write_bytes(train(BinaryVAE(shape=shape, latent_dim=6, hidden=32), x).freeze().data)
        conv = train(ConvVAE(shape=shape, latent_dim=4, channels=3), x).freeze()
        MODELS["conv"].write_bytes(lzma.compress(conv.data, preset=9))
        NETWORKS.write_bytes(lzma.compress(layers(), preset=9))
    vaes, files = models(), jobs()
    for old in FOLDER.glob("*.mcb"):
        old.unlink()
    for name, job in files.items():
        (FOLDER / name).write_bytes(encoded(job, vaes[job["model"]]))
    CORPUS.write_text(json.dumps({"files": files, "vectors": vectors()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
