"""The competitors are given their best, and their sizes are those of files that restore the pixels."""

import bz2
import gzip
import io
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcbits.baselines import Baseline, _compressors, _picture, baselines
from mcbits.datasets import binarize, read_images
from mcbits.datasets.digits import Digits
from mcbits.errors import DataError

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


def blobs(n: int, levels: int) -> np.ndarray:
    """Smooth grey images, which every compressor gains on."""
    rows, columns = np.mgrid[:12, :12]
    centres = np.random.default_rng(0).uniform(3, 9, (n, 2))
    distance = np.hypot(rows - centres[:, 0, None, None], columns - centres[:, 1, None, None])
    return np.clip(levels * (1 - distance / 6), 0, levels).astype(np.uint8)


def by_name(results: list[Baseline], mode: str) -> dict[str, Baseline]:
    return {result.name: result for result in results if result.mode == mode}


@pytest.mark.parametrize("images", [blobs(30, 1), blobs(30, 255), blobs(30, 255)[..., None].repeat(3, -1)])
def test_every_compressor_is_measured_in_both_modes(images: np.ndarray) -> None:
    results = baselines(images)
    names = {"gzip -9", "bz2 -9", "xz -9e", "zstd -22", "PNG", "WebP lossless"}
    assert by_name(results, "archive").keys() == by_name(results, "each").keys() == names
    for result in results:
        assert result.bits_per_dim == 8 * result.bytes / images.size
    for name, result in by_name(results, "archive").items():
        assert result.bytes < by_name(results, "each")[name].bytes


DECOMPRESS = {
    "gzip -9": gzip.decompress,
    "bz2 -9": bz2.decompress,
    "xz -9e": lzma.decompress,
    "zstd -22": lambda data: __import__("zstandard").ZstdDecompressor().decompress(data),
}


@pytest.mark.parametrize("binary", [True, False])
def test_every_counted_file_restores_its_pixels(binary: bool) -> None:
    images = blobs(30, 1 if binary else 255)
    for name, compress, layouts in _compressors(images, len(images)):
        for arrange in layouts.values():
            arranged = arrange(images)
            data = compress(arranged)
            if name in DECOMPRESS:
                assert DECOMPRESS[name](data) == arranged.tobytes()
            else:
                restored = np.asarray(Image.open(io.BytesIO(data)).convert(arranged.mode))
                np.testing.assert_array_equal(restored, np.asarray(arranged))


@pytest.mark.parametrize("columns", [1, 4, 7])
def test_a_tiled_picture_holds_every_image(columns: int) -> None:
    images = blobs(7, 255)
    picture = np.asarray(_picture(images, columns=columns, binary=False))
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        np.testing.assert_array_equal(picture[12 * row :, 12 * column :][:12, :12], image)


def test_pixels_of_one_bit_are_offered_as_bits() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (50, 16, 16), np.uint8)
    for result in by_name(baselines(noise), "archive").values():
        assert 1 <= result.bits_per_dim < 1.5


def test_shapes_that_are_no_pictures_leave_pictures_out() -> None:
    assert by_name(baselines(blobs(5, 255).reshape(5, -1)), "archive").keys() == {
        "gzip -9", "bz2 -9", "xz -9e", "zstd -22",
    }  # fmt: skip


def test_a_picture_larger_than_webp_allows_leaves_webp_out() -> None:
    archive = by_name(baselines(np.zeros((1, 20000, 1), np.uint8)), "archive")
    assert "PNG" in archive and "WebP lossless" not in archive


def test_without_zstandard_zstd_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    names = {result.name for result in baselines(blobs(3, 255))}
    assert "zstd -22" not in names and "xz -9e" in names


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError):
        baselines(np.zeros((0, 8, 8), np.uint8))


def test_the_small_xz_dictionary_costs_the_competitor_nothing() -> None:
    images = binarize(blobs(200, 255), 255, 0)
    ours = by_name(baselines(images), "archive")["xz -9e"].bytes
    assert ours <= len(lzma.compress(images.tobytes(), preset=9 | lzma.PRESET_EXTREME))
    assert ours <= len(lzma.compress(np.packbits(images).tobytes(), preset=9 | lzma.PRESET_EXTREME))


def test_real_digits_compress_as_measured_before() -> None:
    pytest.importorskip("sklearn")
    dataset = Digits.load()
    archive = by_name(baselines(binarize(dataset.test, dataset.levels, 0)), "archive")
    assert 0.6 < min(result.bits_per_dim for result in archive.values()) < 0.7


def test_real_binarised_emnist_is_no_smaller_than_its_noise() -> None:
    path = SHARED / "data" / "emnist" / "eval500.npy"
    if not path.exists():
        pytest.skip(f"the real images are absent: {path}")
    for result in baselines(read_images(path)[:100]):
        assert result.bits_per_dim > 0.1532
