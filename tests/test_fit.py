"""Whoever has only pictures gets one file that restores them and needs nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import smooth_pictures
from PIL import Image

import mcbits
from mcbits.errors import DataError, UsageError


@pytest.mark.parametrize(
    "shape, symbols", [((5, 20, 30), 256), ((2, 9, 7, 3), 256), ((1, 1, 1), 256), ((3, 8, 9), 4096)]
)
def test_a_fitted_model_restores_the_pictures_from_its_file_alone(shape: tuple[int, ...], symbols: int) -> None:
    x = smooth_pictures(shape, symbols)
    x = x if symbols > 256 else x.astype(np.uint8)
    blob = mcbits.compress(x, mcbits.fit(x, seconds=0.3), "simple", embed_model=True)
    np.testing.assert_array_equal(mcbits.decompress(blob), x)
    bits = x > symbols // 2
    blob = mcbits.compress(bits, mcbits.fit(bits, seconds=0.2), "simple", embed_model=True)
    np.testing.assert_array_equal(mcbits.decompress(blob), bits)


def test_fitting_pictures_of_several_sizes_gives_one_model() -> None:
    x = [smooth_pictures((1, h, w))[0].astype(np.uint8) for h, w in ((9, 5), (1, 30), (12, 12))]
    model = mcbits.fit(x, seconds=0.2)
    for picture in x:
        blob = mcbits.compress(picture[None], model, "simple")
        np.testing.assert_array_equal(mcbits.decompress(blob, model)[0], picture)


def test_a_model_weighs_little_beside_the_pictures_and_more_pictures_get_a_larger_one() -> None:
    sizes = [len(mcbits.fit(smooth_pictures((1, n, n)).astype(np.uint8), seconds=0.01).data) for n in (8, 600, 1200)]
    assert sizes[0] < 2500 and sizes == sorted(set(sizes))
    assert sizes[1] < 600 * 600 / 100 and sizes[2] < 1200 * 1200 / 100


def test_fitting_leaves_the_callers_random_state_and_threads_alone() -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    mcbits.fit(np.zeros((1, 4, 4), np.uint8), seconds=0.1)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "images, options, error",
    [
        (np.zeros((0, 4, 4), np.uint8), {}, "at least one"),
        (np.zeros((1, 4, 4)), {}, "bool, uint8 or uint16"),
        (np.zeros((1, 4, 4, 5), np.uint8), {}, "1 to 4 channels"),
        (np.zeros((1, 4), np.uint8), {}, r"\(h, w\)"),
        (np.zeros((1, 4, 4), np.uint8), {"effort": 10}, "effort must be 1 to 9, not 10"),
        (np.zeros((1, 4, 4), np.uint8), {"seconds": -1.0}, "seconds must be more than 0"),
        (np.zeros((1, 4, 4), np.uint8), {"width": 0}, "width must be between"),
    ],
)
def test_what_cannot_be_fitted_is_said(images: Any, options: dict[str, Any], error: str) -> None:
    with pytest.raises((DataError, UsageError), match=error):
        mcbits.fit(images, **{"seconds": 0.1, **options})


def test_one_command_makes_one_file_of_a_folder(tmp_path: Path, run: Any) -> None:
    pictures = smooth_pictures((3, 12, 16, 3)).astype(np.uint8)
    (tmp_path / "scans").mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "scans" / f"scan {i + 8}.png")
    code, out, _ = run("compress", tmp_path / "scans", "--seconds", "0.5")
    assert code == 0 and "nothing else is needed to decode it" in out
    assert run("verify", tmp_path / "scans.mcb")[0] == 0
    assert run("decompress", tmp_path / "scans.mcb", "-o", f"{tmp_path}/restored/")[0] == 0
    for i, picture in enumerate(pictures):
        restored = Image.open(tmp_path / "restored" / f"scan {i + 8}.png")
        np.testing.assert_array_equal(np.asarray(restored), picture)
