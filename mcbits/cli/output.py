"""A result goes to stdout once, either as text for people or as one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mcbits.errors import McbitsError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def as_json(document: Any) -> str:
    """Return JSON text; numpy values become numbers and lists, paths become text."""
    return json.dumps(document, default=_plain, indent=2)


def show(document: dict[str, Any], text: str, json: bool) -> None:
    """Print `text`, or with `json` the document as JSON."""
    print(as_json(document) if json else text)


def tell(line: str) -> None:
    """Print a line of information on stderr."""
    print(f"mcbits: {printable(line)}", file=sys.stderr)


@contextmanager
def on_interrupt(said: Callable[[], str]) -> Iterator[None]:
    """Say what an interruption of the `with` block leaves behind."""
    try:
        yield
    except KeyboardInterrupt:
        tell(said())
        raise


def show_each(
    paths: list[Path],
    document_of: Callable[[Path], dict[str, Any]],
    text_of: Callable[[Path, dict[str, Any]], str],
    json: bool,
) -> None:
    """Print what is found of each path; with `json` one document, or a list of documents if there are several paths.

    What is wrong with one of several does not keep the others from being shown. Exits with 1 then.
    """
    documents, wrong = [], []
    for path in paths:
        try:
            document = document_of(path)
        except (McbitsError, OSError) as error:
            if len(paths) == 1:
                raise
            wrong.append(path)
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            document = {"error": reason}
            line = reason if str(path) in reason else f"{path}: {reason}"
            print(f"mcbits: error: {printable(line)}", file=sys.stderr)
        else:
            if not json:
                print(text_of(path, document))
        documents.append({"path": str(path), **document} if len(paths) > 1 else document)
    if json:
        print(as_json(documents if len(paths) > 1 else documents[0]))
    if wrong:
        print(f"mcbits: error: {len(wrong)} of {len(paths)} files are damaged or cannot be read", file=sys.stderr)
        raise typer.Exit(1)


def print_table(table: Table) -> None:
    """Print a table as wide as it needs, even beyond the terminal, so that no figure is cut off."""
    width = plain_console(width=1000).measure(table).maximum
    plain_console(width=max(width, plain_console().width)).print(table)


def plain_console(**settings: Any) -> Console:
    """Return a console of rich that prints `[text]` and `:text:` as they are, wherever they come from."""
    from rich.console import Console

    return Console(markup=False, emoji=False, **settings)


def printable(text: str) -> str:
    """Return `text` with control characters and everything else that cannot be printed escaped as `repr` does."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
