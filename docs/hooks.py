"""Pages made while the site is built: the command line from its own help, and those that live outside docs/.

A link out of docs/ works where the repository is read, and on the site leads to the repository.
"""

import inspect
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, OptionInfo

from mcbits.cli import COMMANDS, command_of

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://github.com/mcbits/mcbits"

ELSEWHERE = {
    "howto/plugins.md": "plugins/README.md",
    "security.md": "SECURITY.md",
    "contributing.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
}
"""Pages of the site by the file of the repository that each of them is."""

GENERATED = {*ELSEWHERE, "commands.md"}

_LINK = re.compile(r"(?<=\]\()(?!https?://|#|mailto:)([^)#\s]+)(#[^)\s]*)?(?=\))")
_FOREIGN = re.compile(
    r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//[^>]*>|<link[^>]+rel=\"stylesheet\"[^>]+href=\"(?:https?:)?//[^>]*>"
)


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=relinked((ROOT / source).read_text(), ROOT / source, page)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    path = page.file.src_uri
    return markdown if path in GENERATED else relinked(markdown, ROOT / "docs" / path, path)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    if foreign := _FOREIGN.search(output):
        raise ValueError(f"{page.file.src_uri} would load something from another host: {foreign[0]}")
    return output


def relinked(markdown: str, source: Path, page: str) -> str:
    """The text of a file `source` with its links as `page` of the site needs them."""
    pages = {ROOT / file: name for name, file in ELSEWHERE.items()}

    def link(match: re.Match[str]) -> str:
        target = Path(os.path.normpath(source.parent / match[1]))
        anchor = match[2] or ""
        if target in pages or target.is_relative_to(ROOT / "docs"):
            name = pages.get(target) or target.relative_to(ROOT / "docs").as_posix()
            return os.path.relpath(name, Path(page).parent) + anchor
        kind = "tree" if target.is_dir() else "blob"
        return f"{SOURCE}/{kind}/main/{target.relative_to(ROOT).as_posix()}{anchor}"

    return _LINK.sub(link, markdown)


def commands() -> str:
    """The command line reference, from what `mcbits COMMAND --help` reads."""
    parts = [
        "# Commands\n",
        "Made from the help of the commands. Names of options may be spelt with `_` or `-`. A key of a YAML file given "
        "with `--config` is an option of the same name, and the command line wins. Results go to stdout, progress to "
        "stderr. Exit codes are 0, 1 for bad input, 2 for bad options, 130 after Ctrl-C.\n",
    ]
    for name in COMMANDS:
        parts += _command(name, command_of(name))
    return "\n".join(parts)


def _command(name: str, command: Any) -> Iterator[str]:
    hints = get_type_hints(command, include_extras=True)
    given = [(each, *get_args(hints[each.name])[:2]) for each in inspect.signature(command).parameters.values()]
    arguments = [each for each in given if isinstance(each[2], ArgumentInfo)]
    usage = [info.metavar if each.default is each.empty else f"[{info.metavar}]" for each, _, info in arguments]
    yield f"## mcbits {name}\n\n    {' '.join(['mcbits', name, *usage, '[OPTIONS]'])}\n\n{inspect.getdoc(command)}\n"
    if arguments:
        yield "| argument | |\n|---|---|"
        yield from (f"| `{info.metavar}` | {_text(info.help)} |" for _, _, info in arguments)
        yield ""
    options = [each for each in given if isinstance(each[2], OptionInfo)]
    for panel in dict.fromkeys(info.rich_help_panel or "Options" for _, _, info in options):
        yield f"| {panel[0].lower() + panel[1:]} | value | |\n|---|---|---|"
        for parameter, kind, info in options:
            if (info.rich_help_panel or "Options") == panel:
                yield f"| {_spelt(parameter, info)} | {_value(parameter, kind, info)} | {_text(info.help)} |"
        yield ""


def _spelt(parameter: inspect.Parameter, info: OptionInfo) -> str:
    # In an Annotated option, the first of its names stands where a default would.
    names = [each for each in (info.default, *(info.param_decls or ())) if str(each).startswith("-")]
    return " ".join(f"`{each}`" for each in names or [f"--{parameter.name}"])


def _value(parameter: inspect.Parameter, kind: Any, info: OptionInfo) -> str:
    kind = next((each for each in get_args(kind) if get_origin(kind) is not Literal and each is not type(None)), kind)
    if kind is bool:
        return ""
    names = {int: "INT", float: "FLOAT", Path: "PATH"}
    value = "|".join(get_args(kind)) if get_origin(kind) is Literal else info.metavar or names.get(kind, "TEXT")
    default = parameter.default
    needed = ", required" if default is parameter.empty else ""
    return _text(f"`{value}`" + (needed or ("" if default in (None, []) else f", by default `{default}`")))


def _text(help: str | None) -> str:
    return (help or "").replace("|", "\\|")
