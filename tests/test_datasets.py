"""Images in, images out: nothing changed, nothing guessed, nothing half-written."""

import errno
import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcbits.datasets import binarize, files, white
from mcbits.datasets.digits import Digits
from mcbits.datasets.emnist import EMNIST
from mcbits.datasets.mnist import MNIST
from mcbits.errors import DataError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.images import as_images, image_format, read_images, write_images
from mcbits.images.formats import write_npy
from mcbits.images.idx import read_idx

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def data() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip(f"the real images are absent: {SHARED / 'data'}")
    return SHARED / "data"


GOLDEN_BITS = "00040000001360007111482604d7b2a17d9bac87cf9f74def5bfbf5e6fff7fff"
GOLDEN_DIGITS = "74d0d754bd88c015eb3c4f2632aa9938e861401ed054af9cee179f514d4c924d"


def random_images(*shape: int, below: int = 256, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, shape, np.uint8)


def idx_bytes(images: np.ndarray, kind: int = 8) -> bytes:
    return struct.pack(f">xxBB{images.ndim}I", kind, images.ndim, *images.shape) + images.tobytes()


def put_idx(path: Path, images: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    payload = idx_bytes(images)
    path.write_bytes(gzip.compress(payload) if path.suffix == ".gz" else payload)


def refuse_network(*args: object, **kwargs: object) -> None:
    raise ConnectionError("no network")


# Round trips

KEPT_BY_ALL = {"binary": (7, 5, 6, 2), "grey": (7, 5, 6, 256)}


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.idx", "a.idx.gz", "a-images-idx3-ubyte.gz", "pngs"])
@pytest.mark.parametrize("kind", KEPT_BY_ALL)
def test_reading_inverts_writing(tmp_path: Path, name: str, kind: str) -> None:
    *shape, below = KEPT_BY_ALL[kind]
    images = random_images(*shape, below=below)
    write_images(tmp_path / name, images)
    restored = read_images(tmp_path / name)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, images)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.idx", "pngs"])
def test_colour_images_come_back(tmp_path: Path, name: str) -> None:
    images = random_images(3, 4, 5, 3)
    write_images(tmp_path / name, images)
    np.testing.assert_array_equal(read_images(tmp_path / name), images)


@pytest.mark.parametrize("shape", [(4, 9), (4, 3, 3, 5), (4, 3, 3, 1)])
def test_shapes_that_png_cannot_keep_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = random_images(*shape)
    with pytest.raises(DataError, match="npy"):
        write_images(tmp_path / "pngs", images)
    write_images(tmp_path / "a.idx", images)
    np.testing.assert_array_equal(read_images(tmp_path / "a.idx"), images)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.idx"]


def test_bool_stays_bool(tmp_path: Path) -> None:
    images = random_images(4, 3, 3, below=2).astype(bool)
    np.save(tmp_path / "a.npy", images)
    restored = read_images(tmp_path / "a.npy")
    assert restored.dtype == bool
    np.testing.assert_array_equal(restored, images)


def test_pngs_keep_their_order_beyond_ten(tmp_path: Path) -> None:
    images = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    write_images(tmp_path / "pngs", images)
    np.testing.assert_array_equal(read_images(tmp_path / "pngs"), images)


def test_binary_pngs_have_one_bit(tmp_path: Path) -> None:
    write_images(tmp_path / "pngs", random_images(2, 4, 4, below=2))
    for path in (tmp_path / "pngs").iterdir():
        with Image.open(path) as image:
            assert image.mode == "1"


def test_written_bytes_depend_on_the_images_alone(tmp_path: Path) -> None:
    images = random_images(3, 4, 4)
    for name in ("a.idx.gz", "b.idx.gz"):
        write_images(tmp_path / name, images)
    assert (tmp_path / "a.idx.gz").read_bytes() == (tmp_path / "b.idx.gz").read_bytes()


