"""Inverse temperatures are integers in units of 2^-16. They rise from 0, where f = q(z|x), to 1, where f = p(x, z)."""

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import UsageError

SCHEDULES = ("linear", "sigmoidal")


def inverse_temperatures(n: int, schedule: str) -> NDArray[np.int64]:
    """Return beta_0 = 0, ..., beta_n = 1, (n + 1,), in units of 2^-16, for t = k / n. For n = 0 only beta_0.

    schedule: "linear" is t; "sigmoidal" is t^2 (3 - 2 t), with smaller steps near both ends.
    Raises UsageError for another schedule.
    """
    if schedule not in SCHEDULES:
        raise UsageError(f"schedule must be {' or '.join(SCHEDULES)}, not {schedule!r}")
    t: NDArray[np.int64] = (np.arange(n + 1, dtype=np.int64) << 20) // max(n, 1)
    return t >> 4 if schedule == "linear" else t * t * (3 * (1 << 20) - 2 * t) >> 44
