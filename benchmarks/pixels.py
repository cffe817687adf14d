"""Pixels that see their neighbours, in one thread: whole jobs against JPEG XL and against the bare products."""

import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from measure import Row, alternate, clock, compare, publish, repetitions, shared, skip
from numpy.typing import NDArray
from PIL import Image

import mcbits
from mcbits.core.threads import Alone
from mcbits.latents.pixels import FrozenPixels
from mcbits.models.pixels import PixelModel

BATCHES = 600
ROWS = 256
Side = Callable[[], Mapping[str, float]]


def trained(pictures: NDArray[np.uint8]) -> FrozenPixels:
    """A model with a head of 32 x 32 after a minute of training: how long a symbol is searched depends on its p."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = PixelModel(shape=pictures.shape[1:], symbols=256)
    model.initialise_from_data(pictures, 255)
    images, optimizer = (
        model.training_set(pictures, None, torch.device("cpu")),
        torch.optim.Adam(model.parameters(), 5e-3),
    )
    for _, batch in zip(range(BATCHES), images.batches(2048), strict=False):
        optimizer.zero_grad()
        model.loss(batch, None, 1).backward()  # type: ignore[arg-type]
        optimizer.step()
    model.test_rate(images)
    return model.freeze()


def ours(model: FrozenPixels, pictures: NDArray[np.uint8]) -> Side:
    """Seconds to encode and to decode, from arrays to bytes and back."""

    def side() -> Mapping[str, float]:
        with Alone():
            encode, blob = clock(lambda: mcbits.compress(pictures, model, "simple", verify=False))
            decode, back = clock(lambda: mcbits.decompress(blob, model))
        assert np.array_equal(back, pictures)
        return {"encode": encode, "decode": decode}

    return side


def products(model: FrozenPixels, num_samples: int) -> Side:
    """Seconds for the 16-bit products of the heads, for as many rows as there are samples, a few at a time."""
    jobs = []
    for name, network in model.networks.items():
        if name.startswith("head"):
            (x,) = network.inputs
            rows = np.random.default_rng(0).integers(-20, 21, (ROWS, x.size)).astype(np.int16)
            jobs.append((network.dense(), rows, (np.empty((ROWS, model.observation.num_parameters(1)), np.int32),)))
    repeats = num_samples // len(jobs) // ROWS

    def run() -> None:
        with Alone():
            for _ in range(repeats):
                for dense, rows, out in jobs:
                    dense.run(rows, out)

    return lambda: {"products": clock(run)[0]}


def jpeg_xl(pictures: NDArray[np.uint8]) -> Side:
    """Seconds of libjxl's encoder at effort 9, a picture at a time."""
    import pillow_jxl  # noqa: F401, it registers the format with Pillow

    def run() -> None:
        for picture in pictures:
            Image.fromarray(picture).save(io.BytesIO(), "JXL", lossless=True, effort=9, num_threads=1)

    return lambda: {"encode": clock(run)[0]}


def main() -> None:
    if find_spec("pillow_jxl") is None:
        skip('JPEG XL is absent: pip install "mcbits[baselines]"')
    n = repetitions()
    digits = mcbits.datasets.base.find_dataset("MNIST").load(shared("data"), split="", download=False).test[:2000]
    photo = np.asarray(Image.open(shared("data/pictures/photos/kodim05.png")))[None]
    rows: list[Row] = []
    for what, pictures in (("2,000 digits of 28 x 28", digits), ("a photograph of 768 x 512", photo)):
        model = trained(pictures)
        sides: dict[str, Any] = {
            "ours": ours(model, pictures),
            "products": products(model, pictures.size),
            "jpeg xl": jpeg_xl(pictures),
        }
        found = alternate(sides, n)
        scale, unit = 1e9 / pictures.size, "ns/sample"
        encode, decode, bare = found["ours"]["encode"], found["ours"]["decode"], found["products"]["products"]
        rows += [
            compare(
                f"encode {what}", "JPEG XL, effort 9, encoding", encode, found["jpeg xl"]["encode"], 1.0, scale, unit
            ),
            compare(f"encode {what}", f"products, batches of {ROWS}", encode, bare, 3.0, scale, unit),
            compare(f"decode {what}", f"products, batches of {ROWS}", decode, bare, 3.0, scale, unit),
        ]
    publish("pixels", rows)


if __name__ == "__main__":
    main()
