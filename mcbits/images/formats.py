"""`read_images` returns exactly the values that `write_images` wrote. What a format cannot keep is refused.

Only pixels are kept, not file names, colour profiles and other metadata of PNGs and TIFFs.
"""

import gzip
import os
import re
from collections.abc import Iterable
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.errors import DataError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images.idx import GZIP_MAGIC, read_idx, write_idx
from mcbits.images.pictures import check_pictures, picture_paths, read_picture, reading, write_pngs
from mcbits.images.png import MAGIC as _PNG_MAGIC
from mcbits.images.tiff import MAGICS as _TIFF_MAGICS

_FORMATS = ".npy, .npz, IDX (plain or .gz) or a folder of PNGs or TIFFs"
_IDX_NAME = re.compile(r"(\.idx|[.-]idx\d-ubyte)(\.gz)?$", re.IGNORECASE)


def as_images(array: NDArray[Any], name: str = "images") -> NDArray[Any]:
    """Return `array`, bool, uint8 or uint16 (n, *shape), no value changed; of bool, what is not zero is true.

    Of uint16, any order of bytes becomes the machine's own. `name` is what errors call the array.
    Raises DataError for any other type, and for fewer than two dimensions.

    >>> as_images(np.array([[True, False]]))
    array([[ True, False]])
    """
    if array.dtype == bool:
        # A view of bytes as bool may hold any of them: what is not zero is true.
        array = array.view(np.uint8) != 0
    elif array.dtype.kind == "u" and array.dtype.itemsize == 2:
        array = array.astype(np.uint16, copy=False)
    elif array.dtype != np.uint8:
        hint = (
            "if every value is in 0..255, give images.astype(numpy.uint8), in 0..65535 images.astype(numpy.uint16)"
            if array.dtype.kind in "iu"
            else "quantise them first, since mcbits changes no value"
        )
        raise DataError(f"{name}: expected values of type bool, uint8 or uint16, got {array.dtype}; {hint}")
    if array.ndim < 2:
        raise DataError(f"{name}: expected shape (images, *shape of one image), got {array.shape}")
    return array


def read_images(path: str | PathLike[str]) -> NDArray[Any]:
    """Return the images of a file or folder, bool, uint8 or uint16 (n, *shape). Content, not name, decides the format.

    .npy is memory-mapped. .npz must hold one array, or one with the name "images". IDX may be gzipped. A folder must
    hold only PNGs and TIFFs of one size and kind; hidden files are ignored. They are read in order of name, numbers by
    their value: 1-bit ones as 0/1, others as uint8 or uint16; grey ones are (h, w), those with alpha (h, w, 2), RGB
    ones (h, w, 3), RGBA ones (h, w, 4). Nothing is unpickled.
    Raises DataError for files that are missing, damaged or cannot be kept exactly.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    with reading(path):
        with open(path, "rb") as file:
            magic = file.read(8)
        if magic.startswith(b"\x93NUMPY"):
            return as_images(_read_npy(path), str(path))
        if magic.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _read_npz(path)
    if magic.startswith((GZIP_MAGIC, b"\0\0")):
        return as_images(read_idx(path), str(path))
    if magic == _PNG_MAGIC or magic[:4] in _TIFF_MAGICS:
        raise DataError(f"{path} is a single picture: give the folder that holds it")
    raise DataError(f"{path} is no image file that mcbits knows: give {_FORMATS}")


def read_pictures(path: str | PathLike[str]) -> list[NDArray[Any]]:
    """Return the pictures of a folder, which are of one kind and any sizes, or the images of a file, as `read_images`.

    Those of a folder are uint8 or uint16, (h, w) or (h, w, channels).
    Raises DataError for files that are missing, damaged or cannot be kept exactly.
    """
    path = Path(path)
    if not path.is_dir():
        return list(read_images(path))
    first, *others = picture_paths(path)
    picture, first_kind = read_picture(first)
    pictures = [picture]
    for each in others:
        picture, kind = read_picture(each)
        if kind != first_kind:
            raise DataError(f"{each} is {kind}, but {first.name} {first_kind}: keep pictures of one kind in a folder")
        pictures.append(picture)
    return pictures


def image_format(path: str | PathLike[str]) -> str:
    """Return the format that `write_images` chooses for a name: "npy", "npz" or "idx" by its ending.

    It is "png" for a folder: a name that has no ending, that ends in a slash, or that is one. Raises UsageError for any
    other name.

    >>> image_format("scans.idx.gz")
    'idx'
    """
    is_folder = os.fspath(path).endswith("/")
    path = Path(path)
    suffix = "" if is_folder else path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return suffix[1:]
    if not is_folder and _IDX_NAME.search(path.name):
        return "idx"
    if not suffix or path.is_dir():
        return "png"
    hint = "end it in .npy, .npz, .idx or .idx.gz, or in a slash for a folder"
    raise UsageError(f"cannot tell the format of {path}: {hint}")


def write_images(path: str | PathLike[str], images: NDArray[Any]) -> None:
    """Write images, bool, uint8 or uint16 (n, *shape), in the format of the name (see `image_format`).

    A folder gets one PNG for each image, numbered with leading zeros: 1-bit if all values are bytes 0 or 1, else
    8-bit or, for uint16, 16-bit grey; 8-bit grey + alpha, RGB or RGBA for shape (h, w, 2), (h, w, 3) or (h, w, 4).
    What is written appears whole or not at all. An existing file is replaced; a folder with content is refused.
    Raises DataError if the format cannot keep these images or if the target cannot be written, UsageError for a name
    without a known format.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_images(f"{folder}/squares", np.eye(2, dtype=bool)[None])
    ...     read_images(f"{folder}/squares")  # one PNG
    array([[[1, 0],
            [0, 1]]], dtype=uint8)
    """
    kind, path = image_format(path), Path(path)
    images = as_images(images)
    if kind == "png":
        check_pictures(images)
    if kind == "idx" and images.dtype == np.uint16:
        raise DataError("uint16 images cannot be stored as IDX, which has no such type: write to .npy instead")
    with whole_or_nothing(path, folder=kind == "png") as draft:
        if kind == "png":
            write_pngs(draft, images)
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


def _read_npy(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    expected = getattr(array, "offset", 0) + array.nbytes
    if array.nbytes and (size := path.stat().st_size) != expected:
        raise DataError(f"{path} goes on for {size - expected} bytes after its array: save one array in a file")
    return array


def _read_npz(path: Path) -> NDArray[Any]:
    # The file is opened here, since numpy does not close a file that it cannot read as an archive.
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if "images" not in names and len(names) != 1:
            raise DataError(f'{path} holds the arrays {names}: keep only one, or name one "images"')
        name = "images" if "images" in names else names[0]
        return as_images(archive[name], f"{path}[{name}]")


def _read_folder(folder: Path) -> NDArray[Any]:
    paths = picture_paths(folder)
    first, first_kind = read_picture(paths[0])
    images = np.empty((len(paths), *first.shape), first.dtype)
    for i, path in enumerate(paths):
        image, kind = read_picture(path)
        if (image.shape, kind) != (first.shape, first_kind):
            raise DataError(
                f"{path} is {kind} of shape {image.shape}, but {paths[0].name} {first_kind} of {first.shape}: "
                "keep pictures of one size and kind in a folder"
            )
        images[i] = image
    return images
