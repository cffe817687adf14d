"""Plugins as a user meets them: installed, failing, in conflict."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mcbits.errors import PluginError, UnknownNameError
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import KINDS, Registry, _names, registry

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "plugins" / "README.md"


def install(directory: Path, name: str, code: str = "") -> None:
    """A package, of one module if its code is given, as pip would leave it in `directory`."""
    module = name.replace("-", "_")
    info = directory / f"{module}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[mcbits]\n{name} = {module}\n")
    if code:
        code = code.replace("@hookimpl", "from mcbits.plugins import Lazy, hookimpl\n\n@hookimpl", 1)
        (directory / f"{module}.py").write_text(code)


def python_m(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`python -m ARGUMENTS` with what is installed in `path`."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *([str(path)] if path else [])])}
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def mcbits(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python_m("mcbits", *arguments, path=path)


TOY = """
class Toy:
    name, short, aliases, splits = "{name}", "", (), ()
    bound, encode, decode, __dataclass_fields__ = "elbo", None, None, {{}}
    def load(datadir, split, download=True): pass

@hookimpl
def mcbits_{hook}():
    return [Toy]
"""


def test_every_builtin_keeps_the_names_it_is_registered_with():
    for kind in KINDS:
        for entry in registry()._entries(kind):
            found = registry().find(kind, entry.names[0].upper())
            short = [found.short] if kind == "coder" else []
            assert entry.names == (found.name, *short, *getattr(found, "aliases", ()))
            for name in entry.names:
                assert registry().find(kind, name) is found


def test_the_registry_loads_no_room_above_it():
    code = "import sys, mcbits.plugins.registry; print(*(m for m in sys.modules if m.startswith('mcbits')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded if "." in name} == {"errors", "plugins"}


@pytest.mark.parametrize("kind, wrong, right", [("coder", "bb-si", "bb-is"), ("dataset", "mist", "MNIST")])
def test_unknown_name_suggests_the_nearest_and_lists_all(kind, wrong, right):
    with pytest.raises(UnknownNameError, match=f"did you mean {right}") as error:
        registry().find(kind, wrong)
    assert all(label in str(error.value) for label in registry().labels(kind))


def test_plugin_that_raises_on_import_is_listed_and_breaks_nothing(tmp_path, monkeypatch):
    install(tmp_path, "mcbits-broken", "raise RuntimeError('no\\nluck')")
    install(tmp_path, "mcbits-fine", TOY.format(name="fine", hook="datasets"))
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    infos = {info.name: info for info in found.describe()}
    assert infos["mcbits-broken"].problems == ["RuntimeError: no luck"]
    assert infos["mcbits-broken"].version == "1.5"
    assert infos["mcbits-fine"].provides == {"dataset": ["fine"]}
    assert found.find("dataset", "fine").name == "fine" and found.find("coder", "bb-is").short == "bb-is"
    with pytest.raises(UnknownNameError, match="mcbits-broken"):
        found.find("dataset", "that of the broken plugin")


@pytest.mark.parametrize(
    "code, problem",
    [
        ("@hookimpl\ndef mcbits_coders():\n    1 / 0", "ZeroDivisionError: division by zero"),
        ("@hookimpl\ndef mcbits_coders():\n    return [int]", "has no attribute 'name'"),
        ("@hookimpl\ndef mcbits_codres():\n    return []", "unknown hook 'mcbits_codres'"),
        (
            "@hookimpl\ndef mcbits_coders():\n    return [Lazy('nowhere:Toy', 'toy')]",
            "No module named 'nowhere'",
        ),
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("import sys\n@hookimpl\ndef mcbits_coders():\n    sys.exit(0)", "SystemExit: 0"),
        ("@hookimpl\ndef mcbits_coders():\n    return [Lazy('antigravity_:Toy')]", "names ()"),
        ("@hookimpl\ndef mcbits_bounds():\n    return [type('B', (), {'name': None})]", "names (None,)"),
        ("@hookimpl\ndef mcbits_bounds():\n    return [type('B', (), {'name': 'b', 'aliases': 'xy'})]", "aliases of"),
        ("@hookimpl\ndef mcbits_bounds():\n    return [type('B', (), {'name': 'b'})]", "lacks coupled"),
    ],
)
def test_plugin_that_breaks_the_contract_is_listed_and_breaks_nothing(tmp_path, monkeypatch, code, problem):
    install(tmp_path, "mcbits-odd", code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mcbits_odd", raising=False)
    found = Registry()
    problems = {info.name: info.problems for info in found.describe()}
    assert problems["mcbits"] == [] and len(problems["mcbits-odd"]) == 1
    assert problem in problems["mcbits-odd"][0] and "\n" not in problems["mcbits-odd"][0]
    assert found.find("coder", "bb-is").short == "bb-is" and found.find("bound", "iwae").name == "iwae"


def test_class_whose_module_exits_is_a_problem_of_its_plugin(tmp_path, monkeypatch):
    install(tmp_path, "mcbits-leaver", "@hookimpl\ndef mcbits_coders():\n    return [Lazy('leaver:Toy', 'toy')]")
    (tmp_path / "leaver.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    with pytest.raises(PluginError, match="SystemExit"):
        found.find("coder", "toy")
    assert "SystemExit" in {info.name: info.problems for info in found.describe()}["mcbits-leaver"][0]


def test_sigterm_while_a_plugin_is_imported_ends_the_command(tmp_path, monkeypatch):
    install(tmp_path, "mcbits-killed", "import mcbits.cli\nraise mcbits.cli.Terminated(143)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        Registry()


@pytest.mark.parametrize("file, text", [("METADATA", "Metadata-Version: 2.1\n"), ("entry_points.txt", "[mcbits]\nodd")])
def test_damaged_package_is_listed_and_breaks_nothing(tmp_path, monkeypatch, file, text):
    install(tmp_path, "mcbits-fine", TOY.format(name="fine", hook="datasets"))
    install(tmp_path, "mcbits-damaged", "raise RuntimeError('no luck')")
    (tmp_path / "mcbits_damaged-1.5.dist-info" / file).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    (problems,) = (info.problems for info in found.describe() if info.problems)
    assert len(problems) == 1
    assert found.find("dataset", "fine").name == "fine" and found.find("coder", "bb-is").short == "bb-is"


def test_name_claimed_by_two_plugins_is_an_error_that_names_both(tmp_path, monkeypatch):
    install(tmp_path, "mcbits-one", TOY.format(name="same", hook="coders"))
    install(tmp_path, "mcbits-two", TOY.format(name="SAME", hook="coders"))
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    with pytest.raises(PluginError, match="mcbits-one and mcbits-two|mcbits-two and mcbits-one"):
        found.find("coder", "same")
    assert found.find("coder", "bb-is").short == "bb-is"
    problems = {info.name: info.problems for info in found.describe()}
    assert problems["mcbits"] == [] and "mcbits-two" in problems["mcbits-one"][0]


def test_unusable_options_of_a_coder_matter_only_where_it_is_chosen(tmp_path):
    coder = "from dataclasses import dataclass\nfrom mcbits.coders.bits_back import BitsBackCoder\n"
    for short, field in (("untyped", "steps: Nowhere = 1"), ("shadowing", "seed: int = 1")):
        coder += f"@dataclass(frozen=True)\nclass {short}(BitsBackCoder):\n    short = name = '{short}'\n"
        coder += f"    {field}\n"
    code = "from __future__ import annotations\n" + coder
    install(tmp_path, "mcbits-odd", code + "@hookimpl\ndef mcbits_coders():\n    return [untyped, shadowing]")
    shown = mcbits("compress", "--help", path=tmp_path)
    assert shown.returncode == 0 and "num_particles" in shown.stdout, shown.stderr
    for short in ("untyped", "shadowing"):
        refused = mcbits("compress", "--coder", short, "--model", "nowhere", path=tmp_path)
        assert refused.returncode == 1
        assert short in refused.stderr
        assert refused.stderr.count("\n") == 1


def test_lazy_class_is_imported_only_when_looked_up(tmp_path, monkeypatch):
    install(tmp_path, "mcbits-lazy", "@hookimpl\ndef mcbits_models():\n    return [Lazy('lazily:Toy', 'toy')]")
    (tmp_path / "lazily.py").write_text("class Toy:\n    name = 'toy'\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    assert "toy" in found.labels("model") and "lazily" not in sys.modules
    assert found.find("model", "Toy").name == "toy" and "lazily" in sys.modules


def test_listener_hears_only_while_it_is_registered():
    heard = []

    class Listener:
        @hookimpl
        def mcbits_notice(self, message):
            heard.append(message)

    with registry().listening(Listener()):
        registry().hook.mcbits_notice(message="inside")
    registry().hook.mcbits_notice(message="outside")
    assert heard == ["inside"]


TEMPLATE = ROOT / "plugins" / "template"
PACKAGES = sorted(file.parent for file in (ROOT / "plugins").glob("*/pyproject.toml"))


def pip_install(source: Path, target: Path) -> Path:
    """The package, pip-installed into a directory of its own, from a copy, since pip builds in its source."""
    copied = shutil.copytree(source, target.with_name("source") / source.name, ignore=shutil.ignore_patterns("build"))
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target]
    installed = python_m("pip", "install", *options, copied)
    assert installed.returncode == 0, installed.stderr
    return target


def check_package(source: Path, prefix: Path) -> None:
    """It installs, is listed without a problem, and passes its own tests."""
    pip_install(source, prefix)
    (found,) = (info for info in described(prefix) if info["name"] != "mcbits")
    assert found["name"] == tomllib.loads((source / "pyproject.toml").read_text())["project"]["name"]
    assert found["provides"] and found["problems"] == []
    tested = python_m("pytest", "-q", "-p", "no:cacheprovider", source / "tests", path=prefix)
    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize("source", PACKAGES, ids=lambda source: source.name)
def test_package_installs_alone_and_passes_its_own_tests(source, tmp_path):
    pytest.importorskip("torch")
    check_package(source, tmp_path / "prefix")


def described(path: Path) -> list[dict]:
    return json.loads(mcbits("plugins", "--json", path=path).stdout)["plugins"]


def console(text: str) -> str:
    """The commands of the first console block."""
    (block, *_) = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return "".join(re.findall(r"^\$ (.*\n)", block, re.MULTILINE))


def test_template_renamed_as_the_guide_says_is_a_package_whose_tests_pass(tmp_path):
    pytest.importorskip("torch")
    plugins = tmp_path / "plugins"
    shutil.copytree(TEMPLATE, plugins / "template", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["sh", "-e", "-c", console(GUIDE.read_text())], cwd=tmp_path, check=True)
    yours = plugins / "mcbits-yours"
    files = {str(path.relative_to(yours)): path.read_text() for path in yours.rglob("*") if path.is_file()}
    assert files and "template" not in json.dumps(files)
    check_package(yours, tmp_path / "prefix")


def test_guide_is_a_package_whose_tests_pass(tmp_path):
    pytest.importorskip("torch")
    install(tmp_path, "mcbits-yours")
    files = re.findall(r"```python\n# (\S+)\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(files) == GUIDE.read_text().count("```python")
    for name, code in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(code)
    (found,) = (info for info in described(tmp_path) if info["name"] == "mcbits-yours")
    assert len(found["provides"]) == 5 and found["problems"] == []
    tested = python_m("pytest", "-q", "-p", "no:cacheprovider", tmp_path / "tests", path=tmp_path)
    assert tested.returncode == 0, tested.stdout


def test_file_of_a_plugin_asks_for_the_plugin_where_it_is_missing(tmp_path):
    pytest.importorskip("torch")
    from mcbits.models.binary_vae import BinaryVAE

    install(tmp_path, "mcbits-template")
    shutil.copytree(TEMPLATE / "mcbits_template", tmp_path / "mcbits_template")
    images = np.random.default_rng(0).integers(0, 2, (6, 8, 8), np.uint8)
    np.save(tmp_path / "images.npy", images)
    BinaryVAE(shape=(8, 8), latent_dim=4).eval().freeze().save(tmp_path / "codec.safetensors")
    options = ["--model", tmp_path / "codec.safetensors", "--json"]
    coded = mcbits("compress", tmp_path / "images.npy", "-o", tmp_path / "x.mcb", "--coder", "best-of",
                   "--num_particles", 3, *options, path=tmp_path)  # fmt: skip
    assert coded.returncode == 0, coded.stderr
    assert json.loads(coded.stdout)["num_particles"] == 3
    restored = mcbits("decompress", tmp_path / "x.mcb", "-o", tmp_path / "y.npy", *options, path=tmp_path)
    assert restored.returncode == 0, restored.stderr
    assert np.array_equal(np.load(tmp_path / "y.npy"), images)

    without = mcbits("decompress", tmp_path / "x.mcb", "-o", tmp_path / "z.npy", *options)
    assert without.returncode in (1, 2)
    assert "best-of" in without.stderr
    assert without.stderr.count("\n") == 1
    assert not (tmp_path / "z.npy").exists()


def registered_names(source: Path) -> set[str]:
    """What a package is called, and whatever it registers."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    names = {project["name"]}
    for module_name in project["entry-points"]["mcbits"].values():
        module = import_module(module_name)
        hooks = (getattr(module, hook, tuple) for hook, _ in KINDS.values())
        names |= {module_name, *(name for hook in hooks for target in hook() for name in _names(target))}
    return names


def test_mcbits_knows_the_name_of_no_plugin(monkeypatch):
    for source in PACKAGES:
        monkeypatch.syspath_prepend(source)
    names = set().union(*map(registered_names, PACKAGES))
    assert len(names) > 2 * len(PACKAGES)
    word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, sorted(names)))})(?![\w-])", re.IGNORECASE)
    for suffix in ("py", "pyx", "pyi"):
        for file in (ROOT / "mcbits").rglob(f"*.{suffix}"):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                assert not word.search(line), f"{file.relative_to(ROOT)}:{number} knows a plugin: {line.strip()}"
