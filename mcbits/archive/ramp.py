"""A message begins with few particles and has no more lanes than it can feed, so that popping seldom meets an empty
stack."""

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

# The rate is measured with one particle and falls with more, and it varies from image to image.
_MARGIN = 0.85
_HEAD_BITS = 80  # that a lane costs in the file besides: a head, and the length of its tail


def coder_at(coder: Coder, ramp: int, step: int) -> Coder:
    """The coder of a block's step 0, 1, ...: with min(N, 1 + floor(step * ramp / 256)) particles where there is a
    ramp."""
    if ramp == 0:
        return coder
    return _with_particles(coder, min(coder.num_particles, 1 + step * ramp // RAMP_UNIT))


@lru_cache
def _with_particles(coder: Coder, num_particles: int) -> Coder:
    return coder.with_particles(num_particles)


Trial = Callable[[], Iterable[tuple[NDArray[Any], LatentModel]]]
"""Gives a few symbols of the message, and the model of each: what the first steps would code."""


def parse_ramp(text: str, coder: Coder, trial: Trial) -> int:
    """The ramp that `--ramp` asks for: "off", "auto" (from what a trial costs), or particles added a step."""
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
    # Each step adds about `rate` bits to the message, and each particle more takes `cost` bits out of it for a while.
    rate, few = _costs(coder, 1, trial)
    _, many = _costs(coder, 3, trial)
    return max(1, int(RAMP_UNIT * _MARGIN * rate / max((many - few) / 2, 1.0)))


def parse_lanes(text: str, coder: Coder, ramp: int, trial: Trial, most: int) -> int:
    """The number of lanes that `--lanes` asks for; "auto": so many that initial bits stay below 0.5 % of a block.

    `most` is how many images a step may have: those of the block, or what the model allows.
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
    """Mean ideal codelength and initial bits of what is tried, each on a fresh stack."""
    coder = _with_particles(coder, num_particles)
    lengths, initial = [], []
    for x, model in trial():
        stack = Stack(len(x))
        lengths.append(coder.encode(stack, x, model))
        initial.append(stack.initial_bits())
    return float(np.concatenate(lengths).mean()) * CODELENGTH_UNIT, float(np.concatenate(initial).mean())
