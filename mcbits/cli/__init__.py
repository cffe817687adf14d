"""Only this package prints; an error becomes one line and an exit code; each command imports only what it needs."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from mcbits import __doc__ as summary
from mcbits import __version__
from mcbits.cli.flags import FLAG, Commands, OptionalBooleans, spelt
from mcbits.cli.output import as_json, printable
from mcbits.errors import McbitsError, lacking

COMMANDS = {
    "train": "Train a model, or continue a run that was interrupted.",
    "evaluate": "Estimate the ideal bitrate of a coder on test images, without coding.",
    "compress": "Compress a folder, pictures or an array, or test images of a dataset, into one file.",
    "decompress": "Restore what a .mcb file holds: all of it, or what is named.",
    "list": "List what a .mcb file of pictures holds: names, sizes, and the bytes that each takes.",
    "add": "Add files to a .mcb file of pictures, under the models that it has.",
    "info": "Show what .mcb files hold and what they need, or what a model codes.",
    "verify": "Check every checksum of .mcb files and, given the model, that they decode to the original images.",
    "models": "List the ready-made models of mcbits and of plugins.",
    "plugins": "List coders, bounds, models, observation models and datasets, by plugin.",
    "demo": "Train on scikit-learn's digits, compress held-out ones with every coder, restore and compare them.",
    "reproduce": "Measure a table of the paper: compress, decode and compare every cell; continue where it stopped.",
    "report": "Draw rates, training, reconstructions, samples, bits per pixel and initial bits on one page.",
    "toy": "Measure coders on a toy model: net rate against its exact ideal and the entropy, and the initial bits.",
    "baselines": "Measure gzip, bz2, xz, zstd, PNG, WebP and JPEG XL, on all images in one file and one by one.",
}
"""What each command does. The list of all is shown without importing any."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 or 2 on error, 130 on Ctrl-C, 143 on SIGTERM.

    arguments: by default those of this process.
    """
    args = list(sys.argv[1:] if arguments is None else arguments)
    _open_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: a name may hold unprintable characters
    try:
        with _terminable():
            sys.exit(_run(args))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:
        if "--debug" in args:
            traceback.print_exc()
        line = _line(error)
        if line and "--json" in args:
            print(as_json({"error": line}))
        if line:  # empty if typer has printed the help instead
            print(f"mcbits: error: {line}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def _open_standard_streams() -> None:
    """Let what the caller has closed (`2>&-`) lead nowhere, since the next file that is opened would take its place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open to the end of the process


class Terminated(SystemExit):
    """The exit that SIGTERM asks for, as opposed to one that some code asks for by `sys.exit`."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM raise Terminated within the block, so that half-written files are removed."""

    def terminate(number: int, _: object) -> NoReturn:
        raise Terminated(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(args: list[str]) -> int:
    if args[:1] == ["help"]:
        args = [*args[1:], "--help"]
    first = next((arg for arg in args if arg != "--"), None)
    name = first if first in COMMANDS else None
    app = typer.Typer(cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback(help=summary, context_settings={"help_option_names": ["-h", "--help"]})(_options)
    settings = {"token_normalize_func": spelt, "help_option_names": ["-h", "--help"]}
    if name:
        app.command(name, cls=OptionalBooleans, context_settings=settings)(command_of(name))
    else:
        for each, text in COMMANDS.items():
            app.command(each, help=text)(_only_listed)
    return app(args, prog_name="mcbits", standalone_mode=False) or 0


def command_of(name: str) -> Callable[..., Any]:
    """Import and return the function of a command."""
    name = {"list": "listing"}.get(name, name)  # a module of that name would hide the type
    command: Callable[..., Any] = getattr(import_module(f"mcbits.cli.{name}"), name)
    return command


def _only_listed() -> None:
    """Stand for a command in the list of all."""


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"mcbits {__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "-V", "--version", is_eager=True, callback=_print_version, help="Print the version and exit.", metavar=FLAG
        ),
    ] = False,
) -> None:
    pass


def _line(error: Exception) -> str:
    """Return one line that says what is wrong, for any exception."""
    if hasattr(error, "format_message"):  # an error of typer's parser; typer does not export these classes
        text = error.format_message()
    elif isinstance(error, McbitsError):
        text = str(error)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, ModuleNotFoundError) and lacking(error.name or ""):
        text = f"this needs {lacking(error.name or '')}"
    elif _is_out_of_memory(error):
        text = "out of memory: lower num_particles, lanes, batch_size or workers"
    else:
        text = f"{type(error).__name__}: {error} (this is a bug of mcbits or of a plugin; --debug shows where)"
    return printable(" ".join(text.split()))


def _is_out_of_memory(error: Exception) -> bool:
    # torch raises OutOfMemoryError on a device, but on the CPU a plain RuntimeError with this text.
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
