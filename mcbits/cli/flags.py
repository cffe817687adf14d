"""Some options mean the same in every command; here a command gets them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from mcbits.archive.format import MAGIC
from mcbits.errors import DataError

ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of options; the command line wins.")]
File = Annotated[Path, typer.Argument(metavar="FILE.mcb", help="The compressed file.")]
Files = Annotated[list[Path], typer.Argument(metavar="FILE.mcb ...", help="The compressed files.")]
Model = Annotated[Path | None, typer.Option("--model", help="The model, unless the file embeds it.")]

Command = Callable[..., Any]

FLAG = " "
"""The text that help shows for the value of an option that takes none."""

BOOLEAN = "true|false"
"""The text that help shows for the value of a boolean option."""


@dataclass(frozen=True)
class Flags:
    """The flags of every command.

    json: print one JSON document. quiet: show no progress and no notices.
    """

    json: bool
    quiet: bool


@dataclass(frozen=True)
class Replacing:
    """What may happen to a file that stands where a command is to write: replaced, asked about, or kept."""

    force: bool
    never: bool

    def check(self, path: Path) -> None:
        """DataError for a file at `path` that is to stay: all but .mcb files, and these unless the user agrees."""
        if not path.is_file():
            return
        with open(path, "rb") as file:
            is_ours = file.read(len(MAGIC)) == MAGIC
        if not is_ours:
            raise DataError(f"{path} exists and is no .mcb file: mcbits does not replace it, choose another name")
        if self.force and not self.never:
            return
        if self.never or not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise DataError(f"{path} exists: choose another name, or replace it with --force")
        typer.confirm(f"replace {path}?", abort=True, err=True)


@dataclass(frozen=True)
class Reading:
    """How what is compressed is read, and whether it is compared afterwards.

    follow: take what symbolic links lead to. metadata: keep what does not change how a picture looks.
    """

    follow: bool
    metadata: bool
    verify: bool


def with_reading(command: Command) -> Command:
    """Give a command --follow, --no_metadata and --no_verify, which become its argument `reading`."""
    flags = {
        "follow": "Take what symbolic links lead to.",
        "no_metadata": "Leave out texts and EXIF of PNGs; what changes how a picture looks is kept.",
        "no_verify": "Do not decode and compare what was written.",
    }
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(f"--{name}", help=text, metavar=FLAG)],
        )
        for name, text in flags.items()
    ]
    return expanded(
        command,
        "reading",
        parameters,
        lambda given: Reading(given["follow"], not given["no_metadata"], not given["no_verify"]),
    )


def with_replacing(command: Command) -> Command:
    """Give a command -f and -n, which become its argument `replacing`."""
    flags = {"force": ("-f", "Replace an .mcb file."), "no_clobber": ("-n", "Replace nothing, and do not ask.")}
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(short, f"--{name}", help=text, metavar=FLAG)],
        )
        for name, (short, text) in flags.items()
    ]
    return expanded(command, "replacing", parameters, lambda given: Replacing(given["force"], given["no_clobber"]))


def with_flags(command: Command) -> Command:
    """Give a command --json, --quiet and --debug. The first two become its argument `flags`."""
    flags = {
        "json": (["--json"], "Print one JSON document, an error too."),
        "quiet": (["-q", "--quiet"], "No progress and no notices."),
        "debug": (
            ["--debug"],
            "Show the traceback of an error.",
        ),  # `main` reads it: an error may come before a command
    }
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[bool, typer.Option(*names, help=text, metavar=FLAG)],
        )
        for name, (names, text) in flags.items()
    ]
    return expanded(command, "flags", parameters, lambda given: Flags(given["json"], given["quiet"]))


def _without_value(option: Any) -> Any:
    """Return the option of help as one that takes no value, which it does not."""
    if option is not None:
        option.metavar = FLAG
    return option


class Commands(TyperGroup):
    """The group of all commands."""

    def get_help_option(self, ctx: Any) -> Any:
        return _without_value(super().get_help_option(ctx))


class OptionalBooleans(TyperCommand):
    """A command of typer whose boolean options take true or false; without a value they mean true.

    `~` means the home directory after `=` as well.
    """

    def get_help_option(self, ctx: Any) -> Any:
        return _without_value(super().get_help_option(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        booleans = {
            opt for parameter in self.params if getattr(parameter, "metavar", None) == BOOLEAN for opt in parameter.opts
        }
        end = args.index("--") if "--" in args else len(args)
        for i, arg in enumerate(args[:end]):
            if f"--{spelt(arg[2:])}" in booleans and args[i + 1 : i + 2] not in (["true"], ["false"]):
                args[i] = f"{arg}=true"
            name, equals, value = arg.partition("=")
            if arg.startswith("--") and (value == "~" or value.startswith("~/")):  # where a shell sees no path
                args[i] = f"{name}{equals}{os.path.expanduser(value)}"
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed


def spelt(name: str) -> str:
    """Return the name of an option as it is declared, since users may write `-` for `_`."""
    return name.replace("-", "_")


def expanded(
    command: Command, name: str, parameters: list[inspect.Parameter], build: Callable[[dict[str, Any]], Any]
) -> Command:
    """Return the command with `parameters` in place of its argument `name`. `build` makes the argument from them."""

    def wrapper(**given: Any) -> Any:
        taken = {parameter.name: given.pop(parameter.name) for parameter in parameters}
        return command(**{name: build(taken)}, **given)

    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command).parameters.values()
        if parameter.name != name
    ]
    wrapper.__doc__ = command.__doc__
    wrapper.__signature__ = inspect.Signature(own + parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in own + parameters}
    return wrapper
