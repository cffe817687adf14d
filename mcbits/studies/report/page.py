"""The page is one self-contained file: it contains its pictures as data and loads nothing else."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem }
.wide { overflow-x: auto; margin: 1.5rem 0 }
caption { text-align: left; color: #555; padding-bottom: 0.4rem }
th, td { padding: 0.2rem 0.7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
figure { margin: 2.5rem 0 }
img { max-width: 100%; height: auto; border: 1px solid #eee }
figcaption { color: #444; max-width: 60rem }
"""


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption; `name` is the name of its file without the suffix."""

    name: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Grid:
    """A table; each row has as many cells as there are headings."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def page(title: str, tables: Sequence[Grid], pictures: Sequence[Picture], left_out: Sequence[str]) -> str:
    """Return the HTML of tables and pictures, with the lines of `left_out` at the end."""
    body = [f"<h1>{escape(title)}</h1>", *map(_table, tables), *map(_figure, pictures)]
    if left_out:
        body.append(f"<h2>Left out</h2><ul>{''.join(f'<li>{escape(line)}</li>' for line in left_out)}</ul>")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<style>{_STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n"
    )


def _table(grid: Grid) -> str:
    rows = "\n".join(f"<tr>{_cells('td', row)}</tr>" for row in grid.rows)
    return (
        f'<div class="wide"><table><caption>{escape(grid.caption)}</caption>'
        f"<thead><tr>{_cells('th', grid.headings)}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def _cells(tag: str, texts: Sequence[str]) -> str:
    return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)


def _figure(picture: Picture) -> str:
    data = b64encode(picture.png).decode()
    caption = escape(picture.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )
