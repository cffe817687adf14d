"""`mcbits verify` checks everything, decodes if it has the model, and writes nothing."""

from pathlib import Path
from typing import Any

from mcbits.cli.flags import Files, Flags, Model, with_flags
from mcbits.cli.output import printable, show_each
from mcbits.cli.progress import progress


@with_flags
def verify(files: Files, model: Model = None, *, flags: Flags) -> None:
    """Check every checksum of .mcb files and, given the model, that they decode to the original images."""
    from mcbits.archive.jobs import verify

    with progress(flags.quiet):
        show_each(files, lambda path: verify(path, model), _text, flags.json)


def _text(path: Path, document: dict[str, Any]) -> str:
    extent = "decodes to the original images" if document["decoded"] else "not decoded, which needs --model"
    return f"{printable(str(path))}: every checksum holds; {extent}"
