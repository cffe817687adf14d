"""`mcbits verify` checks everything, decodes if it has the model, and writes nothing."""

from pathlib import Path
from typing import Any

from mcbits.cli.flags import Files, Flags, Model, with_flags
from mcbits.cli.output import printable, show_each
from mcbits.cli.progress import progress
from mcbits.cli.streams import as_file


@with_flags
def verify(files: Files, model: Model = None, *, flags: Flags) -> None:
    """Check every checksum of .mcb files and, given the model, that they decode to the original images."""
    from mcbits.archive.jobs import verify

    def document(path: Path) -> dict[str, Any]:
        with as_file(path) as source:
            return verify(source, model)

    with progress(flags.quiet):
        show_each(files, document, _text, flags.json)


def _text(path: Path, document: dict[str, Any]) -> str:
    extent = "decodes to the original images" if document["decoded"] else "not decoded, which needs --model"
    return f"{printable(str(path))}: every checksum holds; {extent}"
