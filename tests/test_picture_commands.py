"""A folder goes into one file by one command, and all or some of it comes back, whatever else lies around."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mcbits
from mcbits.archive.ready_made import ready_made, ready_made_models

Run = Callable[..., tuple[int, str, str]]

IDS = {
    "grey": "d1c4971257044cbd",
    "rgb": "eb5fdcdc4b8fcb9e",
    "rgba": "6920dd44f4ba047e",
    "bilevel": "3983c2fb4f152953",
}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A folder of what nobody chose: several modes and sizes, a folder in it, a text, an empty file, odd names."""
    rng, folder = np.random.default_rng(3), tmp_path / "scans"
    (folder / "day 1").mkdir(parents=True)
    y, x = np.mgrid[:40, :50]
    grey = (y * 3 + x + rng.integers(0, 4, (40, 50))).astype(np.uint8)
    Image.fromarray(grey).save(folder / "page 10.png", dpi=(300, 300))
    Image.fromarray(grey[:30]).save(folder / "page 9.png")
    Image.fromarray(np.dstack([grey, grey + 1, grey])).save(folder / "day 1" / "colour.png")
    Image.fromarray(grey > 90).save(folder / "day 1" / "bilevel.png")
    Image.fromarray((grey * 200).astype(np.uint16)).save(folder / "deep.png")
    Image.fromarray(grey[:1, :1]).save(folder / "one.png")
    Image.fromarray(grey).convert("P").save(folder / "palette.png")
    (folder / "notes.txt").write_text("what was scanned")
    (folder / "empty").touch()
    (folder / ".hidden").write_text("x")
    with open(os.fsencode(folder) + b"/\xff\xfe.bin", "wb") as file:
        file.write(b"bytes")
    return folder


def pixels(path: Path) -> tuple[str, Any, Any]:
    with Image.open(path) as image:
        return image.mode, image.info.get("dpi"), np.asarray(image).tolist()


def same(folder: Path, other: Path) -> None:
    """Assert that both folders hold the same names, pictures and files."""
    names = [{os.path.relpath(p, f) for p in f.rglob("*")} for f in (folder, other)]
    assert names[0] == names[1]
    for name in names[0]:
        if name.endswith(".png"):
            assert pixels(folder / name) == pixels(other / name)
        elif (folder / name).is_file():
            assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_a_folder_comes_back_from_one_file(run: Run, scans: Path, tmp_path: Path) -> None:
    code, out, _ = run("compress", scans, "--effort", 1)
    assert code == 0 and "11 files" in out and "nothing else is needed" in out
    assert run("verify", tmp_path / "scans.mcb")[0] == 0
    assert run("decompress", tmp_path / "scans.mcb", "-o", tmp_path / "back")[0] == 0
    same(scans, tmp_path / "back")