# What is refused


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int16, np.uint32, object, "U1"])
def test_values_mcbits_cannot_keep_are_refused(dtype: type) -> None:
    with pytest.raises(DataError):
        as_images(np.zeros((2, 3)).astype(dtype))


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    objects = np.array([[print]], dtype=object)
    np.save(tmp_path / "a.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "a.npz", objects)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError, match="(?i)object"):
            read_images(tmp_path / name)


def test_an_archive_of_several_arrays_needs_one_called_images(tmp_path: Path) -> None:
    images = random_images(2, 3, 3)
    np.savez(tmp_path / "a.npz", labels=np.arange(2), other=images)
    with pytest.raises(DataError, match="labels"):
        read_images(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", labels=np.arange(2), images=images)
    np.testing.assert_array_equal(read_images(tmp_path / "b.npz"), images)


def test_a_folder_of_unlike_pngs_names_the_odd_one(tmp_path: Path) -> None:
    write_images(tmp_path / "pngs", random_images(3, 4, 4))
    for odd in (random_images(4, 5), random_images(4, 4, 3), random_images(4, 4, below=2).astype(bool)):
        Image.fromarray(odd).save(tmp_path / "pngs" / "odd.png")
        with pytest.raises(DataError, match="odd.png"):
            read_images(tmp_path / "pngs")


def test_what_is_no_png_is_not_left_behind_silently(tmp_path: Path) -> None:
    write_images(tmp_path / "pngs", random_images(3, 4, 4))
    (tmp_path / "pngs" / ".DS_Store").touch()
    assert len(read_images(tmp_path / "pngs")) == 3
    (tmp_path / "pngs" / "photo.jpg").touch()
    with pytest.raises(DataError, match="photo.jpg"):
        read_images(tmp_path / "pngs")


def png_with(tmp_path: Path, image: Image.Image, **options: object) -> Path:
    folder = tmp_path / "lossy"
    folder.mkdir()
    image.save(folder / "0.png", **options)
    return folder


def test_pngs_that_an_array_cannot_keep_are_refused_by_name(tmp_path: Path) -> None:
    grey = Image.fromarray(random_images(4, 4))
    refused = {
        "a palette": (grey.convert("P"), {}),
        "a transparent colour": (grey, {"transparency": 3}),
        "several frames": (grey, {"save_all": True, "append_images": [grey.rotate(90)]}),
    }
    for name, (image, options) in refused.items():
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match=f"has {name}"):
            read_images(png_with(tmp_path / name, image, **options))


def test_greys_of_fewer_bits_are_read_by_their_meaning(tmp_path: Path) -> None:
    """4-bit PNGs, which PNG optimisers make, show the greys 0, 17, ... 255; this one follows the standard."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 1, 4, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\x01\x2f"))
    (tmp_path / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))
    np.testing.assert_array_equal(read_images(tmp_path), [[[0, 17, 34, 255]]])


def test_names_without_a_format_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="npy"):
        write_images(tmp_path / "a.jpg", random_images(2, 3, 3))
    assert not any(tmp_path.iterdir())
    assert image_format("restored") == "png"
    assert image_format("t10k-images.idx3-ubyte") == "idx"


# Nothing half-written


def test_a_file_is_replaced_whole_and_a_filled_folder_not_at_all(tmp_path: Path) -> None:
    first, second = random_images(2, 3, 3), random_images(4, 3, 3, seed=1)
    for images in (first, second):
        write_images(tmp_path / "a.npy", images)
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy"), second)
    write_images(tmp_path / "pngs", first)
    with pytest.raises(DataError, match="not empty"):
        write_images(tmp_path / "pngs", second)
    np.testing.assert_array_equal(read_images(tmp_path / "pngs"), first)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.idx", "a.idx.gz", "pngs"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(DataError, match="No space left"):
        write_images(tmp_path / name, random_images(3, 4, 4))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.npy", "pngs"])
def test_a_file_system_that_cannot_sync_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unable(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("os.fsync", unable)
    write_images(tmp_path / name, first := random_images(3, 4, 4))
    np.testing.assert_array_equal(read_images(tmp_path / name), first)


def test_a_folder_that_may_not_be_read_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refused(path: str | os.PathLike[str], *arguments: int, **options: int) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr("os.open", refused)
    write_images(tmp_path / "a.npy", first := random_images(3, 4, 4))
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy"), first)


def test_a_missing_target_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot write") as caught:
        write_images(tmp_path / "no" / "a.npy", random_images(3, 4, 4))
    assert "\n" not in str(caught.value)


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    images = random_images(2, 3, 3)
    (tmp_path / "there").mkdir()
    for existing in (False, True):
        there, link = tmp_path / "there" / f"{existing}.npy", tmp_path / f"{existing}.npy"
        if existing:
            there.write_bytes(b"old")
        link.symlink_to(there)
        write_images(link, images)
        assert link.is_symlink() and not there.is_symlink()
        np.testing.assert_array_equal(read_images(there), images)
    assert len(list((tmp_path / "there").iterdir())) == 2


def test_what_is_neither_file_nor_folder_is_left_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.npy")
    (tmp_path / "link.npy").symlink_to("fifo.npy")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "fifo").symlink_to("fifo.npy")
    before = {entry.name: entry.lstat().st_ino for entry in tmp_path.iterdir()}
    for name in before:
        with pytest.raises(DataError, match="neither a regular file nor a folder"):
            write_images(tmp_path / name, random_images(2, 3, 3))
    assert {entry.name: entry.lstat().st_ino for entry in tmp_path.iterdir()} == before


def test_a_target_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    for path, folder in (("no/a", False), ("no/a", True), ("folder", False), ("folder", True), ("file", True)):
        with pytest.raises(DataError, match="cannot write") as caught, whole_or_nothing(tmp_path / path, folder):
            pytest.fail("it began to work")
        assert "\n" not in str(caught.value)
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "file"}


def test_only_what_the_target_refuses_is_blamed_on_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_or_nothing(tmp_path / "a"):
        (tmp_path / "input").read_bytes()
    with pytest.raises(DataError, match="cannot write"), whole_or_nothing(tmp_path / "a") as draft:
        (draft / "no").read_bytes()
    with pytest.raises(DataError, match="cannot write"), whole_or_nothing(tmp_path / "a"):
        raise OSError(28, "No space left on device")
    assert not any(tmp_path.iterdir())


# Hostile and damaged input


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("claim", [10**9, 2**32 - 1])
def test_an_idx_header_is_not_believed_beyond_the_bytes(tmp_path: Path, claim: int, packed: bool) -> None:
    payload = struct.pack(">xxBB3I", 8, 3, claim, 28, 28) + bytes(100)
    (tmp_path / "a").write_bytes(gzip.compress(payload) if packed else payload)
    with pytest.raises(DataError, match="only 100"):
        read_idx(tmp_path / "a")


def test_a_gzip_bomb_is_read_no_further_than_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(random_images(2, 3, 3)) + bytes(1 << 24)))
    taken = 0
    read = gzip.GzipFile.read

    def counting(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        nonlocal taken
        data = read(self, size)
        taken += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counting)
    with pytest.raises(DataError, match="more"):
        read_idx(tmp_path / "a.gz")
    assert taken == 4 + 12 + 18 + 1


@pytest.mark.parametrize("packed", [False, True])
def test_every_truncation_of_an_idx_file_is_detected(tmp_path: Path, packed: bool) -> None:
    payload = idx_bytes(random_images(2, 3, 3))
    whole = gzip.compress(payload) if packed else payload
    for length in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_idx(tmp_path / "a")


@pytest.mark.parametrize(
    "payload",
    [
        idx_bytes(random_images(2, 3, 3)) + b"\0",
        idx_bytes(random_images(2, 3, 3), kind=0x0D),
        b"\0\0\x08\0",
        b"\0\0\x08\xff" + bytes(1020),
        struct.pack(">xxBB4I", 8, 4, 0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
        b"not an image file",
    ],
    ids=["too long", "floats", "no dimensions", "too many dimensions", "overflowing shape", "text"],
)
def test_malformed_idx_is_refused(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "a").write_bytes(payload)
    with pytest.raises(DataError):
        read_idx(tmp_path / "a")


def test_npy_headers_are_not_believed_beyond_the_bytes(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**12, 28, 28)})
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(50))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(50))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataError):
            read_images(tmp_path / name)


@given(st.data())
def test_damaged_files_raise_nothing_but_data_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    name = data.draw(st.sampled_from(["a.npy", "a.npz", "a.idx.gz", "pngs"]))
    write_images(folder / name, random_images(2, 4, 4))
    target = folder / name / "1.png" if name == "pngs" else folder / name
    payload = bytearray(target.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    target.write_bytes(payload)
    try:
        restored = read_images(folder / name)
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert restored.dtype == np.uint8


@pytest.mark.parametrize("name", ["missing.npy", "missing"])
def test_missing_input_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_images(tmp_path / name)


# Binarisation


def test_binarisation_is_the_same_bits_forever() -> None:
    grey = np.arange(256, dtype=np.uint8)
    x = binarize(grey, 255, seed=7)
    assert x.dtype == np.uint8 and set(x) == {0, 1}
    assert np.packbits(x).tobytes().hex() == GOLDEN_BITS


def test_black_stays_black_and_white_stays_white() -> None:
    for levels in (1, 16, 255):
        assert not binarize(np.zeros((1000, 9), np.uint8), levels, 1).any()
        assert binarize(np.full((1000, 9), levels, np.uint8), levels, 1).all()


@pytest.mark.parametrize("levels", [16, 255])
def test_frequencies_of_ones_are_the_grey_values(levels: int) -> None:
    n = 1 << 16
    for grey in (1, levels // 2, levels - 1):
        p = grey / levels
        ones = int(binarize(np.full(n, grey, np.uint8), levels, seed=grey).sum())
        assert abs(ones - n * p) < 5 * (n * p * (1 - p)) ** 0.5


def test_binarisation_does_not_depend_on_how_many_images_follow() -> None:
    grey = random_images(3, 700, 701)  # more than the 2^20 pixels drawn at once
    x = binarize(grey, 255, 5)
    np.testing.assert_array_equal(x[:1], binarize(grey[:1], 255, 5))
    np.testing.assert_array_equal(x.reshape(3, -1), binarize(grey.reshape(3, -1), 255, 5))


def test_another_seed_draws_other_bits() -> None:
    grey = np.full((10, 28), 128, np.uint8)
    assert (binarize(grey, 255, 0) != binarize(grey, 255, 1)).any()


def test_greys_above_white_are_refused() -> None:
    with pytest.raises(DataError, match="17"):
        binarize(np.full((2, 2), 17, np.uint8), 16, 0)


# Datasets

EMNIST_NAMES = [f"emnist-mnist-{part}-images-idx3-ubyte" for part in ("train", "test")]
MNIST_NAMES = ["train-images-idx3-ubyte", "t10k-images-idx3-ubyte"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("layout", [".", "emnist", "EMNIST", "EMNIST/raw", "gzip", "emnist/gzip", "Emnist/Raw/gzip"])
def test_emnist_is_found_in_every_usual_layout_and_comes_upright(tmp_path: Path, layout: str, suffix: str) -> None:
    train, test = random_images(3, 28, 28), random_images(2, 28, 28, seed=1)
    for name, images in zip(EMNIST_NAMES, (train, test), strict=True):
        put_idx(tmp_path / layout / f"{name}{suffix}", images.swapaxes(1, 2))
    dataset = EMNIST.load(tmp_path, "mnist", download=False)
    np.testing.assert_array_equal(dataset.train, train)
    np.testing.assert_array_equal(dataset.test, test)
    assert dataset.levels == 255


@pytest.mark.parametrize("layout", [".", "mnist", "MNIST/raw"])
def test_mnist_is_found_in_every_usual_layout(tmp_path: Path, layout: str) -> None:
    train, test = random_images(3, 28, 28), random_images(2, 28, 28, seed=1)
    for name, images in zip(MNIST_NAMES, (train, test), strict=True):
        put_idx(tmp_path / layout / f"{name}.gz", images)
    dataset = MNIST.load(tmp_path, download=False)
    np.testing.assert_array_equal(dataset.train, train)
    np.testing.assert_array_equal(dataset.test, test)


def test_mnist_is_validated_on_the_last_twelfth_of_its_training_images(tmp_path: Path) -> None:
    images = random_images(24, 28, 28)
    for name in MNIST_NAMES:
        put_idx(tmp_path / name, images)
    dataset = MNIST.load(tmp_path, download=False)
    np.testing.assert_array_equal(dataset.train, images[:22])
    np.testing.assert_array_equal(dataset.valid, images[22:])
    np.testing.assert_array_equal(dataset.test, images)


def test_the_dotted_names_of_some_mirrors_are_found(tmp_path: Path) -> None:
    for name in MNIST_NAMES:
        put_idx(tmp_path / name.replace("-idx3", ".idx3"), random_images(2, 28, 28))
    assert len(MNIST.load(tmp_path, download=False).train) == 2


def test_mnist_and_emnist_are_not_confused(tmp_path: Path) -> None:
    for name in MNIST_NAMES:
        put_idx(tmp_path / "mnist" / f"{name}.gz", random_images(2, 28, 28))
    with pytest.raises(DataError, match="EMNIST is missing"):
        EMNIST.load(tmp_path, "mnist", download=False)
    for name in EMNIST_NAMES:
        put_idx(tmp_path / "emnist" / f"{name}.gz", random_images(5, 28, 28))
    assert len(EMNIST.load(tmp_path, "mnist", download=False).test) == 5
    assert len(MNIST.load(tmp_path, download=False).test) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_binarisation_knows_the_white_of_its_type(dtype: type) -> None:
    largest = int(np.iinfo(dtype).max)
    assert white(np.array([0, 1], dtype)) == 1 and white(np.array([0, 1]), np.array([2], dtype)) > 1
    assert white(np.array([0, 2], dtype)) == largest
    assert binarize(np.array([[0, largest] * 9], dtype), largest, seed=0).tolist() == [[0, 1] * 9]


def test_files_of_another_shape_are_refused(tmp_path: Path) -> None:
    for name in EMNIST_NAMES:
        put_idx(tmp_path / name, random_images(2, 27, 28))
    with pytest.raises(DataError, match="28 x 28"):
        EMNIST.load(tmp_path, "mnist", download=False)


def test_an_unknown_split_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mnist, letters"):
        EMNIST.load(tmp_path, "balanced")


@pytest.mark.parametrize("download", [False, True])
def test_without_files_and_network_one_line_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, download: bool
) -> None:
    monkeypatch.setattr("requests.get", refuse_network)
    for load, names, folder in (
        (lambda: EMNIST.load(tmp_path, "mnist", download), EMNIST_NAMES, tmp_path / "emnist"),
        (lambda: MNIST.load(tmp_path, "", download), MNIST_NAMES, tmp_path / "mnist"),
    ):
        with pytest.raises(DataError) as caught:
            load()
        message = str(caught.value)
        assert "\n" not in message and str(folder) in message
        assert list(tmp_path.iterdir()) == []
        assert all(f"{name}.gz" in message for name in names)


class Response:
    """What `requests.get` returns, from memory."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.headers = {"content-length": str(len(body))}

    def raise_for_status(self) -> None:
        pass

    def iter_content(self, chunk_size: int) -> list[bytes]:
        return [self.body[i : i + chunk_size] for i in range(0, len(self.body), chunk_size)]


def serve(monkeypatch: pytest.MonkeyPatch, bodies: dict[str, bytes]) -> list[str]:
    asked: list[str] = []

    def get(url: str, **kwargs: object) -> Response:
        asked.append(url)
        return Response(bodies[url.rpartition("/")[2]])

    monkeypatch.setattr("requests.get", get)
    return asked


def test_a_download_with_the_wrong_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, {"gzip.zip": b"something else"})
    with pytest.raises(DataError, match="checksum"):
        EMNIST.load(tmp_path, "mnist")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("terminal", [False, True])
