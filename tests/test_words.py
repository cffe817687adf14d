"""A word means one thing in every JSON document, and an option gives the same bytes wherever it is given."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mcbits
from mcbits.archive.options import CodingOptions

MEANINGS = {
    "coder": str,
    "unit": str,
    "ideal": float,
    "net": float,
    "message": float,
    "file": float,
    "file_bytes": int,
    "initial_bits": float,
    "num_images": int,
    "num_particles": int,
    "output": str,
    "encode_seconds": float,
    "verify_seconds": float,
}


def run(*arguments: object) -> str:
    command = [sys.executable, "-m", "mcbits", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model and images for it."""
    torch = pytest.importorskip("torch")
    from mcbits.models.binary_vae import BinaryVAE

    path = tmp_path_factory.mktemp("words")
    torch.manual_seed(0)
    BinaryVAE(shape=(6, 5), hidden=16, latent_dim=4).eval().freeze().save(path / "model.safetensors")
    np.save(path / "images.npy", np.random.default_rng(0).integers(0, 2, (12, 6, 5), np.uint8))
    return path


@pytest.fixture(scope="module")
def documents(folder: Path) -> dict[str, dict]:
    """What each command prints with --json."""
    model, images, file = folder / "model.safetensors", folder / "images.npy", folder / "x.mcb"
    commands = {
        "compress": (images, "-o", file, "--model", model, "--coder", "bb-is"),
        "info": (file,),
        "verify": (file, "--model", model),
        "decompress": (file, "-o", folder / "back.npy", "--model", model),
        "baselines": (images,),
        "toy": ("--coder", "bb-elbo,bb-is", "--num_particles", 2, "--num_symbols", 50),
    }
    return {name: json.loads(run(name, *arguments, "--json")) for name, arguments in commands.items()}


def pairs(document: object) -> list[tuple[str, object]]:
    """Every key of a JSON document, at any depth, and its value."""
    if isinstance(document, list):
        return [pair for each in document for pair in pairs(each)]
    if isinstance(document, dict):
        return [pair for key, value in document.items() for pair in [(key, value), *pairs(value)]]
    return []


def test_a_key_has_one_type_in_every_document(documents: dict[str, dict]) -> None:
    for name, document in documents.items():
        for key, value in pairs(document):
            if key in MEANINGS:
                assert isinstance(value, MEANINGS[key]) or value == 0, (name, key, value)


def test_no_document_calls_anything_total(documents: dict[str, dict]) -> None:
    assert [name for name, document in documents.items() if "total" in json.dumps(document)] == []


def test_a_coder_is_its_short_name_and_a_unit_one_word(documents: dict[str, dict]) -> None:
    found = [pair for document in documents.values() for pair in pairs(document)]
    assert {value for key, value in found if key == "coder"} == {"bb-is", "bb-elbo"}
    assert {value for key, value in found if key == "unit"} == {"dim"}


def test_rates_are_ordered_ideal_message_file(documents: dict[str, dict]) -> None:
    found = documents["compress"]
    assert found["net"] < found["message"] < found["file"]
    assert found["file"] == pytest.approx(8 * found["file_bytes"] / (12 * 30))
    assert documents["info"]["file"] == found["file"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coder": "bb-elbo", "lanes": 3, "seed": 7},
        {"coder": "bb-cis", "num_particles": 4, "prop_mprec": 12, "log_num_bucket": 6},
        {"coder": "bb-is", "ramp": "off", "embed_model": True, "iterative_post_improvement": True},
    ],
)
def test_python_and_the_command_line_write_the_same_bytes(folder: Path, options: dict) -> None:
    arguments = [f"--{key}" if value is True else f"--{key}={value}" for key, value in options.items()]
    run(
        "compress",
        folder / "images.npy",
        "-f",
        "-o",
        folder / "y.mcb",
        "--model",
        folder / "model.safetensors",
        *arguments,
    )
    blob = mcbits.compress(np.load(folder / "images.npy"), folder / "model.safetensors", **options)
    assert (folder / "y.mcb").read_bytes() == blob


def test_options_by_name_make_the_same_options_again() -> None:
    options = CodingOptions.of("bb-cis", num_particles=3, lanes=5, cond_mprec=12, iterative_post_improvement=True)
    assert CodingOptions.of("bb-cis", **options.by_name()) == options


def test_an_option_that_changes_nothing_says_so(folder: Path) -> None:
    command = [sys.executable, "-m", "mcbits", "compress", "images.npy", "-o", "z.mcb", "--model", "model.safetensors"]
    done = subprocess.run([*command, "--gpu", "-1"], cwd=folder, capture_output=True, text=True)
    assert "--gpu has no effect" in done.stderr


def test_a_file_named_1_after_a_flag_is_no_value(folder: Path) -> None:
    (folder / "1").write_bytes((folder / "images.npy").read_bytes())
    command = [sys.executable, "-m", "mcbits", "compress", "--binarize", "1", "-o", "w.mcb"]
    done = subprocess.run([*command, "--model", "model.safetensors"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, (folder / "w.mcb").exists()) == (0, True), done.stderr
