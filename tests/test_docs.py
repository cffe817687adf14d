"""The pages say what is true: commands and snippets run, links lead somewhere, lists are those of the code.

`python tests/test_docs.py` runs the pages with commands and writes down what these print.
"""

import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from mcbits.plugins import builtins
from mcbits.plugins.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PIXELS = DOCS / "howto" / "pixels.md"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "plugins").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ERROR = "mcbits: error:"


def script(name: str) -> ModuleType:
    """A Python file of docs/, imported."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each fenced block."""
    return ((match[1], match[2]) for match in BLOCK.finditer(page.read_text()))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return BLOCK.sub("", page.read_text())


# What is run


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block, with what the page says that it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run(command: str) -> tuple[str, bool]:
    """What a command prints, or its one line of error, and whether it failed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "COLUMNS": "80", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True)
    lines = result.stdout + "".join(re.findall(rf"^{ERROR}.*\n", result.stderr, re.MULTILINE))
    return "".join(f"{line.rstrip()}\n" for line in lines.splitlines()), result.returncode != 0


def snippet(code: str, names: dict[str, Any]) -> str:
    """What a snippet prints, run with these names."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "snippet", "exec"), names)
    return printed.getvalue()


def masked(text: str) -> str:
    """Text in which all numbers, digests and widths are alike: they differ between machines, words do not."""
    text = re.sub(r"\b[0-9a-f]{16,}", "#", text)
    return re.sub(r"[ ─━]+", " ", re.sub(r"-?\d[\d.,]*(e-\d+)?", "0", text)).strip()


