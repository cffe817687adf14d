"""`mcbits report` writes one page about a run or the results of `mcbits reproduce`, and says what it cannot show."""

from pathlib import Path
from typing import Annotated

import typer

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import show
from mcbits.cli.progress import progress

Source = Annotated[
    Path, typer.Argument(metavar="RUN_OR_RESULTS", help="A run directory, or one that `mcbits reproduce` wrote.")
]
Output = Annotated[Path, typer.Option("-o", "--output", help="Directory for index.html and the PNGs.")]
DataDir = Annotated[
    Path | None, typer.Option("--datadir", help="Where the dataset's files are; by default where they were.")
]


@with_flags
def report(
    source: Source,
    output: Output,
    datadir: DataDir = None,
    *,
    flags: Flags,
) -> None:
    """Draw rates, training, reconstructions, samples, bits per pixel and initial bits on one page."""
    from mcbits.studies.report import write_report

    with progress(flags.quiet):
        files = write_report(source, output, datadir)
    show({"page": files[0], "pictures": files[1:]}, f"{files[0]}: {len(files) - 1} pictures", flags.json)
