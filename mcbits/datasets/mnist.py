"""MNIST is stored upright. Its files are not those of EMNIST's split "mnist".

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits".
"""

from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np

from mcbits.datasets.base import Dataset
from mcbits.datasets.files import fetch, find, read_square
from mcbits.errors import DataError

_MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist"
_MD5 = {
    "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
}
_FOLDERS = ("", "mnist", "mnist/raw", "raw")


class MNIST:
    """A dataset of handwritten digits, grey 28 x 28."""

    name: ClassVar[str] = "MNIST"
    splits: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def load(datadir: str | PathLike[str], split: str = "", download: bool = True) -> Dataset:
        """Read MNIST from `datadir` and return it. Download its two image files first if they are missing.

        All parts are uint8 (n, 28, 28), levels 255. Of the 60,000 training images the last twelfth, 5,000, are `valid`;
        the test images are 10,000. `split` has no effect.
        Raises DataError if the files are missing or damaged.
        """
        folder = Path(datadir) / "mnist"
        paths = {name: find(datadir, _FOLDERS, name) for name in _MD5}
        missing = [f"{name}.gz" for name, path in paths.items() if path is None]
        wanted = f"MNIST is missing: put {' and '.join(missing)} into {folder}"
        if missing and not download:
            raise DataError(wanted)
        train, test = (
            read_square(path or fetch(f"{_MIRROR}/{name}.gz", _MD5[name], folder, wanted))
            for name, path in paths.items()
        )
        count = len(train) // 12
        train, valid = np.split(train, [len(train) - count])
        return Dataset(train, test, levels=255, valid=valid if count else None)