def test_emnist_is_downloaded_once_for_all_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("gzip/emnist-balanced-mapping.txt", "not wanted")
        for split in EMNIST.splits:
            for i, part in enumerate(("train", "test")):
                payload = idx_bytes(np.full((3 - i, 28, 28), len(split), np.uint8))
                zipped.writestr(f"gzip/emnist-{split}-{part}-images-idx3-ubyte.gz", gzip.compress(payload))
    asked = serve(monkeypatch, {"gzip.zip": archive.getvalue()})
    monkeypatch.setattr("mcbits.datasets.emnist._MD5", hashlib.md5(archive.getvalue()).hexdigest())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    assert EMNIST.load(tmp_path, "mnist").train.shape == (3, 28, 28)
    assert EMNIST.load(tmp_path, "letters").test.max() == len("letters")
    assert len(asked) == 1
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 4


def test_mnist_downloads_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_idx(tmp_path / "mnist" / f"{MNIST_NAMES[0]}.gz", random_images(2, 28, 28))
    body = gzip.compress(idx_bytes(random_images(5, 28, 28)))
    asked = serve(monkeypatch, {f"{MNIST_NAMES[1]}.gz": body})
    checksums = sys.modules["mcbits.datasets.mnist"]._MD5
    monkeypatch.setitem(checksums, MNIST_NAMES[1], hashlib.md5(body).hexdigest())
    assert len(MNIST.load(tmp_path).test) == 5
    assert len(MNIST.load(tmp_path, download=False).test) == 5
    assert len(asked) == 1