def told(page: Path, names: dict[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Run a page here: what each block said and what it says now, and of a command whether it failed."""
    printed = ""
    for language, text in blocks(page):
        if language == "console":
            for command, said in commands(text):
                output, failed = run(command)
                yield command, said, output, failed
        elif language == "python":
            printed = snippet(text, names)
        elif language == "text":
            yield "", text, printed, False


def test_the_tutorial_and_the_snippets_of_other_pages_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "scans" / "a.jpg")
    names: dict[str, Any] = {}
    others = (ROOT / "README.md", DOCS / "reference" / "index.md", *sorted(DOCS.glob("howto/*.md")))
    for page in (TUTORIAL, *others):
        for command, said, output, failed in told(page, names if page == TUTORIAL else dict(names)):
            assert failed == said.startswith(ERROR), f"{command}: {output}"
            assert masked(output) == masked(said), f"{command} prints other words: python tests/test_docs.py writes it"


def test_the_readmes_commands_for_ones_own_images_do_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), np.uint8)
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "scans" / f"{i}.png")
    chapter = (ROOT / "README.md").read_text().partition("## Your own images")[2].partition("\n## ")[0]
    commands = [line.partition("#")[0].split() for line in re.findall("^    (mcbits .*)$", chapter, re.MULTILINE)]
    assert [command[1] for command in commands] == ["compress", "decompress", "info", "verify"]
    commands[0] += ["--seconds", "1"]
    for command in commands:
        subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, check=True, capture_output=True)
    for i, picture in enumerate(sorted((tmp_path / "restored").glob("*.png"))):
        assert np.array_equal(np.asarray(Image.open(picture)), pictures[i])


def examples() -> list[str]:
    """Modules whose docstrings hold examples."""
    found = [path for path in sorted((ROOT / "mcbits").rglob("*.py")) if ">>> " in path.read_text()]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in found]


# Not by pytest's --doctest-modules, which would import every helper and fuzzer beside the tests too.
@pytest.mark.parametrize("module", examples())
def test_examples_of_docstrings_hold(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    report = io.StringIO()
    with contextlib.redirect_stdout(report):
        failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried > 0 and failed == 0, report.getvalue()


# What is said of the code


def resolve(path: str) -> Any:
    """What a dotted path names: a module, or something in one."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        with contextlib.suppress(ModuleNotFoundError):
            found: Any = importlib.import_module(name)
            for part in parts[end:]:
                found = getattr(found, part)
            return found
    raise ModuleNotFoundError(path)


REFERENCE = {
    path: page.name
    for page in sorted((DOCS / "reference").glob("*.md"))
    for path in re.findall(r"^::: ([\w.]+)$", page.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("path", REFERENCE)
def test_what_the_reference_shows_exists(path):
    assert resolve(path)


def test_members_that_the_reference_chooses_exist():
    for page in (DOCS / "reference").glob("*.md"):
        for path, members in re.findall(
            r"^::: ([\w.]+)\n    options:.*?members: \[(.*?)\]", page.read_text(), re.M | re.S
        ):
            assert all(hasattr(resolve(path), name) for name in members.split(", ")), path


def test_everything_that_is_registered_is_in_the_reference():
    for hook, _ in KINDS.values():
        for lazy in getattr(builtins, hook)():
            path = lazy.path.replace(":", ".")
            assert {path, path.rpartition(".")[0]} & set(REFERENCE), f"{path} is on no page of docs/reference"


def test_the_face_is_in_the_reference():
    import mcbits

    shown = [resolve(path) for path in REFERENCE]
    assert all(getattr(mcbits, name) in shown for name in mcbits.__all__)


def test_the_picture_of_the_house_is_that_of_the_import_contract():
    house = script("house")
    assert house.PICTURE.read_text() == house.draw(house.floors()), "python docs/house.py draws it anew"


def test_the_architecture_page_lists_every_room_and_names_what_exists():
    page = (DOCS / "architecture.md").read_text()
    rooms = {room for floor in script("house").floors() for room in floor}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == rooms
    paths = re.findall(rf"`((?:{'|'.join(rooms)})(?:\.\w+)+)`", page)
    assert paths
    for path in paths:
        resolve(f"mcbits.{path}")


def test_the_command_reference_has_every_command_and_option():
    from mcbits.cli import COMMANDS

    page = script("hooks").commands()
    assert re.findall(r"^## mcbits (\w+)$", page, re.MULTILINE) == list(COMMANDS)
    for name in ("train", "compress", "decompress", "toy"):
        command = [sys.executable, "-m", "mcbits", name, "--help"]
        help = subprocess.run(command, env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True).stdout
        options = set(re.findall(r"(?:^│|  )[ *]+(--\w+)", help, re.MULTILINE)) - {"--help"}
        assert len(options) > 4 and all(f"`{each}`" in page for each in options), name


# Pages among themselves


def anchors(page: str) -> set[str]:
    """What links to the headings of a page are called."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", page), re.MULTILINE)
    plain = [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading)) for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    hooks = script("hooks")
    for target, anchor in re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)#?([^)\s]*)\)", prose(page)):
        path = Path(os.path.normpath(page.parent / target)) if target else page
        inside = path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) else ""
        if inside in hooks.ELSEWHERE:
            path = ROOT / hooks.ELSEWHERE[inside]
        if inside == "commands.md":
            text = hooks.commands()
        else:
            assert path.exists(), f"there is no {target}"
            text = path.read_text() if anchor else ""
        assert not anchor or anchor in anchors(text), f"{target or page.name} has no heading #{anchor}"


def test_every_page_is_in_the_navigation():
    def leaves(item: Any) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        else:
            for each in item.values() if isinstance(item, dict) else item:
                yield from leaves(each)

    nav = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert sorted(nav) == sorted(written | script("hooks").GENERATED)


def test_the_glossary_has_each_word_once_and_in_order():
    words = re.findall(r"^- \*\*(.*?)\*\*", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    each = [word.strip().lower() for entry in words for word in entry.split(",")]
    assert len(words) > 40 and len(set(each)) == len(each)
    assert [entry.lower() for entry in words] == sorted(entry.lower() for entry in words)


@pytest.mark.parametrize("page", [*sorted(DOCS.rglob("*.md")), ROOT / "README.md"], ids=lambda page: page.name)
def test_rates_have_the_names_of_the_glossary(page):
    assert not re.search(r"total (rates?|size|bits)\b|\bnet,? (and )?total\b|\| total \|", prose(page))


# Files for people and robots


def test_yaml_files_parse_and_the_citation_is_of_this_version():
    for path in [*ROOT.glob("*.yml"), *ROOT.glob(".*.yaml"), *(ROOT / ".github").rglob("*.yml")]:
        if path.name != "mkdocs.yml" or "!!" not in path.read_text():
            assert yaml.safe_load(path.read_text()), path
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert "2102.11086" in str(citation["references"])


def write() -> None:
    """Write into the pages with commands what these print today."""
    here = os.getcwd()
    for path in (TUTORIAL, PIXELS):
        page = path.read_text()
        with tempfile.TemporaryDirectory() as scratch:
            os.chdir(scratch)
            for command, said, output, _ in told(path, {}):
                old, new = (f"$ {command}\n{each}" if command else f"```text\n{each}" for each in (said, output))
                assert old in page
                page = page.replace(old, new, 1)
            os.chdir(here)
        path.write_text(page)


if __name__ == "__main__":
    write()
