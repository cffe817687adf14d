"""A dataset is one fixed division into training and test images: the same pixels on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np

from mcbits.errors import UnknownNameError
from mcbits.files import is_path
from mcbits.plugins.registry import registry

if TYPE_CHECKING:
    from mcbits.datasets.own import OwnPictures

Images: TypeAlias = Any
"""An array (n, *shape), or, of pictures of several sizes, a list of arrays (h, w) or (h, w, channels).

Not a union, since whoever wants one size reads its shape; of a list there is none.
"""


@dataclass(frozen=True)
class Dataset:
    """A dataset of images: `train` and `test`, uint8 or uint16, upright, values 0..`levels` (white).

    Both are arrays (n, *shape), or lists of arrays if the user's own pictures have several sizes.
    They may also be sequences of one `shape` (frames, *dims of a frame), padded as in `mcbits.latents.sequences`.
    Training keeps the weights that are best on `valid`, or on `test` if there is no `valid`.
    """

    train: Images
    test: Images
    levels: int
    valid: Images | None = None

    def checksum(self) -> str:
        """Return the SHA-256 of all images, their shapes and types, and `levels`."""
        digest = sha256(str(self.levels).encode())
        for part in (self.train, self.test, self.valid):
            images = [] if part is None else [part] if isinstance(part, np.ndarray) else part
            digest.update(f";{len(images)}".encode())
            for each in images:
                # As little-endian bytes, so that a run goes on alike on every machine.
                array = np.ascontiguousarray(each, each.dtype.newbyteorder("<"))
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()


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


def find_dataset(name: str) -> type[DatasetLoader] | OwnPictures:
    """Return the registered dataset class of that name, else what loads the pictures at the path of that name.

    Text is a path if it has a slash or if something exists there. Errors as for `Registry.find`.
    """
    if is_path(name) and not registry().has("dataset", name):
        from mcbits.datasets.own import OwnPictures  # which imports this module

        return OwnPictures(name)
    try:
        found: type[DatasetLoader] = registry().find("dataset", name)
    except UnknownNameError as error:
        hint = "or give the path of your own pictures, a folder or an array in a file"
        raise UnknownNameError(f"{error}; {hint}") from None
    return found
