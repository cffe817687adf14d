"""Every command knows the package: train, evaluate, compress, decompress, info, verify, toy, reproduce, plugins."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from test_pianorolls import write_mat

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


def mcbits(*arguments, cwd):
    command = [sys.executable, "-m", "mcbits", *map(str, arguments)]
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A directory with a collection of tiny rolls and a run trained on it."""
    path, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    rolls = [np.repeat((rng.random((T, 88)) < 0.04).astype(np.uint8), 2, axis=0) for T in (4, 2, 6, 3)]
    (path / "data").mkdir()
    write_mat(path / "data" / "JSB_Chorales.mat", dict.fromkeys(("traindata", "validdata", "testdata"), rolls))
    mcbits("train", "--config", CONFIGS / "train_jsb.yml", "--datadir", "data", "--gpu", -1, "--epochs", 2,
           "--latent_dim", 4, "--exp_name", "jsb_fivo", cwd=path)  # fmt: skip
    return path


def test_a_trained_run_is_evaluated_compressed_and_restored(work):
    given = ("--train_config", "runs/jsb_fivo/train_config.yml", "--coder", "bb-smc", "--json", "--quiet")
    ideal = json.loads(mcbits("evaluate", *given, "--gpu", -1, cwd=work))
    report = json.loads(mcbits("compress", *given, "--ramp", "off", "--exp_name", "x", cwd=work))
    assert report["unit"] == "frame" and report["ideal"] == pytest.approx(ideal["ideal"], rel=0.1)
    file = "runs/x/images.mcb"
    mcbits("decompress", file, "-o", "back.npy", "--model", "runs/jsb_fivo", cwd=work)
    again = ("compress", "back.npy", "-o", "again.mcb", "--model", "runs/jsb_fivo", "--coder", "bb-csmc", "--json")
    assert json.loads(mcbits(*again, cwd=work))["num_images"] == 4
    mcbits("decompress", "again.mcb", "-o", "again.npy", "--model", "runs/jsb_fivo", cwd=work)
    assert np.array_equal(np.load(work / "back.npy"), np.load(work / "again.npy"))
    found = json.loads(mcbits("info", "again.mcb", "--json", cwd=work))
    assert (found["num_images"], found["num_frames"], found["coder"]) == (4, 30, "bb-csmc")
    assert json.loads(mcbits("verify", file, "--model", "runs/jsb_fivo", "--json", cwd=work))["decoded"]


def test_the_table_of_the_piano_rolls_is_reproduced_where_there_are_models(work):
    table = CONFIGS / "reproduce" / "pianorolls.yml"
    out = mcbits("reproduce", table, "--checkpoints", "runs", "--datadir", "data", "--json", "--quiet", cwd=work)
    cells = json.loads(out)["pianorolls"]
    assert [bool(cell["skipped"]) for cell in cells] == [False] * 4 + [True] * 8
    assert {cell["unit"] for cell in cells[:4]} == {"frame"}


def test_toy_and_plugins_show_the_coders(work):
    out = mcbits("toy", "--model", "hmm", "--coder", "bb-smc,bb-csmc", "--num_particles", 4, "--num_symbols", 50,
                 "--json", cwd=work)  # fmt: skip
    assert [row["coder"] for row in json.loads(out)["results"]] == ["bb-smc", "bb-csmc"]
    listed = {info["name"]: info for info in json.loads(mcbits("plugins", "--json", cwd=work))["plugins"]}
    assert listed["mcbits-smc"]["problems"] == [] and listed["mcbits-smc"]["provides"]["model"] == ["VRNN"]


def test_every_config_of_the_package_is_one_that_mcbits_reads(work):
    for path in [*CONFIGS.glob("*.yml"), *CONFIGS.glob("reproduce/*.yml")]:
        assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_a_report_of_sequences_says_what_it_cannot_show(work):
    pytest.importorskip("matplotlib")
    document = json.loads(mcbits("report", "runs/jsb_fivo", "-o", "page", "--json", "--quiet", cwd=work))
    assert {Path(each).stem for each in document["pictures"]} >= {"training", "initial-bits"}
    page = (work / "page" / "index.html").read_text()
    assert "neither grey nor colour" in page and "AttributeError" not in page
