"""Tables of a paper: what is measured, what is looked up again, what is skipped, and how it is shown."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mcbits.archive.jobs import decompress_file
from mcbits.archive.models import load_model
from mcbits.cli import main
from mcbits.config import CompressConfig
from mcbits.datasets.selection import test_images as images_of
from mcbits.errors import UsageError
from mcbits.studies import reproduce as module
from mcbits.studies.reproduce import Cell, Table, config_of, find_tables, read_cells, reproduce

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

SPEC = {
    "title": "Digits",
    "dataset": "digits",
    "model": "{split}-{num}",
    "num_compress": 12,
    "columns": [["a", "a"], ["b", "a"]],
    "rows": [
        {"label": "BB-ELBO", "coder": "bb-elbo", "checkpoint": 1, "published": [0.6, 0.7]},
        {"label": "BB-IS (3)", "coder": "bb-is", "options": {"num_particles": 3}, "checkpoint": 1},
        {"label": "ramp", "coder": "bb-is", "options": {"num_particles": 3}, "checkpoint": 1, "ramp": "auto"},
    ],
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A directory with the one model a-1 of two that the table asks for."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    directory = tmp_path_factory.mktemp("checkpoints")
    options = ["--dataset", "digits", "--gpu", "-1", "--epochs", "1", "--latent_dim", "4", "--logdir", str(directory)]
    with pytest.raises(SystemExit) as exit:
        main(["train", *options, "--exp_name", "a-1", "--quiet"])
    assert exit.value.code == 0
    return directory


@pytest.fixture
def table(tmp_path):
    """A function that writes a table like SPEC, with changes, and returns its path."""

    def write(**changes):
        path = tmp_path / "digits.yml"
        path.write_text(yaml.safe_dump(SPEC | changes))
        return path

    return write


@pytest.fixture
def run(table, checkpoints, tmp_path):
    """A function that reproduces a table like SPEC into one directory."""

    def run(options=None, **changes):
        return reproduce(table(**changes), checkpoints, tmp_path, tmp_path / "out", **(options or {}))

    return run


def test_every_file_restores_its_images_and_its_sizes_are_those_reported(run, tmp_path):
    for cell in [cell for cell in run() if cell.outcome]:
        o = cell.outcome
        [file] = [each for each in (tmp_path / "out" / "cells").glob("*.mcb") if _is_of(each, cell)]
        images = images_of(config_of(cell))
        assert np.array_equal(decompress_file(file, load_model(cell.model)), images)
        assert o.num_images == 12 and o.file_bytes == file.stat().st_size
        assert o.file == pytest.approx(8 * o.file_bytes / images.size)
        assert o.message == pytest.approx(o.net + (o.initial_bits + 32) / images.size)
        assert o.net == pytest.approx(o.ideal, abs=0.003) and o.evaluated == pytest.approx(o.ideal, abs=0.1)


def _is_of(file, cell):
    key = json.loads(file.with_suffix(".json").read_text())
    return (key["coder"], key["ramp"]) == (cell.coder, cell.ramp)


def test_cell_without_checkpoint_is_named_and_the_others_are_measured(run):
    cells = run()
    assert [cell.skipped is None for cell in cells] == [True] * 3 + [False] * 3
    assert all("b-1" in cell.skipped and "b to a" in cell.title for cell in cells[3:])


@pytest.mark.parametrize(
    "changes, reason",
    [
        (
            {"rows": [{"label": "x", "coder": "bb-elbo", "options": {"num_partciles": 3}, "checkpoint": 1}]},
            "num_partciles",
        ),
        ({"rows": [{"label": "x", "coder": "bb-none", "checkpoint": 1}]}, "bb-none"),
        ({"num_compress": 99999}, "test images"),
        ({"dataset": "none"}, "none"),
    ],
)
def test_cell_that_cannot_be_computed_is_skipped_with_its_reason(run, changes, reason):
    assert all(reason in cell.skipped for cell in run(**changes) if cell.train == "a")


def test_finished_cell_is_not_computed_twice_and_any_change_computes_it(run, monkeypatch, tmp_path):
    first, computed = run(), []

    def count(*arguments, **options):
        computed.append(arguments[3].coder.short)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "compress_file", count)
    assert run() == first
    assert run(rows=[SPEC["rows"][0] | {"label": "new", "published": [0.1, 0.2]}])[0].outcome == first[0].outcome
    [victim] = (tmp_path / "out" / "cells").glob("*-bb-elbo-*.json")
    victim.unlink()
    for options in ({}, {"seed": 1}, {"num_compress": 13}):
        with pytest.raises(KeyboardInterrupt):
            run(options)
    assert computed == ["bb-elbo"] * 3


def test_interrupted_table_goes_on_after_its_last_finished_cell(run, monkeypatch, tmp_path):
    compress_file, done = module.compress_file, []

    def interrupted(*arguments, **options):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return compress_file(*arguments, **options)

    monkeypatch.setattr(module, "compress_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    cells = tmp_path / "out" / "cells"
    assert sorted(each.suffix for each in cells.iterdir()) == [".json", ".mcb"]
    before = next(cells.glob("*.json")).stat().st_mtime_ns
    monkeypatch.setattr(module, "compress_file", compress_file)
    assert sum(cell.outcome is not None for cell in run()) == 3
    assert before in [each.stat().st_mtime_ns for each in cells.glob("*.json")]


def test_results_are_read_back_as_they_were_measured(run, tmp_path):
    cells = run()
    assert read_cells(tmp_path / "out") == cells
    with open(tmp_path / "out" / "digits.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [cell.label for cell in cells]
    assert float(rows[0]["net"]) == cells[0].outcome.net and rows[3]["net"] == ""


def test_standard_error_is_over_images_and_deviation_in_its_units(run, monkeypatch):
    compress_file, reports = module.compress_file, []

    def kept(*arguments, **options):
        reports.append(compress_file(*arguments, **options))
        return reports[-1]

    monkeypatch.setattr(module, "compress_file", kept)
    cell = run()[0]
    assert cell.outcome.standard_error == pytest.approx(np.var(reports[0].per_image, ddof=1) ** 0.5 / 12**0.5)
    published_error = cell.outcome.standard_error * (12 / 500) ** 0.5
    error = np.hypot(cell.outcome.standard_error, published_error)
    assert cell.deviation == pytest.approx((cell.outcome.net - 0.6) / error)
    single = run(num_compress=1)[0]
    assert single.outcome.standard_error is None and single.deviation is None


def test_iterative_inference_has_no_float_figure_and_another_key(run):
    options = {"iterative_post_improvement": True, "iterative_improvement_steps": 3}
    plain, refined = run(
        columns=[["a", "a"]],
        rows=[
            {"label": "plain", "coder": "bb-elbo", "checkpoint": 1},
            {"label": "refined", "coder": "bb-elbo", "options": options, "checkpoint": 1},
        ],
    )
    assert refined.outcome.evaluated is None and refined.outcome.net != plain.outcome.net


def test_published_tables_are_well_formed_and_coders_know_their_options():
    paths = find_tables("all")
    assert [path.stem for path in paths] == ["coupled", "in-out-distribution", "iterative-inference"]
    for path in paths:
        for row in Table.load(path).rows:
            CompressConfig.load(None, {"coder": row.coder, "ramp": row.ramp, **row.options})


@pytest.mark.parametrize(
    "text, said",
    [
        ("title: x\ncolumns: []\nrow: []\n", "row"),
        (
            "title: x\ncolumns: [[a, a]]\nrows: [{label: x, coder: y, checkpoint: 1, published: [1, 2]}]\n",
            "2 published",
        ),
        ("[", "cannot be read"),
    ],
)
def test_bad_table_is_an_error_that_names_the_file(text, said, tmp_path):
    path = tmp_path / "bad.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match=f"bad.yml.*{said}"):
        Table.load(path)


def test_unknown_table_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean coupled"):
        find_tables("cuopled")


def test_command_shows_every_figure_whole_in_however_narrow_a_terminal(
    table, checkpoints, tmp_path, capfd, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "40")
    options = ["--checkpoints", str(checkpoints), "-o", str(tmp_path / "out")]

    def shown(*more):
        with pytest.raises(SystemExit) as exit:
            main(["reproduce", str(table()), *options, *more])
        assert exit.value.code == 0
        return capfd.readouterr()

    cells = read_cells_of(shown("--json", "--quiet").out)
    out, err = shown()
    for cell in cells[:3]:
        for rate in (
            cell.outcome.ideal,
            cell.outcome.net,
            cell.outcome.message,
            cell.outcome.file,
            cell.outcome.standard_error,
        ):
            assert f"{rate:.4f}" in out
    assert "…" not in out
    assert "skipped BB-ELBO, b to a" in out
    assert "digits, 1 of 6" in err
    assert shown("--quiet").err == ""


def test_no_checkpoint_at_all_is_one_line_that_says_where_to_get_them(tmp_path, capfd):
    with pytest.raises(SystemExit) as exit:
        main(["reproduce", "all", "--checkpoints", str(tmp_path), "-o", str(tmp_path / "out")])
    out, err = capfd.readouterr()
    assert (exit.value.code, out, err.count("\n")) == (1, "", 1)
    assert "https://" in err and "--checkpoints" in err
    assert not (tmp_path / "out").exists()


def test_titles_and_labels_with_brackets_are_printed_as_they_are(table, checkpoints, tmp_path, capfd):
    rows = [{"label": "[red]x[/] [/y] :smile:", "coder": "simple", "checkpoint": 1}]
    path = table(title="Digits [baselines] [/", rows=rows)
    with pytest.raises(SystemExit) as exit:
        main(["reproduce", str(path), "--checkpoints", str(checkpoints), "-o", str(tmp_path / "out")])
    out, _ = capfd.readouterr()
    assert exit.value.code == 0
    assert "Digits [baselines] [/" in out and "[red]x[/] [/y] :smile:" in out


def read_cells_of(text):
    return [Cell.from_dict(each) for each in json.loads(text)["digits"]]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The directory of the coupled table, of the published checkpoints on 500 images, and its cells by label."""
    if not (SHARED / "checkpoints").is_dir():
        pytest.skip("the published checkpoints are not beside the repository, in ../shared")
    table = Table.load(module.TABLES / "coupled.yml")
    spec = table.model_dump() | {"rows": [row.model_dump() for row in table.rows if "00)" not in row.label]}
    path = tmp_path_factory.mktemp("tables") / "coupled.yml"
    path.write_text(yaml.safe_dump(spec | {"columns": [list(column) for column in table.columns]}))
    output = tmp_path_factory.mktemp("published")
    cells = reproduce(path, SHARED / "checkpoints", SHARED / "data", output)
    return output, {cell.label: cell for cell in cells}


