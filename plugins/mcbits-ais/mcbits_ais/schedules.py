"""Inverse temperatures are integers in units of 2^-16 that rise from 0, where f_0 = q, towards 1, where f = p(x, z)."""

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import UsageError

SCHEDULES = ("linear", "sigmoidal")


def inverse_temperatures(num_steps: int, schedule: str) -> NDArray[np.int64]:
    """beta_0 = 0, beta_1, ..., beta_T, (T + 1,), in steps that would reach 1 at T + 1.

    linear: t = k / (T + 1); sigmoidal: t^2 (3 - 2 t), with smaller steps near both ends. UsageError for another name.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule must be {' or '.join(SCHEDULES)}, not {schedule!r}")
    k, n = np.arange(num_steps + 1, dtype=np.int64), num_steps + 1
    t: NDArray[np.int64] = (k << 20) // n
    return t >> 4 if schedule == "linear" else t * t * (3 * (1 << 20) - 2 * t) >> 44
