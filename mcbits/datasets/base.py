"""A dataset is one fixed division into training and test images: the same pixels on every machine."""

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Dataset:
    """Grey images `train` (n, *shape) and `test` (m, *shape): uint8, upright, values 0..`levels` (white).

    Or sequences of one `shape` (frames, *dims of a frame), padded as in `mcbits.latents.sequences`. Training keeps
    the weights that are best on `valid`, or on `test` where the dataset has no such part.
    """

    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    levels: int
    valid: NDArray[np.uint8] | None = None


class DatasetLoader(Protocol):
    """What a dataset class offers, built in or from a plugin."""

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    """The values `split` may have; empty where there is nothing to choose, and `split` is then ignored."""

    @staticmethod
    def load(datadir: str | PathLike[str], split: str, download: bool = True) -> Dataset:
        """Read the dataset from `datadir`, or download it there.

        Raises UsageError for an unknown split, DataError when the files are missing, unreadable or damaged.
        """
        ...
