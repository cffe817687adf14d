"""EMNIST is returned upright: the official files store each image transposed, and this loader transposes it back.

Source: Cohen, Afshar, Tapson & van Schaik 2017, "EMNIST: an extension of MNIST to handwritten letters".
"""

import shutil
import zipfile
from os import PathLike
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits.datasets.base import Dataset
from mcbits.datasets.files import fetch, find, read_square
from mcbits.errors import DataError, UsageError
from mcbits.files import whole_or_nothing

_URL = "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"
_MD5 = "58c8d27c78d21e728a6bc7b3cc06412e"
_FOLDERS = ("", "emnist", "emnist/raw", "emnist/gzip", "emnist/raw/gzip", "raw", "raw/gzip", "gzip")


class EMNIST:
    """A dataset of handwritten digits (split "mnist") or letters (split "letters"), grey 28 x 28."""

    name: ClassVar[str] = "EMNIST"
    splits: ClassVar[tuple[str, ...]] = ("mnist", "letters")

    @staticmethod
    def load(datadir: str | PathLike[str], split: str, download: bool = True) -> Dataset:
        """Read a split from `datadir` and return it. Download the official archive (0.5 GB) first if it is missing.

        Both parts are uint8 (n, 28, 28) with levels 255, in the order of the files (letters are sorted by class). The
        official files have 60,000 and 10,000 digits, or 124,800 and 20,800 letters.
        Raises UsageError for an unknown split, DataError if the files are missing or damaged.
        """
        if split not in EMNIST.splits:
            raise UsageError(f"EMNIST has no split {split!r}: choose one of {', '.join(EMNIST.splits)}")
        names = {part: _file_name(split, part) for part in ("train", "test")}
        paths = {part: find(datadir, _FOLDERS, name) for part, name in names.items()}
        if download and None in paths.values():
            _download(Path(datadir) / "emnist", [name for part, name in names.items() if paths[part] is None])
            paths = {part: find(datadir, _FOLDERS, name) for part, name in names.items()}
        missing = [names[part] for part, path in paths.items() if path is None]
        if missing:
            raise DataError(_wanted(Path(datadir) / "emnist", missing))
        train, test = (_upright(read_square(path)) for path in paths.values() if path is not None)
        return Dataset(train, test, levels=255)


def _file_name(split: str, part: str) -> str:
    return f"emnist-{split}-{part}-images-idx3-ubyte"


def _wanted(folder: Path, names: list[str]) -> str:
    return f"EMNIST is missing: put {' and '.join(f'{name}.gz' for name in names)} into {folder}"


def _upright(stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(stored.transpose(0, 2, 1))


def _download(folder: Path, names: list[str]) -> None:
    archive = fetch(_URL, _MD5, folder, _wanted(folder, names))
    # Unpack all splits, since the archive is then removed: it is twenty times their size.
    with zipfile.ZipFile(archive) as files:
        for split in EMNIST.splits:
            for part in ("train", "test"):
                name = f"{_file_name(split, part)}.gz"
                with (
                    whole_or_nothing(folder / name) as draft,
                    files.open(f"gzip/{name}") as packed,
                    open(draft, "wb") as target,
                ):
                    shutil.copyfileobj(packed, target)
    archive.unlink()
