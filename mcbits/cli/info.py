"""`mcbits info` reads the header, checks all checksums and decodes nothing."""

from mcbits.cli.flags import File, Flags, with_flags
from mcbits.cli.output import printable, show


@with_flags
def info(file: File, *, flags: Flags) -> None:
    """Show what a .mcb file holds and what it needs."""
    from mcbits.archive.format import info

    document = info(file)
    width = max(map(len, document))
    lines = [f"{key.ljust(width)}  {printable(str(value))}" for key, value in document.items()]
    show(document, "\n".join(lines), flags.json)
