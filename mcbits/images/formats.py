"""`read_images` returns exactly the values that `write_images` wrote. What a format cannot keep is refused.

Only pixels are kept, not file names, colour profiles and other metadata of PNGs.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.errors import DataError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.idx import GZIP_MAGIC, read_idx, write_idx
from mcbits.images.png import MAGIC as _PNG_MAGIC
from mcbits.images.png import check_png

_FORMATS = ".npy, .npz, IDX (plain or .gz) or a folder of PNGs"
_IDX_NAME = re.compile(r"(\.idx|[.-]idx\d-ubyte)(\.gz)?$", re.IGNORECASE)
# (bit depth, colour type) of the PNG header -> the mode in which Pillow keeps every value. Pillow's own mode
# would not do: it silently drops the lower half of 16-bit colour.
_PNG_MODES = {(1, 0): "1", (2, 0): "L", (4, 0): "L", (8, 0): "L", (8, 2): "RGB"}


def as_images(array: NDArray[Any], name: str = "images") -> NDArray[Any]:
    """Return `array`, uint8 or bool (n, *shape), no value changed; of bool, what is not zero is true.

    `name` is what errors call the array. Raises DataError for any other type, and for fewer than two
    dimensions.

    >>> as_images(np.array([[True, False]]))
    array([[ True, False]])
    """
    if array.dtype == bool:
        # A view of bytes as bool may hold any of them: what is not zero is true.
        array = array.view(np.uint8) != 0
    elif array.dtype != np.uint8:
        hint = (
            "if every value is in 0..255, give images.astype(numpy.uint8)"
            if array.dtype.kind in "iu"
            else "quantise them first, since mcbits changes no value"
        )
        raise DataError(f"{name}: expected values of type uint8 or bool, got {array.dtype}; {hint}")
    if array.ndim < 2:
        raise DataError(f"{name}: expected shape (images, *shape of one image), got {array.shape}")
    return array


def read_images(path: str | PathLike[str]) -> NDArray[Any]:
    """Return the images in a file or folder, uint8 or bool (n, *shape). The content, not the name, decides the format.

    .npy is memory-mapped. .npz must hold one array, or one with the name "images". IDX may be gzipped. A folder must
    hold only PNGs of one size and kind; hidden files are ignored. PNGs are read in order of name, numbers by
    their value: 1-bit ones as 0/1
    and grey ones as 0..255, both (h, w), RGB ones as (h, w, 3). Nothing is unpickled.
    Raises DataError for files that are missing, damaged or cannot be kept exactly.
    """
    path = Path(path)
    if path.is_dir():
        return _read_pngs(path)
    with _reading(path):
        with open(path, "rb") as file:
            magic = file.read(8)
        if magic.startswith(b"\x93NUMPY"):
            return as_images(_read_npy(path), str(path))
        if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _read_npz(path)
    if magic.startswith((GZIP_MAGIC, b"\0\0")):
        return as_images(read_idx(path), str(path))
    if magic == _PNG_MAGIC:
        raise DataError(f"{path} is a single PNG: give the folder that holds the images")
    raise DataError(f"{path} is no image file that mcbits knows: give {_FORMATS}")


def image_format(path: str | PathLike[str]) -> str:
    """Return the format that `write_images` chooses for a name: "npy", "npz", "idx", or "png" without a suffix.

    Raises UsageError for any other name.

    >>> image_format("scans.idx.gz")
    'idx'
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return suffix[1:]
    if _IDX_NAME.search(path.name):
        return "idx"
    if not suffix or path.is_dir():
        return "png"
    raise UsageError(f"cannot tell the format of {path}: end it in .npy, .npz, .idx or .idx.gz")


