"""The ideal rate of an image is the negative of a bound on its log-likelihood, estimated by the float network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mcbits.bounds.base import find_bound
from mcbits.errors import DataError
from mcbits.exact.settings import own_settings
from mcbits.latents.sequences import symbols
from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mcbits.bounds.base import Bound
    from mcbits.models.base import Model

# Decoder rows (images x particles) per call: many enough for efficient matrix products, few enough for the cache of a
# core (3 MB of logits at 28 x 28; 8,192 rows took up to twice the time).
MAX_ROWS = 1024


def evaluate(
    model: Model,
    images: np.ndarray,
    bound: str | Bound = "elbo",
    num_particles: int = 1,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> dict[str, Any]:
    """Return the ideal rate of images under a float model. It depends on seed, batch size and device.

    images: integer (n, *model.shape) of symbols 0..K-1. bound: a registered name or a Bound. batch_size: images per
    call of the network, by default as many as MAX_ROWS decoder rows allow. The model moves to the device and stays
    there.
    The result has these keys: bound, num_particles, num_images, unit ("dim", or "frame" for sequences), ideal (the
    mean in bits per unit, weighted by units), standard_error (of the mean, over images; None for one image) and
    per_image (float64 (n,), bits per unit).
    Raises DataError for images that do not fit the model, UnknownNameError for an unknown bound.
    """
    import torch

    check_images(images, model)
    chosen: Bound = find_bound(bound)() if isinstance(bound, str) else bound
    hook = registry().hook
    hook.mcbits_started(job="evaluate", total=len(images))

    def advanced(done: int, mean: float) -> None:
        hook.mcbits_advanced(job="evaluate", done=done, metrics={"ideal": mean})

    per_image, units = ideal_rates(
        model.to(device),
        torch.tensor(images, device=device),
        chosen,
        num_particles,
        batch_size=batch_size,
        seed=seed,
        advanced=advanced,
    )
    mean = float(np.average(per_image, weights=units))
    hook.mcbits_finished(job="evaluate", metrics={"ideal": mean})
    return {
        "bound": chosen.name,
        "num_particles": num_particles,
        "num_images": len(images),
        "unit": "frame" if model.sequences else "dim",
        "ideal": mean,
        "standard_error": standard_error(per_image, units),
        "per_image": per_image,
    }


def standard_error(rates: np.ndarray, units: np.ndarray) -> float | None:
    """Return the standard error, over images, of the mean of `rates` (n,) weighted by `units` (n,).

    None for one image.
    """
    if len(rates) == 1:
        return None
    deviations = units * (rates - np.average(rates, weights=units))
    return math.sqrt(float((deviations**2).sum()) * len(rates) / (len(rates) - 1)) / float(units.sum())


def ideal_rates(
    model: Model,
    images: Tensor,
    bound: Bound,
    num_particles: int,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    advanced: Callable[[int, float], None] = lambda done, mean: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ideal rate of each image, float64 (n,) in bits per unit, and its number of units, integers (n,).

    This is `evaluate` without names, checks and hooks. The model and the images (n, *model.shape) must be on the same
    device. `advanced(done, mean)` is called after each batch. The model is left in eval mode. The caller's random
    state does not change.
    """
    import torch

    device = images.device
    rates, units = np.empty(len(images)), model.units(images)
    done = 0
    model.eval()
    forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
    with forked, own_settings(device.type), torch.inference_mode():
        torch.manual_seed(seed)
        for x in images.split(batch_size or max(1, MAX_ROWS // num_particles)):
            nats = (
                bound(model, x.float() if model.any_size else x.flatten(1).float(), num_particles)
                .double()
                .cpu()
                .numpy()
            )
            rates[done : done + len(x)] = nats / (-math.log(2) * units[done : done + len(x)])
            done += len(x)
            advanced(done, np.average(rates[:done], weights=units[:done]))
    return rates, units


def check_images(images: np.ndarray, model: Model) -> None:
    """Check that there is at least one image, that images have the model's shape and integer symbols 0..K-1.

    Raises DataError otherwise.
    """
    shape, num_symbols = tuple(images.shape[1:]), model.observation.num_symbols
    needed_shape = (*shape[:2], *model.shape[2:]) if model.any_size else model.shape
    if shape != needed_shape or not len(images):
        needed = f"(n, {', '.join(map(str, model.shape))})"
        raise DataError(f"the images are {tuple(images.shape)}, but the model needs {needed}")
    coded = symbols(images, model.sequences)
    if images.dtype.kind not in "biu" or coded.min() < 0 or coded.max() >= num_symbols:
        hint = "; binarise them first (--binarize)" if num_symbols == 2 else ""
        raise DataError(f"the images are not integers 0..{num_symbols - 1}, as the model needs{hint}")


def choose_device(gpu: int) -> torch.device:
    """Return CUDA device number `gpu` if it exists, else the CPU. Listeners get a notice unless gpu is -1."""
    import torch

    if 0 <= gpu < torch.cuda.device_count():
        return torch.device("cuda", gpu)
    if gpu >= 0:
        message = f"there is no GPU {gpu} here, so this runs on the CPU (as with gpu -1)"
        registry().hook.mcbits_notice(message=message)
    return torch.device("cpu")
