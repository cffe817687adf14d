"""The corpus is regenerated whole by `python tests/golden/make.py`, and only when the format has a new version.

`--keep-model` regenerates corpus.json and the .mcb files from the models, networks and images that are there; of the
models of pixels it makes those that are missing.
"""

import argparse
import json
import lzma
from typing import Any

import numpy as np
import torch
from corpus import CORPUS, FOLDER, IMAGES_SHAPE, MODELS, NETWORKS, PIXEL_MODELS, encoded, models, vectors
from torch import nn

from mcbits.datasets.binarize import binarize
from mcbits.datasets.digits import Digits
from mcbits.exact import FixedPoint, dumps
from mcbits.exact.freeze import freeze
from mcbits.exact.network import FrozenNetwork
from mcbits.latents.pixels import FrozenPixels, FrozenPixelVAE
from mcbits.latents.vae import FrozenVAE
from mcbits.models.binary_vae import BinaryVAE, GaussianEncoder
from mcbits.models.conv_vae import ConvVAE
from mcbits.models.vae import VAE
from mcbits.observations.base import ObservationModel
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.observations.categorical import CategoricalObservation
from mcbits.observations.logistic import LogisticMixture

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
    files: dict[str, dict[str, Any]] = {
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
    for name, (model, shape, arguments) in pixel_jobs().items():
        dtype = arguments.pop("dtype", "uint8")
        files[f"{name}.mcb"] = {
            "num_images": shape[0],
            "dtype": dtype,
            "shape": list(shape[1:]),
            "model": model,
            "block_size": 2 if "small-blocks" in name else 2048,
            "symbols": SYMBOLS.get(model, 256),
            "arguments": {"coder": "simple", "seed": 0, **arguments},
        }
    return files


SYMBOLS = {"deep": 1 << 16, "coins": 2, "palette": 12, "categorical": 5}


def pixel_jobs() -> dict[str, tuple[str, tuple[int, ...], dict[str, Any]]]:
    """File name -> model, shape of the images, and what `mcbits.compress` is told."""
    narrow = {"lprec": 24, "bprec": 8, "cond_mprec": 12}
    return {
        "pixels-grey": ("grey", (3, 13, 17), {}),
        "pixels-grey-narrow": ("grey", (2, 7, 2), narrow),
        "pixels-grey-small-blocks": ("grey", (5, 6, 9), {"lanes": 2}),
        "pixels-grey-uint16": ("grey", (1, 1, 30), {"dtype": "uint16"}),
        "pixels-grey-alpha": ("grey-alpha", (2, 5, 7, 2), {}),
        "pixels-rgb-lanes3": ("rgb", (7, 6, 9, 3), {"lanes": 3}),
        "pixels-rgba": ("rgba", (2, 5, 6, 4), {"embed_model": True}),
        "pixels-deep": ("deep", (2, 9, 11), {"dtype": "uint16"}),
        "pixels-bernoulli": ("coins", (4, 11, 19, 2), {"dtype": "bool", "lanes": 2}),
        "pixels-categorical": ("palette", (3, 9, 7), {}),
        "pixel-vae-bb-is": ("pixel-vae", (6, 5, 6), {"coder": "bb-is", "num_particles": 5, "lanes": 2}),
        "pixel-vae-bb-elbo": ("pixel-vae", (6, 5, 6), {"coder": "bb-elbo"}),
        "pixel-vae-bb-cis": ("pixel-vae", (4, 5, 6), {"coder": "bb-cis", "num_particles": 5}),
        "logistic-vae": ("logistic", (4, 3, 4), {"coder": "bb-is", "num_particles": 3}),
        "categorical-vae": ("categorical", (6, 3, 4), {"coder": "bb-elbo", "lanes": 2}),
    }


def pixel_models() -> dict[str, bytes]:
    """Models of pixels that see their neighbours, and VAEs of the same observations that do not; untrained."""
    torch.manual_seed(2)
    colour = LogisticMixture(256, 5, 0)
    pictures: list[tuple[str, int, int, ObservationModel]] = [
        ("grey", 1, 2, LogisticMixture(256, 3, 1)),
        ("grey-alpha", 2, 2, LogisticMixture(256, 1, 3)),
        ("rgb", 3, 3, colour),
        ("rgba", 4, 2, LogisticMixture(256, 2, 5)),
        ("deep", 1, 2, LogisticMixture(1 << 16, 8, 7)),
        ("coins", 2, 3, BernoulliObservation()),
        ("palette", 1, 4, CategoricalObservation(12)),
    ]
    made: dict[str, bytes] = {}
    for name, channels, radius, observation in pictures:
        heads, inputs = heads_of(observation, channels, radius, 0, narrow=name in ("rgb", "deep"), mixed=name == "rgba")
        shape = (0, 0) if channels == 1 else (0, 0, channels)
        made[name] = FrozenPixels.pack(heads, observation=observation, shape=shape, radius=radius, **inputs).data
    heads, _ = heads_of(colour, 1, 2, 3)
    networks = vae_networks(
        nn.Sequential(nn.Linear(12, 90), nn.Unflatten(1, (3, 5, 6)), nn.Hardtanh(-9.0, 9.0)), 30, 7, 40.0
    )
    packed = FrozenPixelVAE.pack({**networks, **heads}, observation=colour, shape=(5, 6), radius=2)
    made["pixel-vae"] = packed.data
    for observation in (LogisticMixture(256, 2, 4), CategoricalObservation(5)):
        networks = vae_networks(nn.Linear(12, observation.num_parameters(12)), 12, observation.frac_bits)
        made[observation.name] = FrozenVAE.pack(networks, observation=observation, shape=(3, 4)).data
    return made


def heads_of(
    observation: ObservationModel,
    channels: int,
    radius: int,
    features: int,
    *,
    narrow: bool = False,
    mixed: bool = False,
) -> tuple[dict[str, FrozenNetwork], dict[str, Any]]:
    """Networks head0, head1, ... of 8 hidden units, and `inputs` of a model file if it has them.

    mixed: whether means are of another size than logits and scales.
    """
    logistic, K = isinstance(observation, LogisticMixture), observation.num_symbols
    own = 1 if logistic else K.bit_length() - 1  # numbers that stand for a symbol
    shared = 2 * radius * (radius + 1) * channels * own + 2 + features + (2 * channels if logistic else 0)
    heads, outputs = {}, observation.num_parameters(1)
    for c in range(channels):
        first, last = nn.Linear(shared + c * own, 8), nn.Linear(8, outputs)
        with torch.no_grad():
            first.weight.mul_(0.03)
            last.weight.mul_(2.0)
            if logistic:
                last.bias[outputs // 3 :].add_(2.0)
            if mixed:  # so large that each channel gets a shift of its own
                last.weight[outputs // 3 : 2 * outputs // 3].mul_(200.0)
        x = FixedPoint(shape=(shared + c * own,), frac=0, bound=1023)
        net = nn.Sequential(first, nn.Hardtanh(0.0, 8.0), last)
        heads[f"head{c}"] = freeze(net, [x], [8], name=f"head{c}", narrow=narrow)
    codes = [[-200], [300], [0]] if K == 2 else torch.randint(-1023, 1024, (K + 1, own)).tolist()
    return heads, {} if logistic else {"inputs": codes}


def vae_networks(last: nn.Module, dims: int, frac: int, scale: float = 4.0) -> dict[str, FrozenNetwork]:
    """An encoder of `dims` symbols to three latents, and a decoder that ends in `last`, which reads 12 numbers.

    scale: what the weights that it begins with are multiplied by.
    """
    encoder, decoder = GaussianEncoder(dims, 10, 3), nn.Sequential(nn.Linear(3, 12), nn.Tanh(), last)
    first = encoder.trunk[0]
    assert isinstance(first, nn.Linear)
    with torch.no_grad():
        first.weight.mul_(0.02)
        encoder.log_scale.bias.sub_(1.5)
        next(layer for layer in last.modules() if isinstance(layer, nn.Linear)).weight.mul_(scale)
    x, z = FixedPoint(shape=(dims,), frac=0, bound=255), FixedPoint(shape=(3,), frac=8, bound=1024)
    return {"encoder": freeze(encoder, [x], [12, 8]), "decoder": freeze(decoder, [z], [frac])}


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
        for name in PIXEL_MODELS:
            MODELS[name].unlink(missing_ok=True)
    if any(not MODELS[name].exists() for name in PIXEL_MODELS):
        for name, data in pixel_models().items():
            MODELS[name].write_bytes(lzma.compress(data, preset=9))
    vaes, files = models(), jobs()
    for old in FOLDER.glob("*.mcb"):
        old.unlink()
    for name, job in files.items():
        (FOLDER / name).write_bytes(encoded(job, vaes[job["model"]]))
    CORPUS.write_text(json.dumps({"files": files, "vectors": vectors()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
