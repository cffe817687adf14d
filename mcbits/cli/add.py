"""`mcbits add` copies the blocks of a file and puts new ones after them; until all is checked the old file stays."""

from pathlib import Path
from typing import Annotated

import typer

from mcbits.cli.compress import all_entries
from mcbits.cli.flags import File, Flags, Model, Reading, with_flags, with_reading
from mcbits.cli.output import on_interrupt, printable, show
from mcbits.cli.progress import progress

Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT ...", help="Folders, archives and files to add.")]


@with_flags
@with_reading
def add(file: File, inputs: Inputs, model: Model = None, *, reading: Reading, flags: Flags) -> None:
    """Add files to a .mcb file of pictures, under the models that it has."""
    from mcbits.archive.models import models_of
    from mcbits.archive.pictures import compress_pictures, knowing
    from mcbits.archive.ready_made import ready_made_models

    with on_interrupt(lambda: f"interrupted: {file} is as it was"), progress(flags.quiet):
        models = [*models_of(file), *(models_of(model) if model else ()), *ready_made_models()]
        with all_entries(inputs, reading.follow) as entries:
            job = compress_pictures(
                entries,
                file,
                knowing(models),
                metadata=reading.metadata,
                verify=reading.verify,
                given=model,
                base=file,
            )
    written = job.written
    show(
        {"output": file, **job.figures()},
        f"{printable(str(file))}: {written.entries:,} files added, {written.file_bytes:,} bytes in all",
        flags.json,
    )
