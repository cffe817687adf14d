"""The user's own pictures are divided by a share and a seed alone, so that what is tested on is never trained on."""

import re
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits.datasets.base import Dataset, Images
from mcbits.datasets.binarize import white
from mcbits.errors import DataError, UsageError
from mcbits.images import read_pictures

_DIVISION = re.compile(r"(0|0\.\d+|\d(?:\.\d+)?e-\d+)@(\d+)")


class OwnPictures:
    """Loads the pictures at a path, a folder or an array in a file, as a dataset."""

    splits: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)

    def load(self, datadir: str | PathLike[str] = "", split: str = "", download: bool = True) -> Dataset:
        """Read the pictures and return them, divided as `split` says: arrays if all have one size, else lists.

        split: SHARE@SEED, such as 0.1@42: the seed chooses which share of the pictures to hold out as the test part;
        at least one, and at least one to train on. Without an @, if the share is 0 and if there is but one picture,
        the test part is the training part itself. Both keep the order of the pictures.
        `levels` is 1 if all values are 0 or 1, else 255 for uint8 and 65535 for uint16. bool becomes uint8.
        `datadir` and `download` have no effect. Raises UsageError for another division, DataError as `read_pictures`,
        and if there are no pictures.
        """
        share, seed = _division(split)
        pictures = [each.view(np.uint8) if each.dtype == bool else each for each in read_pictures(self.path)]
        if not pictures:
            raise DataError(f"{self.path} holds no pictures: expected at least one")
        n = len(pictures)
        count = min(max(round(share * n), 1), n - 1) if share else 0
        # Sort by raw words: numpy guarantees that these never change, but not so for Generator.permutation.
        order = np.argsort(np.random.PCG64(seed).random_raw(n), kind="stable")
        train = _chosen(pictures, order[count:])
        return Dataset(train, _chosen(pictures, order[:count]) if count else train, levels=white(*pictures))


def _division(split: str) -> tuple[float, int]:
    if "@" not in split:
        return 0.0, 0
    if (found := _DIVISION.fullmatch(split)) is None:
        raise UsageError(f"split of your own pictures: expected SHARE@SEED, such as 0.1@42, got {split!r}")
    return float(found[1]), int(found[2])


def _chosen(pictures: list[NDArray[Any]], numbers: NDArray[np.intp]) -> Images:
    chosen = [pictures[i] for i in np.sort(numbers)]
    return np.stack(chosen) if len({each.shape for each in pictures}) == 1 else chosen
