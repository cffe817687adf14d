"""The report: numbers that agree with what a file holds, and a page that needs nothing else."""

import json
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from html import unescape
from io import BytesIO

import numpy as np
import pytest
from builders import Notices

from mcbits.archive.jobs import compress_file
from mcbits.archive.models import load_model
from mcbits.archive.options import CodingOptions
from mcbits.cli import main
from mcbits.coders.base import make_coder
from mcbits.config import CompressConfig
from mcbits.datasets.selection import test_images as images_of
from mcbits.errors import UsageError
from mcbits.latents.vae import Precisions
from mcbits.plugins.registry import registry
from mcbits.studies.report import measure, write_report

pytest.importorskip("matplotlib")
pytest.importorskip("torch")
pytest.importorskip("sklearn")


def command(*arguments):
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    assert exit.value.code == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory of `mcbits train` on the digits."""
    options = ["--dataset", "digits", "--gpu", -1, "--epochs", 2, "--latent_dim", 4, "--quiet"]
    logdir = tmp_path_factory.mktemp("runs")
    command("train", *options, "--logdir", logdir, "--exp_name", "a-1")
    return logdir / "a-1"


@pytest.fixture(scope="module", autouse=True)
def few():
    """Reports on 40 images, against gzip alone: the whole takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcbits.studies.report.report.SAMPLE", 40)
        patch.setattr("mcbits.studies.report.report._PARTICLES", (1, 3))
        yield


@pytest.fixture(scope="module")
def page(trained, tmp_path_factory):
    """The directory of the report on `trained`."""
    output = tmp_path_factory.mktemp("page")
    write_report(trained, output)
    return output


@pytest.fixture(scope="module")
def model(trained):
    return load_model(trained).latent_model(Precisions())


@pytest.fixture(scope="module")
def images(trained):
    return images_of(CompressConfig.load(None, {"train_config": trained, "num_compress": 70}))


def test_page_holds_every_picture_and_refers_to_nothing_outside(page):
    html = (page / "index.html").read_text()
    pictures = {"rates", "training", "initial-bits", "reconstructions", "samples", "heat-maps"}
    assert {each.stem for each in page.glob("*.png")} == pictures
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert all(each.startswith("data:") for each in sources)
    assert not re.search(r"https?:|@import|url\(|<script", html)
    held = {b64decode(each.partition(",")[2]) for each in sources if each.startswith("data:image/png")}
    assert held == {each.read_bytes() for each in page.glob("*.png")}
    assert "Left out" not in html


def test_page_shows_the_figures_that_were_measured(page):
    html = unescape((page / "index.html").read_text())
    cells = [json.loads(each.read_text()) for each in (page / "cells").glob("*.json")]
    assert {(cell["coder"], cell["options"]["num_particles"]) for cell in cells} >= {("bb-is", 1), ("bb-cis", 3)}
    for cell in cells:
        assert f"<td>{cell['outcome']['net']:.4f}</td>" in html


def test_page_opens_in_a_browser_without_errors_and_every_picture_loads(page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here (Debian: chromium)")
    # The page has no script; this one reports on it, in a copy.
    script = (
        "<script>addEventListener('load', () => { document.title = 'loaded ' + [...document.images]"
        ".filter(i => i.complete && i.naturalWidth > 100 && i.alt).length })</script>"
    )
    copy = tmp_path / "index.html"
    copy.write_text((page / "index.html").read_text().replace("</body>", f"{script}</body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]
    process = subprocess.run(
        [browser, *options, copy.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert f"<title>loaded {len(list(page.glob('*.png')))}</title>" in process.stdout
    assert "CONSOLE" not in process.stderr


def test_what_cannot_be_drawn_is_named_and_the_rest_is_drawn(trained, tmp_path):
    table = tmp_path / "t.yml"
    table.write_text(
        "{title: T, dataset: digits, model: '{split}-{num}', num_compress: 20, columns: [[a, a], [b, b]],"
        " rows: [{label: BB-ELBO, coder: bb-elbo, checkpoint: 1, published: [0.6, 0.6]}]}"
    )
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(trained, checkpoints / "a-1")
    command("reproduce", table, "--checkpoints", checkpoints, "-o", tmp_path / "results", "--quiet")
    shutil.rmtree(checkpoints)
    write_report(tmp_path / "results", tmp_path / "page")
    assert [each.name for each in (tmp_path / "page").glob("*.png")] == ["rates.png"]
    left_out = (tmp_path / "page" / "index.html").read_text().partition("Left out")[2]
    assert "BB-ELBO, b to b: there is no checkpoint" in left_out and "pictures of the model" in left_out


def test_run_without_metrics_or_data_is_reported_as_far_as_it_goes(trained, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    (copy / "metrics.jsonl").unlink()
    config = (copy / "train_config.yml").read_text().replace("dataset: digits", "dataset: gone")
    (copy / "train_config.yml").write_text(config)
    write_report(copy, tmp_path / "page")
    left_out = (tmp_path / "page" / "index.html").read_text().partition("Left out")[2]
    assert "metrics.jsonl" in left_out and "gone" in left_out


def test_without_matplotlib_the_error_names_the_package(trained, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match="pip install matplotlib"):
        write_report(trained, tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_source_that_is_neither_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="neither"):
        write_report(tmp_path / "empty", tmp_path / "page")
    (tmp_path / "empty" / "x.json").write_text("{}")
    with pytest.raises(UsageError, match="x.json"):
        write_report(tmp_path / "empty", tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_a_source_that_does_not_exist_is_an_error_and_not_its_parent(trained, tmp_path):
    with pytest.raises(UsageError, match="gone does not exist"):
        write_report(trained / "gone", tmp_path / "page")
    assert not (tmp_path / "page").exists()


def test_lines_cut_off_by_a_crash_are_named_and_left_out(trained, page, tmp_path):
    copy, output = tmp_path / "run", tmp_path / "page"
    shutil.copytree(trained, copy)
    shutil.copytree(page, output)
    with open(copy / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3}\n[1]\n{"epoch": 4, "lo')
    cut = min((output / "cells").glob("*.json"))
    whole = json.loads(cut.read_text())["outcome"]["file_bytes"]
    cut.write_bytes(cut.read_bytes()[:50])
    with registry().listening(notices := Notices()):
        write_report(copy, output)
    left_out = (output / "index.html").read_text().partition("Left out")[2]
    assert [f"line {number} of metrics.jsonl" in left_out for number in (2, 3, 4, 5)] == [False, True, True, True]
    assert (output / "training.png").is_file()
    assert any(cut.name in notice for notice in notices.heard)
    assert json.loads(cut.read_text())["outcome"]["file_bytes"] == whole


def test_plots_do_not_depend_on_the_users_matplotlibrc(page, trained, tmp_path):
    import matplotlib

    shutil.copytree(page, tmp_path / "page")
    with matplotlib.rc_context({"text.usetex": True, "figure.facecolor": "red"}):
        write_report(trained, tmp_path / "page")
        assert matplotlib.rcParams["text.usetex"]
    for picture in page.glob("*.png"):
        assert (tmp_path / "page" / picture.name).read_bytes() == picture.read_bytes()


def test_figures_of_one_image_without_noise_under_any_name_are_drawn():
    from mcbits.studies.report import figures

    image, bits = np.zeros((8, 8), np.uint8), np.ones((8, 8))
    point = figures.Point("bb-is", 1, 0.5, 0.5, 0.6, None, None, None)
    drawn = [
        figures.rates("1 of $a_$ [b] images", [point], 0.0, {"gzip": 0.7}),
        figures.reconstructions(image[None], bits[None], 1),
        figures.heat_maps([(image, bits, 64.0)], [(image, bits, 64.0)], 1),
        figures.initial_bits({"bb-is": (np.ones(1), np.ones(1))}),
    ]
    for figure in drawn:
        figure.savefig(BytesIO(), format="png")


def test_noise_entropy_is_that_of_independent_coins():
    grey = np.array([[0, 255, 128], [1, 0, 255]], np.uint8)
    entropy = sum(-p * np.log2(p) - (1 - p) * np.log2(1 - p) for p in (128 / 255, 1 / 255))
    assert measure.noise_entropy(grey, 255) == pytest.approx(entropy / 6)


@pytest.mark.parametrize("coder, ramp", [("bb-is", "off"), ("bb-is", "auto"), ("bb-cis", "off")])
def test_initial_bits_grow_to_those_of_the_file(coder, ramp, model, images, tmp_path):
    options = CodingOptions.of(coder, num_particles=5, seed=7, ramp=ramp)
    initial, net = measure.initial_bits(images, model.vae, options)
    report = compress_file(images, tmp_path / "x.mcb", model.vae, options)
    assert (np.diff(initial) >= 0).all() and initial[-1] == pytest.approx(report.initial_bits)
    assert net[-1] == pytest.approx(report.net * images.size)


def test_codelengths_are_those_of_the_coder_and_their_pixels_part_of_them(model, images, tmp_path):
    found = measure.codelengths(model, images, 20, 0)
    made = make_coder("bb-is", {"num_particles": 20})
    report = compress_file(images, tmp_path / "x.mcb", model.vae, CodingOptions(made, ramp="off", verify=False))
    assert np.corrcoef(found.ideal, report.per_image)[0, 1] > 0.99
    assert found.ideal.mean() / images[0].size == pytest.approx(report.ideal, rel=0.02)
    assert found.pixels.shape == images.shape and (found.pixels > 0).all()
    assert found.pixels.sum() < 1.1 * found.ideal.sum()


def test_reconstructions_are_probabilities_that_favour_the_image(model, images):
    means = measure.reconstructions(model, images, 0)
    assert means.shape == images.shape
    assert means.min() > 0
    assert means.max() < 1
    assert means[images == 1].mean() > means[images == 0].mean() + 0.1
    assert measure.samples(model, 5, 0, images.shape[1:]).shape == (5, *images.shape[1:])


def test_labels_are_kept_apart_and_near_what_they_label():
    from mcbits.studies.report.figures import _GAP, _apart

    for wanted in ([0.5], [0.1, 0.1, 0.1], [0.2, 0.21, 0.8], np.linspace(0, 0.1, 8)):
        at = _apart(np.array(wanted))
        assert (np.diff(at) >= _GAP - 1e-12).all()
        assert abs(at - wanted).max() <= _GAP * len(wanted) / 2
