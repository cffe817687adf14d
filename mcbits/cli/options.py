"""An option is a field of a config or of a coder: declared, explained and checked there and nowhere else."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel

from mcbits.config import CoderOption, CompressConfig, all_coder_options


def config_options(cls: type[BaseModel]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command every option of a config class; those that were given become its argument `overrides`.

    Values stay text, since the config checks and converts them. The command's attribute `flags` names the
    options whose value may be left out, meaning true.
    """
    options = list(_parameters(cls))
    names = [option.name for option in options]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(**given: Any) -> Any:
            overrides = {name: given[name] for name in names if given[name] is not None}
            return command(overrides=overrides, **{k: v for k, v in given.items() if k not in names})

        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != "overrides"
        ]
        wrapper.__doc__ = command.__doc__
        wrapper.__signature__ = inspect.Signature(own + options)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in own + options}
        wrapper.flags = frozenset(  # type: ignore[attr-defined]
            option.name for option in options if option.annotation.__metadata__[0].metavar == "true|false"
        )
        return wrapper

    return decorate


def _parameters(cls: type[BaseModel]) -> Iterator[inspect.Parameter]:
    for name, info in cls.model_fields.items():
        if not info.exclude:
            default = None if info.default_factory or info.default is None else info.default
            yield _parameter(name, info.annotation, info.description or "", default, "Options of this job")
    if cls is CompressConfig:
        declared: dict[str, tuple[CoderOption, list[str]]] = {}
        for coder, options in all_coder_options():
            for name, option in options.items():
                declared.setdefault(name, (option, []))[1].append(coder.short)
        for name, (option, coders) in declared.items():
            help = f"{', '.join(coders)}: {option.help}"
            yield _parameter(name, option.type, help, option.default, "Options of coders")


def _parameter(name: str, kind: Any, help: str, default: Any, panel: str) -> inspect.Parameter:
    option = typer.Option(
        f"--{name}",
        metavar=_metavar(kind),
        help=help if default is None else f"{help} (default {str(default).lower() if kind is bool else default})",
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
    return {bool: "true|false", int: "INT", float: "FLOAT", Path: "PATH"}.get(kind, "TEXT")
