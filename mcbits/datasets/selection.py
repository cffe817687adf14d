"""What is coded of a dataset is decided by a config alone: which test images, in which order, which bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcbits.datasets import binarize
from mcbits.errors import UsageError
from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    from mcbits.config import EvaluateConfig


def test_images(config: EvaluateConfig) -> NDArray[np.uint8]:
    """The test images a config asks for, uint8 (n, *shape), binarised if it says so; errors of `stored_images`."""
    images, levels = stored_images(config)
    return binarize(images, levels, config.seed) if config.binarize else images


def stored_images(config: EvaluateConfig) -> tuple[NDArray[np.uint8], int]:
    """The same images as the dataset stores them, uint8 (n, *shape), and its `levels`, the value of white.

    A number below the whole test set is drawn by the seed and kept in the set's order, because some sets are
    sorted by class. Raises UsageError when there are not that many, DataError as the dataset's loader does.
    """
    dataset = registry().dataset(config.dataset).load(config.datadir, config.split)
    images = dataset.test
    if config.num_compress > len(images):
        raise UsageError(f"num_compress: {config.dataset} has {len(images)} test images, not {config.num_compress}")
    if config.num_compress:
        # Sorted raw words, which numpy keeps for good, unlike Generator.permutation.
        order = np.argsort(np.random.PCG64(config.seed).random_raw(len(images)), kind="stable")
        images = images[np.sort(order[: config.num_compress])]
    return images, dataset.levels