def write_images(path: str | PathLike[str], images: NDArray[Any]) -> None:
    """Write images, uint8 or bool (n, *shape), in the format of the name (see `image_format`), whole or not at all.

    A folder gets one PNG for each image, numbered with leading zeros: RGB for shape (h, w, 3), else 1-bit if all values
    are 0 or 1, else grey. An existing file is replaced; a folder with content is refused.
    Raises DataError if the format cannot keep these images or if the target cannot be written, UsageError for a name
    without a known format.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_images(f"{folder}/squares", np.eye(2, dtype=bool)[None])
    ...     read_images(f"{folder}/squares")  # one PNG
    array([[[1, 0],
            [0, 1]]], dtype=uint8)
    """
    path = Path(path)
    images = as_images(images)
    kind = image_format(path)
    if kind == "png":
        _check_pngs(images)
    with whole_or_nothing(path, folder=kind == "png") as draft:
        if kind == "png":
            _write_pngs(draft, images)
        elif kind == "idx" and path.suffix.lower() == ".gz":
            with open(draft, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as zipped:
                write_idx(zipped, images)
        else:
            with open(draft, "wb") as file:
                if kind == "npy":
                    np.save(file, images, allow_pickle=False)
                elif kind == "npz":
                    np.savez_compressed(file, images=images)
                else:
                    write_idx(file, images)


def write_npy(path: str | PathLike[str], blocks: Iterable[NDArray[Any]]) -> tuple[int, ...]:
    """Write images that come in blocks (n, *shape) as one .npy file, and return its shape.

    Only one block is in memory at a time. There must be at least one block. Otherwise as `write_images`.
    """
    path, count = Path(path), 0
    with whole_or_nothing(path) as draft, open(draft, "wb") as file:
        for block in blocks:
            images = as_images(block)
            if count == 0:
                shape, kind = images.shape[1:], images.dtype.str
                file.write(_npy_header((0, *shape), kind))
            count += len(images)
            file.write(np.ascontiguousarray(images).data)
        # numpy leaves room in the header for a longer shape, so the second header has the same length.
        file.seek(0)
        file.write(_npy_header((count, *shape), kind))
    return count, *shape


def _npy_header(shape: tuple[int, ...], kind: str) -> bytes:
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # numpy, zipfile, zlib and Pillow raise many kinds on damaged input
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged or not what it seems: {reason}") from error


def _read_npy(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = getattr(array, "offset", 0) + array.nbytes
    if array.nbytes and (size := path.stat().st_size) != expected:
        raise DataError(f"{path} goes on for {size - expected} bytes after its array: save one array in a file")
    return array


def _read_npz(path: Path) -> NDArray[np.uint8]:
    # The file is opened here, since numpy does not close a file that it cannot read as an archive.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if "images" not in names and len(names) != 1:
            raise DataError(f'{path} holds the arrays {names}: keep only one, or name one "images"')
        name = "images" if "images" in names else names[0]
        return as_images(archive[name], f"{path}[{name}]")


def _read_pngs(folder: Path) -> NDArray[np.uint8]:
    with _reading(folder):
        paths = sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_natural)
    for path in paths:
        if path.suffix.lower() != ".png" or not path.is_file():
            raise DataError(f"{folder} holds {path.name}, which is no PNG: move it out, since it would be lost")
    if not paths:
        raise DataError(f"{folder} holds no PNGs: give {_FORMATS}")
    first, first_mode = _read_png(paths[0])
    images = np.empty((len(paths), *first.shape), np.uint8)
    for i, path in enumerate(paths):
        image, mode = _read_png(path)
        if (image.shape, mode) != (first.shape, first_mode):
            raise DataError(
                f"{path} has shape {image.shape} in mode {mode}, but {paths[0].name} {first.shape} in mode "
                f"{first_mode}: keep PNGs of one kind in a folder"
            )
        images[i] = image
    return images


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """What names are sorted by, so that "scan 9" comes before "scan 10"."""
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _read_png(path: Path) -> tuple[NDArray[Any], str]:
    with _reading(path), open(path, "rb") as file:
        try:
            depth_and_colour = check_png(file)
        except DataError as error:
            raise DataError(f"{path} is damaged: {error}") from None
        file.seek(0)
        with Image.open(file, formats=["PNG"]) as image:
            mode = _PNG_MODES.get(depth_and_colour)
            if mode is None or "transparency" in image.info or getattr(image, "n_frames", 1) > 1:
                raise DataError(
                    f"{path} has a palette, transparency, 16 bits or several frames: use 1-bit, grey or RGB"
                )
            return np.asarray(image), mode


def _check_pngs(images: NDArray[np.uint8]) -> None:
    shape = images.shape[1:]
    if images.size == 0 or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
        raise DataError(f"images of shape {images.shape} cannot be stored as PNGs: write to .npy instead")


def _write_pngs(folder: Path, images: NDArray[np.uint8]) -> None:
    folder.mkdir()
    bilevel = images.ndim == 3 and images.max() <= 1
    digits = len(str(len(images) - 1))
    for i, image in enumerate(images):
        pixels = np.ascontiguousarray(image)
        Image.fromarray(pixels.view(bool) if bilevel else pixels).save(folder / f"{i:0{digits}d}.png")
