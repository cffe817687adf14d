"""A dataset is one fixed division into training and test images: the same pixels on every machine."""

from dataclasses import dataclass
from os import PathLike
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mcbits.plugins.registry import registry


@dataclass(frozen=True)
class Dataset:
    """A dataset of grey images: `train` (n, *shape) and `test` (m, *shape), uint8, upright, values 0..`levels` (white).

    It may also hold sequences of one `shape` (frames, *dims of a frame), padded as in `mcbits.latents.sequences`.
    Training keeps the weights that are best on `valid`, or on `test` if there is no `valid`.
    """

    train: NDArray[np.uint8]
    test: NDArray[np.uint8]
    levels: int
    valid: NDArray[np.uint8] | None = None


class DatasetLoader(Protocol):
    """A dataset class, built in or from a plugin."""

    name: ClassVar[str]
    splits: ClassVar[tuple[str, ...]]
    """The values that `split` may have. Empty if there is only one; then `split` is ignored."""

    @staticmethod
    def load(datadir: str | PathLike[str], split: str, download: bool = True) -> Dataset:
        """Read the dataset from `datadir` and return it. Download it to `datadir` first if it is not there.

        Raises UsageError for an unknown split, DataError if the files are missing, unreadable or damaged.
        """
        ...


def find_dataset(name: str) -> type[DatasetLoader]:
    """Return the registered dataset class of that name; errors as for `Registry.find`."""
    found: type[DatasetLoader] = registry().find("dataset", name)
    return found
