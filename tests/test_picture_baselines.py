"""What other compressors are measured at is what they make of these very pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

imagecodecs = pytest.importorskip("imagecodecs")

from mcbits.studies.picture_baselines import _sheets, baselines_of_pictures  # noqa: E402


def test_a_sheet_holds_each_picture_of_a_size_once() -> None:
    pictures = [np.full((3, 5), i, np.uint8) for i in range(1, 8)] + [np.full((4, 4, 3), 9, np.uint8)]
    sheets = list(_sheets(pictures, 12))
    assert sum(int((sheet == i).sum()) for sheet in sheets for i in range(1, 8)) == 7 * 15
    assert sum(int((sheet == 9).sum()) for sheet in sheets) == 48
    assert all(max(sheet.shape[:2]) <= 12 for sheet in sheets)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((20, 30), "u1"), ((20, 30, 3), "u1"), ((20, 30, 4), "u1"), ((9, 9), "u2")]
)
def test_sizes_are_those_of_files_that_give_the_pictures_back(shape: tuple[int, ...], dtype: str) -> None:
    pictures = list(np.random.default_rng(0).integers(0, 9, (4, *shape)).astype(dtype))
    found = {(each.name, each.mode): each.file_bytes for each in baselines_of_pictures(pictures)}
    coded = [imagecodecs.jpegxl_encode(each, lossless=True, effort=7, usecontainer=False) for each in pictures]
    assert found["JPEG XL e7", "each"] == sum(map(len, coded))
    assert all(np.array_equal(imagecodecs.jpegxl_decode(a), b) for a, b in zip(coded, pictures, strict=True))
    assert ("WebP lossless", "each") in found or dtype == "u2"
    assert found["JPEG XL e7", "archive"] < found["JPEG XL e7", "each"]


def test_a_folder_of_several_sizes_is_measured(run: Any, tmp_path: Path) -> None:
    for i in range(3):
        Image.fromarray(np.eye(9 + i, dtype=np.uint8) * 99).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    code, out, _ = run("baselines", tmp_path, "--json")
    assert code == 0 and json.loads(out)["pictures"] == 3
    assert "JPEG XL e9" in run("baselines", tmp_path)[1]
