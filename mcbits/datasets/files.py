"""The official files of a dataset are found in any usual folder layout, or downloaded and checked by their MD5."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError
from mcbits.images.idx import read_idx


def find(datadir: str | PathLike[str], folders: Sequence[str], name: str) -> Path | None:
    """Return the file `name`, plain or .gz, in the first of `folders` (relative to `datadir`) that has it, else None.

    Case does not matter, and "train-images.idx3-ubyte" counts as "train-images-idx3-ubyte". Raises DataError if a
    folder cannot be read.
    """
    for folder in folders:
        places = [Path(datadir)]
        for part in folder.split("/") if folder else ():
            places = [e for place in places for e in _entries(place) if e.name.lower() == part and e.is_dir()]
        for entry in (e for place in places for e in _entries(place)):
            if entry.name.lower().removesuffix(".gz").replace(".", "-") == name and entry.is_file():
                return entry
    return None


def read_square(path: Path) -> NDArray[np.uint8]:
    """Return the images (n, 28, 28), uint8, of an IDX file. Raises DataError if it holds anything else."""
    images = read_idx(path)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
        raise DataError(f"{path} holds shape {images.shape}, not images of 28 x 28: fetch it again")
    return images


def fetch(url: str, md5: str, folder: Path, wanted: str) -> Path:
    """Download `url` into `folder`, check its MD5 and return its path. Show a bar on stderr if that is a terminal.

    wanted: the error text if the download fails; it says which files the user must put where.
    Raises DataError if the download fails or the MD5 is wrong.
    """
    import pooch

    pooch.get_logger().setLevel("ERROR")
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    progress = _Bar(url.rpartition("/")[2]) if sys.stderr and sys.stderr.isatty() else None
    downloader = pooch.HTTPDownloader(progressbar=progress or False)
    try:
        return Path(pooch.retrieve(url, f"md5:{md5}", url.rpartition("/")[2], folder, downloader=downloader))
    except OSError as error:  # network errors are OSErrors too
        reason = error.strerror or type(error).__name__
        raise DataError(f"{wanted} (downloading {url} failed: {reason})") from error
    except ValueError as error:
        raise DataError(f"{wanted} (what {url} sent has the wrong checksum)") from error
    finally:
        for each in made:
            with suppress(OSError):  # a folder with the downloaded file is not empty, so it stays
                each.rmdir()
        if progress:
            progress.close()


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


class _Bar:
    """A progress bar for pooch, which sets `total`, calls `update` with bytes, and at the end `reset` and `update`."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn(name, markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()]
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("download", total=None)
        self.total = 0
        self._progress.start()

    def update(self, size: int) -> None:
        self._progress.update(self._task, advance=size, total=self.total or None)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.stop()
