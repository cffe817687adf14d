from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from mcbits._rans import Stack
from mcbits.core.dense import Dense
from mcbits.core.mixture import Family

@disjoint_base
class Memory: ...

@disjoint_base
class Neighbours:
    """The distributions of pixels given their neighbours, for pictures of any size.

    radius: R of the context. heads: one network for each channel; head c reads the context, predictions and activity,
    the position, `num_features` features and what stands for the c channels before it.
    inputs: int16 (2 K - 1, 1), what a head reads for each difference from -(K - 1) on, and levels: int16 (K,), what it
    reads for each prediction; or inputs (K + 1, E), E numbers for each symbol, K standing for what is beyond the edges,
    and no levels.
    The inputs of each head must be proved up to 128, up to what is in `inputs`, and with features, which must stay
    within that, up to 1023.
    Raises ValueError where these do not fit each other.
    """

    def __init__(
        self,
        family: Family,
        radius: int,
        heads: Sequence[Dense],
        inputs: NDArray[np.int16],
        levels: NDArray[np.int16],
        num_features: int,
    ) -> None: ...
    def intervals(
        self, x: NDArray[np.uint16], features: NDArray[np.int16], precision: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]: ...
    def push(self, stack: Stack, starts: NDArray[np.int32], freqs: NDArray[np.int32], precision: int) -> None: ...
    def pop(
        self,
        stack: Stack,
        shape: tuple[int, int, int],
        features: NDArray[np.int16],
        precision: int,
        strict: bool = False,
    ) -> NDArray[np.uint16]: ...

def codelength_of(freqs: NDArray[np.int32], precision: int) -> NDArray[np.int64]: ...
