"""Plugins as a user meets them: installed, failing, in conflict."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mcbits.errors import PluginError, UnknownNameError
from mcbits.plugins import KINDS, Registry, hookimpl, registry

ROOT = Path(__file__).resolve().parents[1]


def install(directory: Path, name: str, code: str) -> None:
    """A package of one module, as pip would leave it in `directory`."""
    module = name.replace("-", "_")
    info = directory / f"{module}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[mcbits]\n{name} = {module}\n")
    (directory / f"{module}.py").write_text(
        code.replace("@hookimpl", "from mcbits.plugins import Lazy, hookimpl\n\n@hookimpl", 1)
    )


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


def test_every_builtin_keeps_the_names_and_the_contract_it_is_registered_with():
    for kind in KINDS:
        for entry in registry()._entries(kind):
            found = registry().find(kind, entry.names[0].upper())
            short = [found.short] if kind == "coder" else []
            assert entry.names == (found.name, *short, *getattr(found, "aliases", ()))
            for name in entry.names:
                assert registry().find(kind, name) is found


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
    assert found.dataset("fine").name == "fine" and found.coder("bb-is").short == "bb-is"
    with pytest.raises(UnknownNameError, match="mcbits-broken"):
        found.dataset("that of the broken plugin")


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
    assert found.coder("bb-is").short == "bb-is" and found.bound("iwae").name == "iwae"


def test_name_claimed_by_two_plugins_is_an_error_that_names_both_and_leaves_the_rest_alone(
    tmp_path, monkeypatch
):
    install(tmp_path, "mcbits-one", TOY.format(name="same", hook="coders"))
    install(tmp_path, "mcbits-two", TOY.format(name="SAME", hook="coders"))
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    with pytest.raises(PluginError, match="mcbits-one and mcbits-two|mcbits-two and mcbits-one"):
        found.coder("same")
    assert found.coder("bb-is").short == "bb-is"
    problems = {info.name: info.problems for info in found.describe()}
    assert problems["mcbits"] == [] and "mcbits-two" in problems["mcbits-one"][0]


def test_coder_with_unusable_options_is_an_error_for_those_who_choose_it_only(tmp_path):
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
        assert refused.returncode == 1 and short in refused.stderr and refused.stderr.count("\n") == 1


def test_lazy_class_is_imported_only_when_looked_up(tmp_path, monkeypatch):
    install(
        tmp_path, "mcbits-lazy", "@hookimpl\ndef mcbits_models():\n    return [Lazy('lazily:Toy', 'toy')]"
    )
    (tmp_path / "lazily.py").write_text("class Toy:\n    name = 'toy'\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = Registry()
    assert "toy" in found.labels("model") and "lazily" not in sys.modules
    assert found.model("Toy").name == "toy" and "lazily" in sys.modules


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


@pytest.fixture(scope="module")
def model():
    torch = pytest.importorskip("torch")
    from mcbits.exact.vae import freeze_vae
    from mcbits.models.binary_vae import BinaryVAE

    torch.manual_seed(0)
    return freeze_vae(BinaryVAE(shape=(8, 8), latent_dim=4).eval())


def test_guide_runs_as_written(model):
    guide = (ROOT / "plugins" / "README.md").read_text()
    scope: dict = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(compile(block, "plugins/README.md", "exec", dont_inherit=True), scope)
    images = np.random.default_rng(0).integers(0, 2, (6, 8, 8), np.uint8)
    logger = scope["Logger"]()
    with registry().listening(SimpleNamespace(**scope)), registry().listening(logger):
        scope["check_coder"]("my-best-of", images, model, num_draws=3)
        assert registry().dataset("stripes").load("", "vertical").train.shape == (100, 8, 8)
        log_w = pytest.importorskip("torch").randn(4, 50)
        elbo, renyi, iwae = (registry().bound(name)().reduce(log_w) for name in ("elbo", "renyi", "iwae"))
        assert (elbo < renyi).all() and (renyi < iwae).all()
    assert any("finished" in line for line in logger.lines)


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """plugins/mcbits-example, pip-installed into a directory of its own."""
    source = shutil.copytree(
        ROOT / "plugins" / "mcbits-example", tmp_path_factory.mktemp("source") / "example"
    )
    target = tmp_path_factory.mktemp("prefix")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    installed = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True)
    assert installed.returncode == 0, installed.stderr
    return target


def test_installed_example_is_listed(example):
    listed = json.loads(mcbits("plugins", "--json", path=example).stdout)["plugins"]
    (found,) = [info for info in listed if info["name"] == "mcbits-example"]
    assert found["provides"] == {"coder": ["BestOfCoder (best-of)"], "bound": ["best-joint"]}
    assert found["problems"] == []


def test_installed_example_passes_its_own_tests(example):
    pytest.importorskip("torch")
    tests = ROOT / "plugins" / "mcbits-example" / "tests"
    process = python_m("pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", tests, path=example)
    assert process.returncode == 0, process.stdout


def test_coder_option_of_the_command_line_runs_the_installed_example(example, model, tmp_path):
    images = np.random.default_rng(0).integers(0, 2, (6, 8, 8), np.uint8)
    np.save(tmp_path / "images.npy", images)
    model.save(tmp_path / "codec.safetensors")
    options = ["--model", tmp_path / "codec.safetensors", "--json"]
    coded = mcbits("compress", tmp_path / "images.npy", "-o", tmp_path / "x.mcb", "--coder", "best-of",
                   "--num_particles", 3, *options, path=example)  # fmt: skip
    assert coded.returncode == 0, coded.stderr
    assert json.loads(coded.stdout)["num_particles"] == 3
    restored = mcbits("decompress", tmp_path / "x.mcb", "-o", tmp_path / "y.npy", *options, path=example)
    assert restored.returncode == 0, restored.stderr
    assert np.array_equal(np.load(tmp_path / "y.npy"), images)

    without = mcbits("decompress", tmp_path / "x.mcb", "-o", tmp_path / "z.npy", *options)
    assert without.returncode in (1, 2) and "best-of" in without.stderr and without.stderr.count("\n") == 1
    assert not (tmp_path / "z.npy").exists()
