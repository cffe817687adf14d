"""A message begins with few particles and has few lanes, so that a pop rarely finds an empty stack."""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.archive.format import MAX_LANES, RAMP_UNIT
from mcbits.coders.base import Coder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import UsageError
from mcbits.latents.base import LatentModel

# The rate is measured with one particle. It is lower with more particles, and it varies from image to image.
_MARGIN = 0.85
_HEAD_BITS = 80  # further cost of a lane in the file: its head, and the length of its tail


def coder_at(coder: Coder, ramp: int, step: int) -> Coder:
    """Return the coder of step 0, 1, ... of a block, with min(N, 1 + floor(step * ramp / 256)) particles.

    With ramp 0 it has N particles in every step.
    """
    if ramp == 0:
        return coder
    return _with_particles(coder, min(coder.num_particles, 1 + step * ramp // RAMP_UNIT))


@lru_cache
def _with_particles(coder: Coder, num_particles: int) -> Coder:
    return coder.with_particles(num_particles)


Trial = Callable[[], Iterable[tuple[NDArray[Any], LatentModel]]]
"""Returns what the first steps of the message would code: for each, some x (n, dims) and the model."""


def parse_ramp(text: str, coder: Coder, trial: Trial) -> int:
    """Return the ramp for the text of `--ramp`: "off", "auto" (from a trial), or the number of particles to add a step.

    Raises UsageError for any other text, and if the coder has no ramp.
    """
    if text not in ("off", "auto"):
        try:
            ramp = round(float(text) * RAMP_UNIT)
        except (TypeError, ValueError, OverflowError):
            ramp = 0
        if not 1 <= ramp <= 1 << 32:
            raise UsageError(f"ramp must be auto, off, or a number of particles to add a step, not {text!r}")
        if not coder.ramped:
            raise UsageError(f"{coder.short} takes no ramp: its initial bits do not grow with particles")
        return ramp
    if text == "off" or not coder.ramped or coder.num_particles == 1:
        return 0
    # Each step adds about `rate` bits to the message. Each further particle pops (many - few) / 2 bits of it until the
    # step ends.
    rate, few = _costs(coder, 1, trial)
    _, many = _costs(coder, 3, trial)
    return max(1, int(RAMP_UNIT * _MARGIN * rate / max((many - few) / 2, 1.0)))


def parse_lanes(text: str, coder: Coder, ramp: int, trial: Trial, most: int) -> int:
    """Return the number of lanes for the text of `--lanes`: a number, or "auto".

    With "auto", initial bits and heads cost about 0.5 % of a block of `most` images.
    most: the most images that a step may have: all of the first block, or what the model allows.
    Raises UsageError for any other text.
    """
    if text == "auto":
        if most == 1:
            return 1
        rate, initial = _costs(coder, 1 if ramp else coder.num_particles, trial)
        return max(1, min(most, int(0.005 * most * rate / (initial + _HEAD_BITS))))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MAX_LANES):
        raise UsageError(f"lanes must be auto or between 1 and {MAX_LANES}, not {text}")
    return int(text)


def _costs(coder: Coder, num_particles: int, trial: Trial) -> tuple[float, float]:
    """Return the mean ideal codelength and the mean initial bits of the trial, in bits, each step on a fresh stack."""
    coder = _with_particles(coder, num_particles)
    lengths, initial = [], []
    for x, model in trial():
        stack = Stack(len(x))
        lengths.append(coder.encode(stack, x, model))
        initial.append(stack.initial_bits())
    return float(np.concatenate(lengths).mean()) * CODELENGTH_UNIT, float(np.concatenate(initial).mean())