def test_one_file_is_restored_by_its_name_and_some_by_a_pattern(
    run: Run, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("compress", scans, "--effort", 1)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert run("decompress", "../scans.mcb", "page 10.png")[0] == 0
    assert pixels(Path("page 10.png")) == pixels(scans / "page 10.png")
    assert run("decompress", "../scans.mcb", "day 1/*", "-o", "some")[0] == 0
    same(scans / "day 1", Path("some/day 1"))
    code, _, err = run("decompress", "../scans.mcb", "page 11.png")
    assert code == 2 and "page 11.png" in err


def test_list_and_info_say_what_a_file_holds(run: Run, scans: Path, tmp_path: Path) -> None:
    run("compress", scans, "--effort", 1)
    code, out, _ = run("list", tmp_path / "scans.mcb", "--json")
    rows = json.loads(out)["entries"]
    assert code == 0 and [row["name"] for row in rows].index("page 9.png") < len(rows) - 1
    assert {row["name"] for row in rows} >= {"day 1/colour.png", "empty", ".hidden", "notes.txt"}
    document = json.loads(run("info", tmp_path / "scans.mcb", "--json")[1])
    assert document["entries"] == len(rows) == 11 and document["file_bytes"] == (tmp_path / "scans.mcb").stat().st_size
    assert "ready-made" in run("info", tmp_path / "scans.mcb")[1]


def test_what_is_added_comes_back_with_what_was_there(run: Run, scans: Path, tmp_path: Path) -> None:
    file = tmp_path / "scans.mcb"
    run("compress", scans, "--effort", 1)
    more = tmp_path / "more"
    more.mkdir()
    (scans / "page 9.png").rename(more / "page 9 again.png")
    (scans / "day 1" / "colour.png").rename(more / "colour.png")
    assert run("add", file, more)[0] == 0
    assert run("decompress", file, "-o", tmp_path / "back")[0] == 0
    assert pixels(tmp_path / "back" / "page 9 again.png") == pixels(more / "page 9 again.png")
    assert pixels(tmp_path / "back" / "day 1" / "colour.png") == pixels(more / "colour.png")
    before = file.read_bytes()
    code, _, err = run("add", file, more)
    assert code == 1 and "colour.png already" in err and file.read_bytes() == before


def test_pipes_carry_a_picture_there_and_back(scans: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mcbits"]
    data = (scans / "page 10.png").read_bytes()
    coded = subprocess.run([*command, "compress", "-", "-o", "-", "--effort", "1", "-q"], input=data, stdout=-1)
    back = subprocess.run([*command, "decompress", "-", "-o", "-", "-q"], input=coded.stdout, stdout=-1)
    (tmp_path / "back.png").write_bytes(back.stdout)
    assert pixels(tmp_path / "back.png") == pixels(scans / "page 10.png")


def test_an_input_is_never_the_output(run: Run, scans: Path, tmp_path: Path) -> None:
    run("compress", scans, "--effort", 1)
    before = (tmp_path / "scans.mcb").read_bytes()
    assert run("compress", tmp_path / "scans.mcb", "-o", tmp_path / "scans.mcb", "-f")[0] == 2
    assert (tmp_path / "scans.mcb").read_bytes() == before


def test_the_model_of_a_file_serves_again(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = np.cumsum(rng.integers(-2, 3, (60, 20, 20)), 2).astype(np.uint8)
    np.save(tmp_path / "a.npy", images[:40])
    np.save(tmp_path / "b.npy", images[40:])
    (tmp_path / "a.mcb").write_bytes(mcbits.compress(images[:40], seconds=1))
    code, out, _ = run("compress", tmp_path / "b.npy", "--model", tmp_path / "a.mcb", "--json")
    assert code == 0 and json.loads(out)["model"] == str(tmp_path / "a.mcb")
    restore = ("decompress", tmp_path / "b.mcb", "-o", tmp_path / "c.npy")
    assert run(*restore)[0] == 1
    assert run(*restore, "--model", tmp_path)[0] == 0
    assert (tmp_path / "c.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_arrays_and_lists_of_pictures_come_back_from_bytes() -> None:
    rng = np.random.default_rng(1)
    for dtype in (bool, np.uint8, np.uint16):
        images = np.cumsum(rng.integers(0, 2, (4, 9, 7, 3)), 1).astype(dtype)
        back = mcbits.decompress(mcbits.compress(images, effort=1))
        assert back.dtype == dtype and np.array_equal(back, images)
    pictures = [images[0], images[1, :4]]
    with pytest.raises(mcbits.errors.DataError, match="several sizes"):
        mcbits.decompress(mcbits.compress(pictures, effort=1))


def test_an_opened_file_is_a_sequence(tmp_path: Path) -> None:
    images = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    (tmp_path / "x.mcb").write_bytes(mcbits.compress(images, effort=1))
    with mcbits.open(tmp_path / "x.mcb") as pictures:
        assert len(pictures) == 5 and np.array_equal(pictures[-1], images[4])
        assert all(map(np.array_equal, pictures, images))


def test_a_ready_made_model_never_changes() -> None:
    assert {each.name: each.model_id[:16] for each in ready_made() if each.plugin == "mcbits"} == IDS


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from mcbits.cli import main
main()
"""


@pytest.mark.parametrize("effort", ["1", "5"])
def test_without_torch_ready_made_models_code(effort: str, scans: Path, tmp_path: Path) -> None:
    def call(*arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = call("compress", scans, "--effort", effort)
    assert ("pip install" in said) == (effort == "5")
    call("decompress", tmp_path / "scans.mcb", "-o", tmp_path / "back")
    same(scans, tmp_path / "back")


@pytest.mark.parametrize("channels", [0, 3, 4])
def test_noise_takes_its_own_size(channels: int) -> None:
    shape = (3, 70, 90, channels)[: 4 if channels else 3]
    noise = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert len(mcbits.compress(noise, effort=1)) <= noise.nbytes * 1.001 + 200
    assert {model.num_symbols for model in ready_made_models()} == {2, 256}
