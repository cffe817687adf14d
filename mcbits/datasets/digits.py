"""The dataset digits comes with scikit-learn: no download, one fixed order and one fixed division."""

from os import PathLike
from typing import ClassVar

import numpy as np

from mcbits.datasets.base import Dataset
from mcbits.errors import DataError, lacking

_NUM_TEST = 360
_SEED = 42


class Digits:
    """A dataset of handwritten digits, grey 8 x 8: 1,437 for training and 360 for testing.

    Source: Alpaydin & Kaynak 1998, "Optical Recognition of Handwritten Digits", UCI repository (its test part).
    """

    name: ClassVar[str] = "digits"
    splits: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def load(datadir: str | PathLike[str] = "", split: str = "", download: bool = True) -> Dataset:
        """Return both parts as uint8 (n, 8, 8), levels 16. The arguments have no effect.

        Raises DataError if scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise DataError(f"the digits need {lacking('sklearn')}") from error
        images = load_digits().images.astype(np.uint8)
        # Sort by raw words: numpy guarantees that these never change, but not so for Generator.permutation.
        order = np.argsort(np.random.PCG64(_SEED).random_raw(len(images)), kind="stable")
        train, test = np.split(images[order], [-_NUM_TEST])
        return Dataset(train, test, levels=16)
