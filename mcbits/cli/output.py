"""A result goes to stdout once, either as text for people or as one JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


def as_json(document: dict[str, Any]) -> str:
    """Return JSON text; numpy values become numbers and lists, paths become text."""
    return json.dumps(document, default=_plain, indent=2)


def show(document: dict[str, Any], text: str, json: bool) -> None:
    """Print `text`, or with `json` the document as JSON."""
    print(as_json(document) if json else text)


def print_table(table: Table) -> None:
    """Print a table as wide as it needs, even beyond the terminal, so that no figure is cut off."""
    from rich.console import Console

    width = Console(width=1000).measure(table).maximum
    Console(width=max(width, Console().width)).print(table)


def printable(text: str) -> str:
    """Return `text` with control characters and everything else that cannot be printed escaped as `repr` does."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
