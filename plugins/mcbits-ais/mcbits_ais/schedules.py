"""Inverse temperatures are integers in units of 2^-16 that rise from 0, where f_0 = q, towards 1, where f is p(x, z)."""

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import UsageError

SCHEDULES = ("linear", "sigmoidal")


def inverse_temperatures(num_steps: int, schedule: str) -> NDArray[np.int64]:
    """beta_0 = 0, beta_1, ..., beta_T, (T + 1,): 2^16 of step T + 1, which none need take, is left out.

    linear: t = k / (T + 1); sigmoidal: t^2 (3 - 2 t), with smaller steps near both ends. UsageError for another name.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule must be {' or '.join(SCHEDULES)}, not {schedule!r}")
    k, n = np.arange(num_steps + 1), num_steps + 1
    if schedule == "linear":
        return (k << 16) // n
    return (k * k * (3 * n - 2 * k) << 16) // n**3
