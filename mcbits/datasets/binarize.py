"""Binarisation is a function of images, levels and seed in integers, so it gives the same bits on every machine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError

_CHUNK = 1 << 20  # even, so that the drawn words, and so the bits, do not depend on it


def white(*images: NDArray[Any]) -> int:
    """Return the value that is white in all arrays: 1 if every value is 0 or 1, else 255 of uint8, 65535 of uint16.

    >>> white(np.array([[0, 1]], np.uint8)), white(np.array([[0, 2]], np.uint8))
    (1, 255)
    """
    if all(each.max(initial=0) <= 1 for each in images):
        return 1
    return int(np.iinfo(images[0].dtype).max)


def binarize(images: NDArray[Any], levels: int, seed: int) -> NDArray[np.uint8]:
    """Draw x ~ Bernoulli(grey / levels) for each pixel (Salakhutdinov & Murray 2008; Burda et al. 2016).

    `images` is uint8 or uint16 of any shape with values 0..levels. The result is uint8 0/1 of that shape. Probabilities
    are exact to 2^-32. Black stays 0 and white stays 1. Raises DataError if a value is above `levels`.

    >>> binarize(np.array([[0, 4, 8, 12, 16]], np.uint8), levels=16, seed=0)
    array([[0, 0, 0, 1, 1]], dtype=uint8)
    """
    if images.max(initial=0) > levels:
        raise DataError(f"images hold the value {images.max()}, above white ({levels}): correct `levels`")
    # x = 1 if u < 2^32 grey / levels, for u among 2^32 values. u comes from raw words: numpy guarantees that these
    # never change, but not so for Generator.integers.
    threshold = np.array([-(-(grey << 32) // levels) for grey in range(levels + 1)], np.uint64)
    words = np.random.PCG64(seed)
    grey = images.reshape(-1)
    x = np.empty(grey.shape, np.uint8)
    for start in range(0, grey.size, _CHUNK):
        part = grey[start : start + _CHUNK]
        u = words.random_raw((part.size + 1) // 2).astype("<u8").view("<u4")[: part.size]
        np.less(u, threshold[part], out=x[start : start + _CHUNK].view(bool))
    return x.reshape(images.shape)
