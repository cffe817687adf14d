"""`mcbits info` reads a header and decodes nothing."""

from mcbits.cli.flags import Debug, File, Json
from mcbits.cli.output import printable, show


def info(file: File, json: Json = False, debug: Debug = False) -> None:
    """Show what a .mcb file holds and what it needs."""
    from mcbits.archive.format import info

    document = info(file)
    width = max(map(len, document))
    lines = [f"{key.ljust(width)}  {printable(str(value))}" for key, value in document.items()]
    show(document, "\n".join(lines), json)