def test_downloads_print_nothing_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, {"a": b"body"})
    files.fetch("https://example.org/a", hashlib.md5(b"body").hexdigest(), tmp_path, "wanted")
    assert capfd.readouterr() == ("", "")


def test_the_digits_are_divided_the_same_way_everywhere() -> None:
    pytest.importorskip("sklearn")
    first, second = Digits.load(), Digits.load("anywhere", "mnist", download=False)
    assert first.train.shape == (1437, 8, 8) and first.test.shape == (360, 8, 8)
    assert first.train.dtype == np.uint8 and first.train.max() == first.levels == 16
    np.testing.assert_array_equal(first.test, second.test)
    assert hashlib.sha256(first.test.tobytes()).hexdigest() == GOLDEN_DIGITS


def test_without_scikit_learn_the_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        Digits.load()


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.mean(0).ravel(), b.mean(0).ravel())[0, 1])


def test_real_emnist_stands_as_upright_as_the_binarised_digits(data: Path) -> None:
    dataset = EMNIST.load(data, "mnist", download=False)
    assert dataset.train.shape == (60000, 28, 28) and dataset.test.shape == (10000, 28, 28)
    digits = read_images(data / "emnist" / "eval500.npy")
    assert similarity(dataset.test, digits) > 0.98
    assert similarity(dataset.test, digits.swapaxes(1, 2)) < 0.9


