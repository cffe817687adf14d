"""An option is a field of a config or of a coder, and is declared, explained and checked only there."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic import BaseModel

from mcbits.cli.flags import BOOLEAN, Command, expanded
from mcbits.config import Config, EvaluateConfig, Option, TrainConfig, all_coder_options, all_model_options
from mcbits.plugins.registry import registry


def config_options(cls: type[BaseModel]) -> Callable[[Command], Command]:
    """Give a command every option of a config class. Those that the user sets become its argument `overrides`.

    Values stay text, since the config checks and converts them.
    """

    def decorate(command: Command) -> Command:
        parameters = list(_parameters(cls))
        return expanded(
            command,
            "overrides",
            parameters,
            lambda given: {name: value for name, value in given.items() if value is not None},
        )

    return decorate


def tell_without_effect(cls: type[Config], overrides: dict[str, str]) -> None:
    """Tell listeners of each option that was given on the command line and changes nothing."""
    for key in cls.without_effect.keys() & overrides.keys():
        registry().hook.mcbits_notice(message=f"--{key} has no effect: {cls.without_effect[key]}")


def _parameters(cls: type[BaseModel]) -> Iterator[inspect.Parameter]:
    for name, info in cls.model_fields.items():
        if not info.exclude:
            default = None if info.default_factory or info.default is None else info.default
            yield _parameter(name, info.annotation, info.description or "", default, "Options of this job")
    if issubclass(cls, EvaluateConfig):
        for name, option in cls.shared_options().items():
            yield _parameter(name, option.type, option.help, option.default, "Options of this job")
        coders = [(coder.short, options) for coder, options in all_coder_options()]
        yield from _of_owners(coders, "Options of coders")
    if issubclass(cls, TrainConfig):
        yield from _of_owners(all_model_options(), "Options of models")


def _of_owners(owners: Iterable[tuple[str, dict[str, Option]]], panel: str) -> Iterator[inspect.Parameter]:
    """Yield each option once, with the names of those that have it."""
    declared: dict[str, tuple[Option, list[str]]] = {}
    for owner, options in owners:
        for name, option in options.items():
            declared.setdefault(name, (option, []))[1].append(owner)
    for name, (option, names) in declared.items():
        yield _parameter(name, option.type, f"{', '.join(names)}: {option.help}", option.default, panel)


def _parameter(name: str, kind: Any, help: str, default: Any, panel: str) -> inspect.Parameter:
    shown = str(default).lower() if kind is bool else default
    if "[" in help:  # which rich would read as markup
        from rich.markup import escape

        help = escape(help)
    option = typer.Option(
        f"--{name}",
        metavar=_metavar(kind),
        help=help if default is None else f"{help} (default {shown})",
        show_default=False,
        rich_help_panel=panel,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    return {bool: BOOLEAN, int: "INT", float: "FLOAT", Path: "PATH"}.get(kind, "TEXT")
