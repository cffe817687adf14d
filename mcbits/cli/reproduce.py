"""`mcbits reproduce` shows measured figures beside the published ones, and names what it cannot measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import print_table, show
from mcbits.cli.progress import progress
from mcbits.studies.reproduce import Cell, Table, find_tables

TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="in-out-distribution, iterative-inference, coupled, all of them, or a YAML file.",
    ),
]
Checkpoints = Annotated[Path, typer.Option("--checkpoints", help="Directory of the published checkpoints.")]
DataDir = Annotated[Path, typer.Option("--datadir", help="Where the dataset's files are, or are downloaded to.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Directory of results; finished cells are found again.")]
NumCompress = Annotated[
    int | None,
    typer.Option("--num_compress", min=0, help="Test images, drawn by the seed; 0 for all; by default the table's."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Of images, binarisation and initial bits; by default the table's.")
]


@with_flags
def reproduce(
    table: TableName,
    checkpoints: Checkpoints = Path("checkpoints"),
    datadir: DataDir = Path("data"),
    output: Output = Path("runs") / "reproduce",
    num_compress: NumCompress = None,
    seed: Seed = None,
    *,
    flags: Flags,
) -> None:
    """Measure a table of the paper: compress, decode and compare every cell; continue where it stopped."""
    from mcbits.studies.reproduce import check_checkpoints, reproduce

    paths = find_tables(table)
    titles = [Table.load(path).title for path in paths]  # a bad table is an error before the first cell
    check_checkpoints(paths, checkpoints)
    with progress(flags.quiet):
        results = [
            reproduce(path, checkpoints, datadir, output, num_compress=num_compress, seed=seed) for path in paths
        ]
    if flags.json:
        show(
            {path.stem: [cell.to_dict() for cell in cells] for path, cells in zip(paths, results, strict=True)},
            "",
            flags.json,
        )
    else:
        for title, cells in zip(titles, results, strict=True):
            _print_table(title, cells)


def _print_table(title: str, cells: list[Cell]) -> None:
    from rich.table import Table

    messages = any(cell.published_message is not None for cell in cells)
    units = sorted({cell.outcome.unit for cell in cells if cell.outcome}) or ["dim"]
    counts = sorted({cell.outcome.num_images for cell in cells if cell.outcome})
    table = Table(
        title=f"{title}: bits/{' or '.join(units)} of {' or '.join(f'{n:,}' for n in counts) or 'no'} images",
        caption="Published: net, and message, of other images. Evaluated: the float network. Ideal: the coder's bound, "
        "on the particles it drew. Net: what the message grew by. s.e.: of a mean over images. Diff.: net minus "
        "published, in s.e. of this difference. Message: net, initial bits and stack heads. File: all its "
        "bytes, without the model. ms: per image. Every file was decoded and compared.",
        caption_justify="left",
    )
    table.add_column("")
    table.add_column("train to test")
    headings = ["published", "evaluated", "ideal", "net", "s.e.", "diff./s.e."]
    headings += ["publ. message"] * messages + ["message", "file", "enc. ms", "dec. ms"]
    for heading in headings:
        table.add_column(heading, justify="right")
    for cell, following in zip(cells, [*cells[1:], cells[-1]], strict=True):
        table.add_row(cell.label, f"{cell.train} to {cell.test}", *_figures(cell, messages))
        if (following.train, following.test) != (cell.train, cell.test):
            table.add_section()
    print_table(table)
    for cell in cells:
        if cell.skipped:
            print(f"skipped {cell.title}: {cell.skipped}")


def _figures(cell: Cell, messages: bool) -> list[str]:
    o, published_message = cell.outcome, [_rate(cell.published_message)] * messages
    if o is None:
        return [_rate(cell.published), "skipped", "", "", "", "", *published_message]
    return [
        *map(_rate, (cell.published, o.evaluated, o.ideal, o.net, o.standard_error)),
        "" if cell.deviation is None else f"{cell.deviation:+.1f}",
        *published_message,
        *map(_rate, (o.message, o.file)),
        *(f"{1e3 * seconds:,.1f}" for seconds in (o.encode_seconds, o.decode_seconds)),
    ]


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.4f}"