@pytest.mark.slow
def test_published_rates_lie_within_three_standard_errors(published):
    cells = [cell for cell in published[1].values() if cell.published is not None]
    assert len(cells) == 6
    for cell in cells:
        assert abs(cell.outcome.net - cell.published) < 3 * cell.outcome.standard_error
        assert abs(cell.outcome.net - cell.outcome.ideal) < 0.0003
        # Both totals exceed their nets by initial bits, which hardly depend on the images.
        ours, theirs = cell.outcome.message - cell.outcome.net, cell.published_message - cell.published
        assert ours == pytest.approx(theirs, abs=0.0015)


@pytest.mark.slow
def test_ramp_brings_the_file_near_the_net_rate_and_it_decodes_afresh(published, tmp_path):
    output, cells = published
    ramped, plain = cells["BB-IS (50), ramp"], cells["BB-IS (50)"]
    assert ramped.outcome.message < plain.outcome.net + 0.0020
    [file] = [each for each in (output / "cells").glob("*.mcb") if _is_of(each, ramped)]
    restored = tmp_path / "restored.npy"
    command = [sys.executable, "-m", "mcbits", "decompress", str(file), "-o", str(restored), "--model", ramped.model]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert np.array_equal(np.load(restored), images_of(config_of(ramped)))


@pytest.mark.slow
@pytest.mark.parametrize("label, expected", [("BB-IS (1)", 0.2359), ("BB-IS (5)", 0.2309), ("BB-IS (50)", 0.2271)])
def test_ideal_rates_on_all_digits_are_those_of_the_reference(published, label, expected):
    from mcbits.training.checkpoint import load_float
    from mcbits.training.evaluation import evaluate

    cell = replace(published[1][label], num_compress=0)
    config = config_of(cell)
    rate = evaluate(load_float(cell.model), images_of(config), "iwae", config.options.coder.num_particles)
    assert rate["num_images"] == 10_000 and rate["ideal"] == pytest.approx(expected, abs=0.0003)
