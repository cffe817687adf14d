"""The competitors are given their best, and their sizes are those of files that restore the pixels."""

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcbits.cli import main
from mcbits.datasets import binarize
from mcbits.datasets.digits import Digits
from mcbits.errors import DataError
from mcbits.images import read_images
from mcbits.studies.baselines import Baseline, _compressors, _jpeg_xl, _picture, baselines, left_out

JPEG_XL = {"JPEG XL lossless"} if importlib.util.find_spec("pillow_jxl") else set()
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
    names = {"gzip -9", "bz2 -9", "xz -9e", "zstd -22", "PNG", "WebP lossless"} | JPEG_XL
    assert by_name(results, "archive").keys() == by_name(results, "each").keys() == names
    for result in results:
        assert result.file == 8 * result.file_bytes / images.size
    for name, result in by_name(results, "archive").items():
        assert result.file_bytes < by_name(results, "each")[name].file_bytes


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
                restored = Image.open(io.BytesIO(data))
                # JPEG XL gets 0 and 1 as grey, of which a conversion to 1 bit would make 0 and 0.
                same_mode = restored if restored.format == "JXL" else restored.convert(arranged.mode)
                np.testing.assert_array_equal(np.asarray(same_mode), np.asarray(arranged))


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
        assert 1 <= result.file < 1.5


def test_shapes_that_are_no_pictures_leave_pictures_out() -> None:
    assert by_name(baselines(blobs(5, 255).reshape(5, -1)), "archive").keys() == {
        "gzip -9", "bz2 -9", "xz -9e", "zstd -22",
    }  # fmt: skip


def test_of_16_bits_no_value_is_halved_and_pictures_are_left_out() -> None:
    images = blobs(30, 255).astype(np.uint16) * 257
    results = baselines(images)
    assert by_name(results, "archive").keys() == DECOMPRESS.keys()
    for name, compress, layouts in _compressors(images, len(images)):
        restored = DECOMPRESS[name](compress(layouts["bytes"](images)))
        np.testing.assert_array_equal(np.frombuffer(restored, np.uint16).reshape(images.shape), images)
    assert "8-bit" in left_out(results)["PNG"]


def test_a_picture_larger_than_webp_allows_leaves_webp_out() -> None:
    archive = by_name(baselines(np.zeros((1, 20000, 1), np.uint8)), "archive")
    assert "PNG" in archive and "WebP lossless" not in archive


def test_without_zstandard_zstd_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    names = {result.name for result in baselines(blobs(3, 255))}
    assert "zstd -22" not in names and "xz -9e" in names


def test_what_is_left_out_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    results = baselines(blobs(3, 1))
    missing = left_out(results)
    assert missing.keys() == {"JBIG2", "zstd -22", "JPEG XL lossless"}
    assert "pip install zstandard" in missing["zstd -22"]
    assert "pip install pillow-jxl-plugin" in missing["JPEG XL lossless"]
    assert not missing.keys() & {result.name for result in results}
    assert {"PNG", "WebP lossless"} <= left_out(baselines(blobs(5, 255).reshape(5, -1))).keys()


def test_jpeg_xl_gets_the_values_it_codes_best() -> None:
    pytest.importorskip("pillow_jxl")
    picture = _picture(binarize(blobs(100, 255), 255, 0), columns=10, binary=True)
    assert len(_jpeg_xl(picture)) <= len(_jpeg_xl(picture.convert("L")))


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["baselines", *map(str, arguments), "--quiet"])
    return exit.value.code, *capsys.readouterr()


def test_the_command_measures_what_the_library_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = blobs(6, 255)
    np.save(tmp_path / "images.npy", images)
    for flags, expected in (((), images), (("--binarize",), binarize(images, 255, 42))):
        code, out, _ = run(capsys, tmp_path / "images.npy", "--json", *flags)
        document = json.loads(out)
        assert code == 0
        assert document["images"] == [6, 12, 12]
        assert "JBIG2" in document["left_out"]
        assert document["baselines"] == [result.__dict__ for result in baselines(expected)]


def test_the_table_has_a_row_for_every_compressor_and_names_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "images.npy", blobs(6, 1))
    code, out, _ = run(capsys, tmp_path / "images.npy")
    assert code == 0
    for name in ("gzip -9", "bz2 -9", "xz -9e", "zstd -22", "PNG", "WebP lossless", *JPEG_XL):
        assert sum(name in line for line in out.splitlines()) == 1
    assert "JBIG2" in out


def test_the_command_refuses_an_input_and_a_dataset_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, tmp_path / "images.npy", "--dataset", "digits")
    assert (code, out) == (2, "") and "INPUT and --dataset exclude each other" in err


def test_no_images_are_refused() -> None:
    with pytest.raises(DataError):
        baselines(np.zeros((0, 8, 8), np.uint8))


def test_the_small_xz_dictionary_costs_the_competitor_nothing() -> None:
    images = binarize(blobs(200, 255), 255, 0)
    ours = by_name(baselines(images), "archive")["xz -9e"].file_bytes
    assert ours <= len(lzma.compress(images.tobytes(), preset=9 | lzma.PRESET_EXTREME))
    assert ours <= len(lzma.compress(np.packbits(images).tobytes(), preset=9 | lzma.PRESET_EXTREME))


def test_real_digits_compress_as_measured_before() -> None:
    pytest.importorskip("sklearn")
    dataset = Digits.load()
    archive = by_name(baselines(binarize(dataset.test, dataset.levels, 0)), "archive")
    assert 0.6 < min(result.file for result in archive.values()) < 0.7


def test_real_binarised_emnist_is_no_smaller_than_its_noise() -> None:
    path = SHARED / "data" / "emnist" / "eval500.npy"
    if not path.exists():
        pytest.skip(f"the real images are absent: {path}")
    for result in baselines(read_images(path)[:100]):
        assert result.file > 0.1532
