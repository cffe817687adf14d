"""What a head reads, and how large it is, against what that saves: bits a sample after a short training, and time."""

import argparse
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from measure import RESULTS, clock, shared
from PIL import Image
from torch import Tensor

import mcbits
from mcbits.core.threads import Alone
from mcbits.latents.pixels import FrozenPixels
from mcbits.models.contexts import Context, Contexts
from mcbits.models.heads import LogisticHead
from mcbits.models.pixels import TEST_PIXELS, PixelModel
from mcbits.observations.neighbours import num_neighbours

Inputs = tuple[Tensor, Tensor]
Change = Callable[[LogisticHead, Context, Inputs], Inputs]


def without(*groups: str) -> Change:
    """Read zeros in place of some groups of inputs."""

    def change(head: LogisticHead, known: Context, inputs: Inputs) -> Inputs:
        x, base = inputs
        first = num_neighbours(head.R) * head.channels
        place = {
            "gradients": slice(first, first + 2 * head.channels),
            "position": slice(first + 2 * head.channels, first + 2 * head.channels + 2),
        }
        x = x.clone()
        for group in groups:
            x[:, place[group]] = 0
        return x, base

    return change


def values(head: LogisticHead, known: Context, inputs: Inputs) -> Inputs:
    """Read values less the middle of the range, not less the prediction; means are still relative to that."""
    x, base = inputs
    first = num_neighbours(head.R) * head.channels
    return torch.cat([known.neighbours.flatten(1) - 128, x[:, first:]], 1), base


def colours_alone(head: LogisticHead, known: Context, inputs: Inputs) -> Inputs:
    """Predict each colour from its own neighbours; the others are read only."""
    x, base = inputs
    own = base.clone()
    own[:, 1:] -= (known.samples - base)[:, :1]
    told = (known.samples - own)[:, : head.channels - 1]
    return torch.cat([x[:, : head.shared], told], 1), own


CASES: tuple[tuple[str, dict[str, Any], Change | None], ...] = (
    ("as it is: R 3, M 5, width 32, depth 2", {}, None),
    ("R 2", {"R": 2}, None),
    ("R 4", {"R": 4}, None),
    ("R 6", {"R": 6}, None),
    ("M 1", {"M": 1}, None),
    ("M 3", {"M": 3}, None),
    ("M 8", {"M": 8}, None),
    ("width 16", {"width": 16}, None),
    ("width 64", {"width": 64}, None),
    ("depth 1", {"depth": 1}, None),
    ("depth 3", {"depth": 3}, None),
    ("values, not differences to the prediction", {}, values),
    ("without gradients and level", {}, without("gradients")),
    ("without position", {}, without("position")),
    ("colours not relative to the first", {}, colours_alone),
)


def trained(photos: np.ndarray, options: dict[str, Any], change: Change | None, steps: int) -> tuple[PixelModel, float]:
    """A model after so many steps of 2,048 pixels, and its rate in bits a sample."""
    torch.manual_seed(0)
    model = PixelModel(shape=photos.shape[1:], symbols=256, **options)
    head = model.head
    assert isinstance(head, LogisticHead)
    contexts = Contexts(photos, head.R)
    head.begin(contexts.take(contexts.spread(TEST_PIXELS)))
    if change:
        read = head.inputs
        head.inputs = lambda known, features: change(head, known, read(known, features))  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * (0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        optimizer.zero_grad()
        loss = -head(contexts.take(contexts.random(2048))).mean()
        loss.backward()
        optimizer.step()
    return model, model.test_rate(model.training_set(photos, None, torch.device("cpu")))


def costs(model: FrozenPixels, photo: np.ndarray) -> str:
    """Bytes of the model, and nanoseconds a sample to encode and to decode, with one thread, the best of three."""
    best = [math.inf, math.inf]
    with Alone():
        for _ in range(3):
            encode, blob = clock(lambda: mcbits.compress(photo, model, "simple", verify=False))
            decode, back = clock(partial(mcbits.decompress, blob, model))
            best = [min(best[0], encode), min(best[1], decode)]
    assert np.array_equal(back, photo)
    return f"{len(model.data):,} | {best[0] / photo.size * 1e9:.0f} | {best[1] / photo.size * 1e9:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=3000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    paths = sorted(shared("data/pictures/photos").glob("*.png"))
    every = [np.asarray(Image.open(path)) for path in paths]
    photos = np.stack([photo for photo in every if photo.shape[:2] == (512, 768)])
    lines = ["| head | bits/sample | model, bytes | encode, ns/sample | decode, ns/sample |", "|---|---|---|---|---|"]
    for name, options, change in CASES:
        model, rate = trained(photos, options, change, steps)
        cost = "| | |" if change else costs(model.freeze(), photos[:1])
        lines.append(f"| {name} | {rate:.4f} | {cost}")
        print(lines[-1], flush=True)
    (RESULTS / "heads.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
