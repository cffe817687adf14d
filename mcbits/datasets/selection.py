"""A config alone decides what is coded of a dataset: which test images, in which order, with which bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcbits.datasets import binarize
from mcbits.datasets.base import find_dataset
from mcbits.errors import DataError, UsageError

if TYPE_CHECKING:
    from mcbits.config import EvaluateConfig


def test_images(config: EvaluateConfig) -> NDArray[Any]:
    """Return the test images of a config, uint8 or uint16 (n, *shape), binarised if it says so.

    Raises as `stored_images` does.
    """
    images, levels = stored_images(config)
    return binarize(images, levels, config.seed) if config.binarize else images


def stored_images(config: EvaluateConfig) -> tuple[NDArray[Any], int]:
    """Return the same images as the dataset stores them, (n, *shape), and its `levels`, the value of white.

    If `num_compress` is not 0, the seed chooses that many images, because some sets are sorted by class. They keep
    the order of the set. Raises UsageError if there are not enough, DataError if they have several sizes, and as the
    dataset's loader does.
    """
    dataset = find_dataset(config.dataset).load(config.datadir, config.split)
    images = dataset.test
    if isinstance(images, list):
        raise DataError(f"{config.dataset} has pictures of several sizes: expected one, since a .mcb file has one size")
    if config.num_compress > len(images):
        raise UsageError(f"num_compress: {config.dataset} has {len(images)} test images, not {config.num_compress}")
    if config.num_compress:
        # Sort by raw words: numpy guarantees that these never change, but not so for Generator.permutation.
        order = np.argsort(np.random.PCG64(config.seed).random_raw(len(images)), kind="stable")
        images = images[np.sort(order[: config.num_compress])]
    return images, dataset.levels
