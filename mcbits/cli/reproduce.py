"""`mcbits reproduce` puts every figure it measures beside the published one, and names every figure that it cannot measure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mcbits.cli.flags import Debug, Json, Quiet
from mcbits.cli.output import show
from mcbits.cli.progress import progress
from mcbits.reproduce import Cell, Table, find_tables

TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="in-out-distribution, iterative-inference, coupled (configs/reproduce), all of them, or a YAML file.",
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


def reproduce(
    table: TableName,
    checkpoints: Checkpoints = Path("checkpoints"),
    datadir: DataDir = Path("data"),
    output: Output = Path("runs") / "reproduce",
    num_compress: NumCompress = None,
    seed: Seed = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure a table of the paper: evaluate, compress, decode and compare every cell; goes on where it was stopped."""
    from mcbits.reproduce import reproduce

    paths = find_tables(table)
    titles = [Table.load(path).title for path in paths]  # a bad table is an error before the first cell
    with progress(quiet):
        results = [
            reproduce(path, checkpoints, datadir, output, num_compress=num_compress, seed=seed) for path in paths
        ]
    if json:
        show({path.stem: [cell.to_dict() for cell in cells] for path, cells in zip(paths, results)}, "", json)
    else:
        for title, cells in zip(titles, results):
            _print_table(title, cells)


def _print_table(title: str, cells: list[Cell]) -> None:
    from rich.console import Console
    from rich.table import Table

    totals = any(cell.published_total is not None for cell in cells)
    headings = ["published", "evaluated", "ideal", "net", "± s.e.", "Δ/s.e."]
    headings += ["publ. total"] * totals + ["total", "file", "enc. ms", "dec. ms"]
    table = Table(
        title=f"{title}: bits/dim",
        caption="published: net, by the paper. evaluated: float network. ideal: the coder's bound, on the particles it "
        "drew. net: what the message grew by. s.e.: over images. Δ/s.e.: net minus published. total: the message, "
        "with initial bits and stack heads. file: all bytes of the .mcb file, without the model. ms: per image.",
        caption_justify="left",
    )
    table.add_column("")
    table.add_column("train to test", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for cell, following in zip(cells, [*cells[1:], None]):
        table.add_row(cell.label, f"{cell.train} to {cell.test}", *_figures(cell, totals))
        if following is not None and (following.train, following.test) != (cell.train, cell.test):
            table.add_section()
    console = Console()
    # A figure that is cut off is worth nothing: where there is no room, the terminal wraps.
    console.print(table, width=max(console.width, console.measure(table).minimum + 16))
    for cell in cells:
        if cell.skipped:
            console.print(f"skipped {cell.title}: {cell.skipped}", markup=False, highlight=False)


def _figures(cell: Cell, totals: bool) -> list[str]:
    o = cell.outcome
    figures = ["", cell.published, *[None] * 5, *[cell.published_total] * totals, *[None] * 4]
    if o is not None:
        figures[0] = str(o.num_images)
        figures[2:6] = [o.evaluated, o.ideal, o.net, o.standard_error]
        figures[6] = None if cell.deviation is None else f"{cell.deviation:+.1f}"
        figures[-4:] = [o.total, o.file, f"{1e3 * o.encode_seconds:,.1f}", f"{1e3 * o.decode_seconds:,.1f}"]
    return ["" if each is None else each if isinstance(each, str) else f"{each:.4f}" for each in figures]