def test_real_mnist_is_another_file_than_emnist_and_stands_the_same_way(data: Path) -> None:
    mnist, emnist = MNIST.load(data, download=False), EMNIST.load(data, "mnist", download=False)
    assert mnist.valid is not None and mnist.valid.shape == (5000, 28, 28)
    assert mnist.train.shape == (55000, 28, 28) and mnist.test.shape == (10000, 28, 28)
    assert (mnist.test != emnist.test).any()
    assert similarity(mnist.train, emnist.train) > similarity(mnist.train, emnist.train.swapaxes(1, 2))


def test_real_letters_are_whatever_the_files_hold(data: Path) -> None:
    dataset = EMNIST.load(data, "letters", download=False)
    assert dataset.train.shape[1:] == dataset.test.shape[1:] == (28, 28)
    assert len(dataset.test) >= 10000


def test_reading_and_writing_images_imports_no_torch() -> None:
    code = "import sys, mcbits.datasets, mcbits.studies.baselines; sys.exit('torch' in sys.modules)"
    repository = Path(__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=repository).returncode == 0


def test_a_npy_in_blocks_is_the_npy_in_one_piece(tmp_path):
    x = random_images(25, 4, 5)
    write_images(tmp_path / "whole.npy", x)
    assert write_npy(tmp_path / "blocks.npy", iter([x[:10], x[10:20], x[20:]])) == x.shape
    assert (tmp_path / "blocks.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_npy_whose_blocks_break_off_is_not_there(tmp_path):
    def blocks():
        yield random_images(3, 4, 5)
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        write_npy(tmp_path / "x.npy", blocks())
    assert not list(tmp_path.iterdir())
