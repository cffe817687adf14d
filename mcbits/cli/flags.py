"""The options that mean the same in every command."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notices.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options; the command line wins.")]
File = Annotated[Path, typer.Argument(metavar="FILE.mcb", help="The compressed file.")]
Model = Annotated[Path | None, typer.Option("--model", help="The model, unless the file embeds it.")]
