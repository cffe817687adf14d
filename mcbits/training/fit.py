"""A model of some pictures, made in a given time: what they need to become one small file that holds the model too."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mcbits.errors import DataError, UsageError
from mcbits.models.pixels import PixelModel
from mcbits.plugins.registry import registry
from mcbits.training.fewer_bits import fewer_bits_of_pixels
from mcbits.training.loop import cosine, single_threaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mcbits.latents.pixels import FrozenPixels

SECONDS = (4, 8, 15, 30, 60, 150, 300, 600, 1200)
"""How long efforts 1 to 9 train."""

SIZES: tuple[tuple[float, dict[str, int]], ...] = (
    (0, {"R": 2, "M": 2, "width": 8, "depth": 1}),
    (0, {"R": 2, "M": 3, "width": 16}),
    (0, {"R": 3, "M": 5, "width": 32}),
    (300, {"R": 4, "M": 5, "width": 48}),
)
"""Heads from small to large, and the least seconds of training that make each worth its time."""

SHARE = 1 / 100
"""Most bytes of a model for each byte of the pictures."""

LR, BATCH = 1e-2, 2048


def fit(
    images: NDArray[Any] | Sequence[NDArray[Any]],
    *,
    effort: int = 5,
    seconds: float | None = None,
    seed: int = 42,
    **options: Any,
) -> FrozenPixels:
    """Return a frozen model of these pictures, packed, trained on them for about `seconds`, with one thread.

    Its weights have as many bits as pay for themselves in these pictures.

    images: bool, uint8 or uint16, one array (n, h, w) or (n, h, w, channels), or a list of pictures of several sizes.
    effort: 1 to 9; 5 means a minute, 7 five minutes, 9 twenty. options: of PixelModel; by default the head is as large
    as the pictures and the time are worth. How far it comes depends on the machine, so its bits do, too.
    Raises DataError for what is no picture, UsageError for a wrong option.
    """
    if type(effort) is not int or not 1 <= effort <= len(SECONDS):
        raise UsageError(f"effort must be 1 to {len(SECONDS)}, not {effort!r}")
    seconds = SECONDS[effort - 1] if seconds is None else seconds
    if not seconds > 0 or not math.isfinite(seconds):
        raise UsageError(f"seconds must be more than 0, not {seconds}")
    pictures = [np.asarray(each) for each in images]
    if not pictures or any(each.dtype not in (np.uint8, np.uint16, np.bool_) for each in pictures):
        raise DataError("expected pictures of bool, uint8 or uint16, at least one")
    with torch.random.fork_rng([]), single_threaded():
        torch.manual_seed(seed)
        model = _model(pictures, seconds, options)
        _train(model, images if isinstance(images, np.ndarray) else pictures, seconds)
        return fewer_bits_of_pixels(model, images if isinstance(images, np.ndarray) else pictures)


def _model(pictures: list[NDArray[Any]], seconds: float, options: dict[str, Any]) -> PixelModel:
    """Return an untrained model: the largest one that weighs little beside the pictures."""
    most = max(int(each.max(initial=0)) for each in pictures)
    symbols = 2 if most < 2 else max(256, most + 1)
    raw, shape = sum(each.nbytes for each in pictures), (0, 0, *pictures[0].shape[2:])
    sizes = [size for least, size in SIZES if least <= seconds]
    for size in reversed(sizes):
        model = PixelModel(shape=shape, **{"symbols": symbols, **size, **options})
        if size is sizes[0] or len(model.freeze().data) <= raw * SHARE:
            break
    return model


def _train(model: PixelModel, pictures: Any, seconds: float) -> None:
    """Train until the time is over; the learning rate falls with it as a cosine does."""
    hook, device = registry().hook, torch.device("cpu")
    model.initialise_from_data(pictures, 1)
    images = model.training_set(pictures, None, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, eps=1e-8, fused=True)
    begin, reported, total, steps, over = time.monotonic(), 0.0, torch.zeros(()), 0, 0.0
    hook.mcbits_started(job="train", total=math.ceil(seconds))
    model.train()
    while over < 1:
        for batch in images.batches(BATCH):
            over = (time.monotonic() - begin) / seconds
            if over >= 1:
                break
            optimizer.param_groups[0]["lr"] = LR * cosine(over)
            optimizer.zero_grad()
            loss = model.loss(batch, _no_bound, 1)
            loss.backward()
            optimizer.step()
            total, steps = total + loss.detach(), steps + 1
            if over * seconds - reported > 0.5:
                reported = over * seconds
                rate = float(total) / (steps * math.log(2))
                hook.mcbits_advanced(job="train", done=int(reported), metrics={"bits/sample": rate})
                total, steps = torch.zeros(()), 0
    hook.mcbits_finished(job="train", metrics={"bits/sample": model.test_rate(images)})


def _no_bound(*_: Any) -> Any:
    raise AssertionError("a model without latents asks for no bound")
