"""Train the ready-made models of mcbits/archive/ready again, from pictures whose licences allow it.

    python benchmarks/ready_made.py SETS [SECONDS [NAME ...]]    SETS: the folder of the picture sets

Sources: eight photographs of Eastman Kodak (released for unrestricted usage), electron micrographs of the ISBI 2012
challenge (CC BY 3.0), fluorescence micrographs of the Data Science Bowl 2018 (BBBC038, CC0), chest X-rays of
PneumoniaMNIST (CC BY 4.0), characters rendered from Noto Sans CJK (OFL 1.1), Noto Emoji (Apache-2.0). Parts called
test, the last 10 micrographs and the last 3 photographs are not used, so that rates on them mean something.

Files name a model by its id: once released, a model of a name is never replaced, a better one gets another name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcbits.training.fit import fit

READY = Path(__file__).parent.parent / "mcbits" / "archive" / "ready"

Pictures = list[NDArray[Any]]


def main(sets: Path, seconds: float, names: list[str]) -> None:
    """Train the models of these names and write them."""
    made = {"grey": grey, "rgb": rgb, "rgba": rgba, "bilevel": bilevel}
    for name in names or made:
        options = {"R": 4, "M": 1, "width": 32} if name == "bilevel" else {"R": 3, "M": 5, "width": 32}
        if name == "bilevel":
            del options["M"]
        model = fit(made[name](sets), seconds=seconds, **options)
        (READY / f"{name}.mcm").write_bytes(model.data)
        print(name, len(model.data), model.model_id, flush=True)


def grey(sets: Path) -> Pictures:
    """Return photographs, micrographs, X-rays, characters and drawings."""
    drawings = [_luma(_on_white(each)) for each in _npz(sets, "notoemoji72", 200)]
    tiles = [*_npz(sets, "nuclei64", 300), *_npz(sets, "pneumonia28", 1500), *_npz(sets, "cjk32", 800)]
    return [*map(_luma, _photos(sets)), *_micrographs(sets), *tiles, *drawings]


def rgb(sets: Path) -> Pictures:
    """Return photographs, whole and small, and drawings."""
    photos = _photos(sets)
    small = [_resized(each, k) for each in photos for k in (2, 4, 8)]
    return [*photos, *small, *(_on_white(each) for each in _npz(sets, "notoemoji72", 300))]


def rgba(sets: Path) -> Pictures:
    """Return drawings as they are, and photographs that are opaque or cut out."""
    drawings = _npz(sets, "notoemoji72", 700)
    photos = [_resized(each, 2) for each in _photos(sets)]
    opaque = [np.dstack([each, np.full(each.shape[:2], 255, np.uint8)]) for each in photos]
    cut = [np.dstack([each, np.asarray(_disc(each.shape[:2]))]) for each in photos]
    return [*drawings, *opaque, *cut]


def bilevel(sets: Path) -> Pictures:
    """Return pages of characters in several sizes, and grey pictures cut at a level; 1 is white in half of them."""
    rng = np.random.default_rng(1)
    glyphs = np.load(sets / "cjk32.npz")
    glyphs = glyphs[glyphs.files[0]][::7]
    pages = [_page(glyphs, scale, rng) for scale in (0.5, 0.75, 1, 1.5, 2, 3) for _ in range(2)]
    cut = [_resized(_luma(each), 2) for each in _photos(sets)] + _micrographs(sets)[:4] + _npz(sets, "nuclei64", 200)
    cut += _npz(sets, "pneumonia28", 300)
    found = pages + [(each > np.median(each)).astype(np.uint8) for each in cut]
    return [each if i % 2 else 1 - each for i, each in enumerate(found)]


def _page(glyphs: NDArray[Any], scale: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a page of 512 x 512, lines of characters with margins, 1 where there is ink."""
    page, side = np.zeros((512, 512), np.uint8), int(32 * scale)
    for y in range(24, 488 - side, int(side * 1.3)):
        for x in range(24, 488 - side, side):
            if rng.random() < 0.9:
                glyph = Image.fromarray(glyphs[rng.integers(len(glyphs))])
                page[y : y + side, x : x + side] = np.asarray(glyph.resize((side, side))) > 128
    return page


def _npz(sets: Path, name: str, count: int) -> Pictures:
    with np.load(sets / f"{name}.npz") as arrays:
        part = arrays["train"] if "train" in arrays.files else arrays[arrays.files[0]]
    return list(part[:: max(1, len(part) // count)][:count])


def _photos(sets: Path) -> Pictures:
    return [np.asarray(Image.open(path)) for path in sorted((sets / "photos").glob("*.png"))[:-3]]


def _micrographs(sets: Path) -> Pictures:
    whole = [np.asarray(Image.open(path)) for path in sorted((sets / "em512").glob("*.png"))[:-10:3]]
    return [*whole, *(_luma(np.asarray(Image.open(path))) for path in sorted((sets / "nuclei_full").glob("*"))[:4])]


def _luma(picture: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(Image.fromarray(picture).convert("L"))


def _resized(picture: NDArray[Any], k: int) -> NDArray[Any]:
    return np.asarray(Image.fromarray(picture).reduce(k))


def _on_white(picture: NDArray[Any]) -> NDArray[Any]:
    white = Image.new("RGBA", picture.shape[1::-1], "white")
    return np.asarray(Image.alpha_composite(white, Image.fromarray(picture)).convert("RGB"))


def _disc(shape: tuple[int, int]) -> NDArray[Any]:
    """Return alpha of a picture that is cut out as an ellipse with a soft edge."""
    y, x = np.mgrid[-1 : 1 : 1j * shape[0], -1 : 1 : 1j * shape[1]]
    alpha: NDArray[Any] = (255 * np.clip((0.8 - np.hypot(y, x)) * 20 + 0.5, 0, 1)).astype(np.uint8)
    return alpha


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 420, sys.argv[3:])
