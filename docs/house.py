"""Draws the house from the import contract of pyproject.toml: `python docs/house.py` writes docs/house.svg."""

import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "house.svg"

WIDTH, FLOOR, GAP = 640, 34, 6


def floors() -> list[list[str]]:
    """The rooms of each floor, the roof first; none imports from a floor above it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers" and each["containers"] == ["mcbits"]]
    return [re.split(r"\s*[|:]\s*", layer) for layer in layers]


def draw(house: list[list[str]]) -> str:
    """The floors as SVG."""
    height = len(house) * (FLOOR + GAP) + GAP
    size, style = f"0 0 {WIDTH} {height}", 'font-family="sans-serif" font-size="15" text-anchor="middle"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{size}" {style}>',
        "<title>The floors of mcbits: each imports only from floors below it</title>",
    ]
    for row, rooms in enumerate(house):
        width = (WIDTH - GAP * (len(rooms) + 1)) / len(rooms)
        y = GAP + row * (FLOOR + GAP)
        for column, room in enumerate(rooms):
            x = GAP + column * (width + GAP)
            lines += [
                f'<rect x="{x:g}" y="{y}" width="{width:g}" height="{FLOOR}" rx="4" fill="#dfe7f5" stroke="#3f51b5"/>',
                f'<text x="{x + width / 2:g}" y="{y + FLOOR - 12}" fill="#1a1a2e">{escape(room)}</text>',
            ]
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(floors()))
