"""What a head reads of a pixel's neighbours is integers, by these tables: the same for training and for coding."""

import numpy as np
from numpy.typing import NDArray

MOST = 1023
"""Inputs of a head are integers of this magnitude at most."""

FEATURE_FRAC = 7
"""Fractional bits of a decoder's features, which a head reads as integers up to `MOST`."""

MAX_RADIUS = 16
_FINE = 3  # differences keep so many places below the unit
_ORDERS = {1: (0,), 2: (1, 0), 3: (1, 0, 2), 4: (3, 1, 0, 2)}


def channel_order(channels: int) -> tuple[int, ...]:
    """Return the order in which the channels of a pixel are coded: alpha first, then green, red, blue."""
    return _ORDERS[channels]


def first_colour(channels: int) -> int:
    """Return the place, in the order of coding, of the first colour: later ones are predicted relative to its error."""
    return 1 - channels % 2


def num_neighbours(radius: int) -> int:
    """Return the number of pixels of a context: those before (y, x) in rows y - R ... y and columns x - R ... x + R."""
    return 2 * radius * (radius + 1)


def difference_table(num_symbols: int, unit: int) -> NDArray[np.int16]:
    """Return what a head reads for each difference -(K - 1) ... K - 1 of samples, int16 (2 K - 1, 1).

    unit: differences of about 2^unit are usual. They keep three binary places below it.
    """
    d = np.arange(-(num_symbols - 1), num_symbols)
    shift = max(0, unit - _FINE)
    table: NDArray[np.int16] = np.clip((d + (1 << shift >> 1)) >> shift, -MOST, MOST).astype(np.int16)
    return table[:, None]


def level_table(num_symbols: int) -> NDArray[np.int16]:
    """Return what a head reads for each predicted sample, int16 (K,): its place in the range, to 8 bits."""
    bits = (num_symbols - 1).bit_length()
    levels: NDArray[np.int16] = (np.arange(num_symbols) - num_symbols // 2 >> max(0, bits - 8)).astype(np.int16)
    return levels
