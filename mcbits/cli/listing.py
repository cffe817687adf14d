"""`mcbits list` reads the index of a file and decodes nothing."""

from mcbits.cli.flags import File, Flags, with_flags
from mcbits.cli.output import printable, show
from mcbits.cli.streams import as_file


@with_flags
def listing(file: File, *, flags: Flags) -> None:
    """List what a .mcb file of pictures holds: names, sizes, and the bytes that each takes."""
    from mcbits.archive.collection import open_pictures
    from mcbits.archive.summary import listing as rows_of

    with as_file(file) as path, open_pictures(path) as pictures:
        rows = rows_of(pictures)
    width = max(len(row["kind"]) for row in rows)
    lines = []
    for row in rows:
        kind = row["kind"] + (f", {row['num_images']:,} pictures" if row["num_images"] > 1 else "")
        lines.append(f"{row['bytes']:>12,}  {kind:{width}}  {printable(row['name'])}")
    show({"entries": rows}, "\n".join(lines), flags.json)
