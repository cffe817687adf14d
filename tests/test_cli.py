"""The command line: what it prints, where, with which exit code, and what it leaves behind."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import binary_images

import mcbits
from mcbits.cli import COMMANDS, command_of, main
from mcbits.cli.progress import Bars
from mcbits.coders.base import find_coder
from mcbits.config import CompressConfig, EvaluateConfig, Option, TrainConfig
from mcbits.images.formats import write_images

ROOT = Path(__file__).resolve().parents[1]

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def fails(run):
    """Run a command line that must fail in one line on stderr with exit code 1 or 2; the line."""

    def fails(*arguments):
        code, out, err = run(*arguments)
        assert code in (1, 2) and out == "", (code, out, err)
        assert re.fullmatch(r"mcbits: error: [^\n]+\n", err), err
        return err

    return fails


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run directory of `mcbits train` on the digits."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    logdir = tmp_path_factory.mktemp("runs")
    options = [
        "--dataset",
        "digits",
        "--gpu",
        "-1",
        "--epochs",
        "2",
        "--latent-dim=4",
        "--logdir",
        str(logdir),
    ]
    with pytest.raises(SystemExit) as exit:
        main(["train", *options, "--exp_name", "run", "--quiet"])
    assert exit.value.code == 0
    return logdir / "run"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 2, (9, 8, 8), np.uint8)


@pytest.fixture
def source(images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    return tmp_path / "images.npy"


@pytest.fixture
def coded(run, trained, source, tmp_path):
    code, _, err = run("compress", source, "-o", tmp_path / "x.mcb", "--model", trained, "--quiet")
    assert (code, err) == (0, "")
    return tmp_path / "x.mcb"


@pytest.mark.parametrize("arguments", [["--help"], ["decompress", "--help"], ["info", "FILE"], ["decompress", "FILE"]])
def test_decode_path_never_imports_torch(arguments, trained, coded, tmp_path):
    arguments = [str(coded) if each == "FILE" else each for each in arguments]
    if arguments == ["decompress", str(coded)]:
        arguments += ["-o", str(tmp_path / "y.npy"), "--model", str(trained)]
    script = (
        "import sys; from mcbits.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as exit: assert exit.code == 0, exit.code\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


def test_every_command_has_help_and_every_config_key_is_in_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for command in COMMANDS:
        assert run(command, "--help")[0] == 0
    for command, cls in (("train", TrainConfig), ("compress", CompressConfig), ("evaluate", EvaluateConfig)):
        shown = run(command, "--help")[1]
        for key, info in cls.model_fields.items():
            assert info.exclude or re.search(rf"--{key}\b.*\w", shown), key
    assert re.search(r"--num_particles\b.*bb-is, bb-cis", shown)


def test_the_list_of_commands_says_of_each_what_its_own_help_says() -> None:
    for name, text in COMMANDS.items():
        assert (command_of(name).__doc__ or "").split("\n\n")[0].strip() == text


def test_no_command_shows_the_help_and_nothing_else(run):
    code, out, err = run()
    assert code == 2
    assert "compress" in out
    assert err == ""


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_cost_nothing(closed, trained, source, images, tmp_path):
    words = [sys.executable, "-m", "mcbits", "compress", source, "-o", tmp_path / "x.mcb", "--model", trained]
    line = f"{shlex.join(map(str, words))} {closed}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", line], env=environment).returncode == 0
    assert np.array_equal(mcbits.decompress((tmp_path / "x.mcb").read_bytes(), mcbits.load_model(trained)), images)


@pytest.mark.parametrize("name", ["restored.npy", "restored.npz", "restored.idx.gz", "restored/"])
def test_decompress_inverts_compress(name, run, trained, coded, images, tmp_path):
    from mcbits.images import read_images

    code, out, err = run("decompress", coded, "-o", f"{tmp_path}/{name}", "--model", trained, "--quiet")
    assert (code, err) == (0, "") and "9 images" in out
    assert np.array_equal(read_images(tmp_path / name), images)


def test_embedded_model_is_all_that_decompress_needs(run, trained, source, images, tmp_path):
    assert run("compress", source, "-o", tmp_path / "x.mcb", "--model", trained, "--embed-model")[0] == 0
    assert run("decompress", tmp_path / "x.mcb", "-o", tmp_path / "y.npy")[0] == 0
    assert np.array_equal(np.load(tmp_path / "y.npy"), images)


def test_run_directory_feeds_evaluate_and_compress(run, trained, tmp_path):
    options = [
        "--train_config",
        trained / "train_config.yml",
        "--coder",
        "bb-is",
        "--num-particles",
        3,
        "--json",
    ]
    code, out, _ = run("evaluate", *options, "--num_compress", "50")
    ideal = json.loads(out)
    assert code == 0
    assert ideal["num_images"] == 50
    assert len(ideal["per_image"]) == 50
    code, out, err = run("compress", *options, "--num_compress=50", "--logdir", tmp_path, "--exp-name", "here")
    report = json.loads(out)
    assert code == 0
    assert report["num_images"] == 50
    assert report["num_particles"] == 3
    assert abs(report["net"] - ideal["ideal"]) < 0.05
    file = tmp_path / "here" / "images.mcb"
    assert report["file"] * 50 * 64 / 8 == pytest.approx(file.stat().st_size)
    assert json.loads((tmp_path / "here" / "results.json").read_text()) == report
    assert CompressConfig.load(tmp_path / "here" / "compress_config.yml").num_compress == 50
    assert json.loads(run("info", file, "--json")[1])["num_images"] == 50
    assert json.loads(run("verify", file, "--model", trained, "--json", "--quiet")[1])["decoded"]


def test_same_seed_compresses_the_same_images_into_the_same_bytes(run, trained, tmp_path):
    files = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        options = ["--train_config", trained, "--seed", seed, "--num_compress", 20, "-o", tmp_path / name]
        assert run("compress", *options)[0] == 0
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1] != files[2]


def test_progress_goes_to_stderr_and_quiet_silences_it(run, trained, source, tmp_path):
    options = ["compress", source, "-f", "-o", tmp_path / "x.mcb", "--model", trained]
    _, out, err = run(*options)
    assert re.search(r"compress: finished .*net .*message ", err)
    assert "\x1b" not in err
    assert "\x1b" not in out
    _, quiet_out, quiet_err = run(*options, "--quiet")
    assert quiet_err == "" and "bits/dim" in quiet_out


def test_grey_is_binarised_only_when_the_command_line_asks(run, fails, trained, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
    np.save(tmp_path / "grey.npy", grey)
    (tmp_path / "c.yml").write_text("binarize: true\n")
    options = ["compress", tmp_path / "grey.npy", "-o", tmp_path / "x.mcb", "--model", trained]
    for more in ([], ["--config", tmp_path / "c.yml"], ["--binarize", "false"]):
        assert "--binarize" in fails(*options, *more)
        assert not (tmp_path / "x.mcb").exists()
    code, _, err = run(*options, "--binarize")
    assert code == 0 and "binarised with seed 42" in err
    run("decompress", tmp_path / "x.mcb", "-o", tmp_path / "y.npy", "--model", trained)
    restored = np.load(tmp_path / "y.npy")
    assert restored.max() == 1
    assert (restored[grey == 0] == 0).all()
    assert (restored[grey == 255] == 1).all()


def test_binary_input_is_kept_as_it_is_under_binarize(run, trained, source, images, tmp_path):
    assert run("compress", source, "-o", tmp_path / "x.mcb", "--model", trained, "--binarize")[0] == 0
    assert run("decompress", tmp_path / "x.mcb", "-o", tmp_path / "y.npy", "--model", trained)[0] == 0
    assert np.array_equal(np.load(tmp_path / "y.npy"), images)


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["trian"], "train"),
        (["compress", "--num_particle", "3"], "--num_particles"),
        (["train", "--num-particle", "3"], "--num_particles"),
        (["train", "--lr", "fast"], "'fast'"),
        (["train", "--dataset", "mnits"], "MNIST"),
        (["train", "--bound", "iwea"], "iwae"),
        (["train", "--config", "none.yml"], "none.yml does not exist"),
        (["compress"], "give INPUT"),
        (["compress", "--model", "nowhere"], "--train_config"),
        (["compress", "/", "--model", "nowhere"], "-o"),
        (["compress", "x.npy", "-o", "x.mcb", "--model", "nowhere"], "nowhere"),
        (["compress", "--coder", "bb-iss", "--model", "nowhere"], "bb-is"),
        (["compress", "--coder", "bb-elbo", "--num_particles", "3", "--model", "nowhere"], "num_particles"),
        (["compress", "--coder", "bb-elbo", "--num_particles", "3"], "bb-elbo has no num_particles"),
        (["train", "--exp_name", "../../x"], "logdir"),
        (["evaluate"], "--train_config"),
        (["decompress", "none.mcb", "-o", "x.npy"], "none.mcb"),
        (["decompress", GOLDEN / "simple-lanes1.mcb", "-o", "x.jpg"], "x.jpg"),
        (["info", "none.mcb"], "none.mcb"),
        (["verify", "."], "directory"),
        (["decompress", "none.mcb", "-o", "x.npy", "--max-size", "4 parsecs"], "'4 parsecs'"),
        (["compress", "x.npy", "-o", "x.mcb", "--no-verify", "--decode_check", "true"], "exclude"),
    ],
)
def test_bad_usage_is_one_line_that_says_what_to_do(arguments, expected, fails, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in fails(*arguments, *(["--quiet"] if arguments[0] in ("train", "compress", "evaluate") else []))
    assert list(tmp_path.iterdir()) == []


def test_bad_input_is_one_line_and_leaves_no_file(fails, trained, source, images, coded, tmp_path):
    before = set(tmp_path.iterdir())
    np.save(source, images[:, :7])
    bytes = coded.read_bytes()
    target = ["-o", tmp_path / "out.npy", "--quiet"]
    assert "(7, 8)" in fails("compress", source, "-o", tmp_path / "out.mcb", "--model", trained, "--quiet")
    assert "num_compress" in fails(
        "compress", source, "-o", tmp_path / "out.mcb", "--model", trained, "--num_compress", 3, "--quiet"
    )
    assert "--model" in fails("decompress", coded, *target)
    for i in range(0, len(bytes), 37):
        coded.write_bytes(bytes[:i] + bytes_flipped(bytes[i]) + bytes[i + 1 :])
        fails("decompress", coded, "--model", trained, *target)
        coded.write_bytes(bytes[:i])
        fails("decompress", coded, "--model", trained, *target)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["folder", "no/file", "fifo"])
def test_a_target_that_cannot_be_written_is_refused_before_any_work(fails, target, coded, source, trained, tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")
    before = set(tmp_path.rglob("*"))
    output = ["-o", tmp_path / target]
    assert "cannot write" in fails("compress", source, *output, "--model", "nowhere")
    assert "cannot write" in fails("decompress", "none.mcb", *output)
    assert set(tmp_path.rglob("*")) == before


def bytes_flipped(byte: int) -> bytes:
    return (byte ^ 16).to_bytes()


def test_wrong_model_is_refused(fails, run, coded, tmp_path):
    options = [
        "--dataset",
        "digits",
        "--gpu",
        -1,
        "--epochs",
        1,
        "--seed",
        7,
        "--latent_dim",
        4,
        "--logdir",
        tmp_path,
    ]
    assert run("train", *options, "--exp_name", "other", "--quiet")[0] == 0
    assert "model" in fails("decompress", coded, "-o", tmp_path / "y.npy", "--model", tmp_path / "other", "--quiet")
    assert not (tmp_path / "y.npy").exists()


def test_missing_dataset_says_where_to_put_the_files(fails, tmp_path, monkeypatch):
    import urllib3

    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(urllib3.HTTPConnectionPool, "urlopen", refuse)
    said = fails("train", "--dataset", "EMNIST", "--datadir", tmp_path, "--logdir", tmp_path, "--gpu", -1, "--quiet")
    assert "emnist-mnist-train-images-idx3-ubyte" in said and str(tmp_path) in said


def test_demo_restores_what_every_coder_wrote_in_another_process(run, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    monkeypatch.setattr("mcbits.cli.demo.EPOCHS", 3)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code, out, err = run("demo", "--json", "--quiet")
    assert (code, err) == (0, "")
    document = json.loads(out)
    rows = {row["coder"]: row for row in document["coders"]}
    assert list(rows) == ["simple", "stochastic", "bb-elbo", "bb-is", "bb-cis"]
    for row in rows.values():
        assert row["file"] == pytest.approx(8 * row["file_bytes"] / np.prod(document["images"]))
        assert row["net"] < row["message"] < row["file"] and row["net"] == pytest.approx(row["ideal"], abs=0.01)
    assert rows["bb-is"]["net"] < rows["bb-elbo"]["net"] < rows["stochastic"]["net"]
    assert {"gzip -9", "bz2 -9", "PNG", "WebP lossless"} <= {other["name"] for other in document["baselines"]}


def test_the_other_process_of_the_demo_imports_nothing_from_where_it_runs(trained, tmp_path, monkeypatch):
    from mcbits.cli.demo import _code

    run = shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "mcbits").mkdir()
    for name in ("token.py", "signal.py", "mcbits/__init__.py"):
        (tmp_path / name).write_text("raise RuntimeError('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert _code(CompressConfig.load(None, {"train_config": run, "num_compress": 5}))["coder"] == "bb-is"


def test_debug_shows_the_traceback(run):
    code, _, err = run("info", "none.mcb", "--debug")
    assert code == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("mcbits: error: ")


def test_interrupt_exits_130_without_a_traceback(tmp_path):
    pytest.importorskip("sklearn")
    options = [
        "--dataset",
        "digits",
        "--gpu",
        "-1",
        "--epochs",
        "100000",
        "--logdir",
        str(tmp_path),
        "--exp_name",
        "x",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mcbits", "train", *options],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    metrics = tmp_path / "x" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    kept = len(metrics.read_text().splitlines())
    assert f"keeps epochs 1 to {kept}, and the same command goes on" in err


def test_terminating_removes_the_draft_and_exits_143_without_a_traceback(trained, tmp_path):
    np.save(tmp_path / "many.npy", np.random.default_rng(0).integers(0, 2, (200_000, 8, 8), np.uint8))
    arguments = ["compress", "many.npy", "-o", "x.mcb", "--model", trained, "--num_particles", "50", "--ramp", "off"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "mcbits", *arguments], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mcbits-*/*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir()] == ["many.npy"]


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")])
def test_out_of_memory_is_one_line_that_says_what_to_lower(fails, error, monkeypatch):
    def exhausted(path):
        raise error

    monkeypatch.setattr("mcbits.archive.format.info", exhausted)
    said = fails("info", GOLDEN / "simple-lanes1.mcb")
    assert "out of memory" in said
    assert "num_particles" in said
    assert "bug" not in said


WITHOUT_TORCH = """
import sys
class Nothing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
from mcbits.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["demo", "train --dataset digits", "evaluate --train_config RUN", "info RUN"])
def test_without_torch_one_line_says_how_to_install_it(command, trained, tmp_path):
    unfrozen = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("codec*"))
    arguments = [str(unfrozen) if each == "RUN" else each for each in command.split()]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", WITHOUT_TORCH, *arguments]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode in (1, 2) and "needs torch, which is not installed: pip install torch" in done.stderr
    assert done.stderr.count("\n") == 1 and "bug" not in done.stderr


def test_what_a_file_claims_cannot_steer_the_terminal(run, coded, tmp_path):
    from dataclasses import replace

    from mcbits.archive.format import read_header

    with open(coded, "rb") as file:
        header, rest = read_header(file), file.read()
    for strange in ("\x1b[2J", "\ud800", "a\nb"):
        (tmp_path / "strange.mcb").write_bytes(replace(header, coder=strange).pack() + rest)
        for command in ("info", "verify", "decompress"):
            more = ["-o", tmp_path / "y.npy"] if command == "decompress" else []
            code, out, err = run(command, tmp_path / "strange.mcb", *more)
            assert all(each.isprintable() for each in (out + err).splitlines())
            assert command != "info" or (code, repr(strange)[1:-1] in out) == (0, True)


def test_what_a_terminal_cannot_show_is_escaped(coded):
    strange = coded.with_name("caf\u00e9\udcff.mcb")
    coded.rename(strange)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "mcbits", "verify", strange.name]
    done = subprocess.run(command, cwd=strange.parent, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and r"caf\xe9\udcff.mcb: every checksum" in done.stdout


def test_no_figure_of_a_table_is_cut_off_where_there_is_no_terminal(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    code, out, _ = run("toy", "--coder", "bb-elbo,bb-is", "--num_particles", "4", "--num_symbols", 200, "--quiet")
    assert code == 0 and "\u2026" not in out
    assert re.search(r"net - ideal .* net - entropy .* initial bits", out)


def test_no_verify_decodes_nothing_and_writes_the_same_bytes(run, fails, trained, source, coded, monkeypatch, tmp_path):
    monkeypatch.setattr("mcbits.archive.blocks.BlockCodec.decode", lambda *_: pytest.fail("it decoded"))
    for flag in (["--no-verify"], ["--no_verify"], ["--decode-check", "false"]):
        target = tmp_path / "unverified.mcb"
        assert run("compress", source, "-f", "-o", target, "--model", trained, "--quiet", *flag)[0] == 0
        assert target.read_bytes() == coded.read_bytes()


def test_more_bytes_of_images_than_max_size_are_refused(run, fails, trained, coded, images, tmp_path):
    target = tmp_path / "restored.npy"
    command = ["decompress", coded, "-o", target, "--model", trained, "--quiet", "--max-size"]
    assert str(images.nbytes) in fails(*command, images.nbytes - 1)
    assert not target.exists()
    for enough in (images.nbytes, "1K", "1KiB", "0.5 GB", "2g"):
        assert run(*command, enough)[0] == 0
        target.unlink()


def test_a_second_job_of_a_name_takes_the_bar_of_the_first():
    bars = Bars()
    try:
        for total in (9, 7):
            bars.mcbits_started("compress", total)
            bars.mcbits_advanced("compress", 3, {"net": 0.5})
            (task,) = bars._progress.tasks
            assert (task.total, task.completed, task.finished) == (total, 3, False)
            bars.mcbits_finished("compress", {})
    finally:
        bars.close()


def test_what_jobs_say_is_shown_as_it_is(capfd):
    bars = Bars()
    try:
        bars.mcbits_started("[red]a[/] [/b]", 9)
        bars.mcbits_advanced("[red]a[/] [/b]", 3, {"[/net]": 0.5})
        bars.mcbits_notice('pip install "mcbits[baselines]" :smile: [/]')
    finally:
        bars.close()
    err = capfd.readouterr().err
    for text in ("[red]a[/] [/b]", "[/net] 0.5", '"mcbits[baselines]" :smile: [/]'):
        assert text in err


def test_help_shows_brackets_of_options_as_they_are(run, monkeypatch):
    from mcbits.cli import options

    option = Option(int, 1, 'needs "mcbits[baselines]" [/x]')
    monkeypatch.setattr(options, "all_coder_options", lambda: [(find_coder("simple"), {"odd": option})])
    monkeypatch.delitem(sys.modules, "mcbits.cli.evaluate", raising=False)  # its options are made on import
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = run("evaluate", "--help")
    assert (code, err) == (0, "")
    assert '"mcbits[baselines]" [/x]' in out


@pytest.mark.parametrize("flags", [(), ("-f",), ("--force",), ("-n",)])
def test_compress_replaces_nothing_but_mcb_files_even_when_forced(flags, fails, trained, source, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes((trained / "codec.safetensors").read_bytes())
    for target in (model, source):
        before = target.read_bytes()
        assert "no .mcb file" in fails("compress", source, "-o", target, "--model", model, *flags)
        assert target.read_bytes() == before


def test_an_mcb_file_is_replaced_only_when_forced(run, fails, trained, source, coded):
    again = ("compress", source, "-o", coded, "--model", trained, "--coder", "bb-elbo")
    before = coded.read_bytes()
    assert "--force" in fails(*again)
    assert "--force" in fails(*again, "-f", "-n")
    assert coded.read_bytes() == before
    assert run(*again, "-f")[0] == 0
    assert coded.read_bytes() != before


def test_decompress_replaces_no_file(fails, trained, coded, source):
    before = source.read_bytes()
    assert "choose another name" in fails("decompress", coded, "-o", source, "--model", trained)
    assert source.read_bytes() == before


def test_info_and_verify_take_several_files_and_show_all_that_are_whole(run, tmp_path):
    golden = Path(__file__).parent / "golden"
    whole, damaged = golden / "bb-is-lanes1.mcb", tmp_path / "damaged.mcb"
    damaged.write_bytes(whole.read_bytes()[:-1])
    for command in ("info", "verify"):
        code, out, err = run(command, damaged, whole)
        assert code == 1 and str(whole) in out and "1 of 2 files" in err and str(damaged) in err
        code, out, err = run(command, whole, damaged, "--json")
        first, second = json.loads(out)
        assert code == 1 and first["path"] == str(whole) and second.keys() == {"path", "error"}
        assert isinstance(json.loads(run(command, whole, "--json")[1]), dict)


def test_info_of_a_model_says_what_it_codes(run):
    model = Path(__file__).parent / "golden" / "model.safetensors"
    code, out, _ = run("info", model)
    assert code == 0 and "8 x 8, symbols 0 to 1" in out and f"{model.stat().st_size:,} bytes" in out
    assert json.loads(run("info", model, "--json")[1])["latent_dim"] == 6
    assert max(map(len, out.splitlines()[1:])) < 80


def test_habits_of_other_tools_work(run):
    assert run("-h")[:2] == run("--help")[:2] == run("help")[:2]
    assert run("info", "-h")[1] == run("help", "info")[1] == run("info", "--help")[1]
    assert run("-V")[1] == run("--version")[1]
    assert run("help", "no-command")[0] == 2
    assert "<bool>" not in run("compress", "--help")[1]


def test_a_tilde_after_an_equals_sign_is_the_home_directory(run, trained, source, coded, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").symlink_to(trained)
    assert run("decompress", coded, "--model=~/run", "--output=~/restored.npy")[0] == 0
    assert (tmp_path / "restored.npy").exists() and not (tmp_path / "~").exists()


def test_an_error_is_json_where_json_is_asked_for(run):
    code, out, err = run("info", "none.mcb", "--json")
    assert code == 1 and "none.mcb" in json.loads(out)["error"] and json.loads(out)["error"] in err


@pytest.mark.parametrize("name", ["scans.npy", "scans.idx.gz", "scans.npz"])
def test_a_file_is_compressed_beside_itself_by_default(run, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    model = Path(__file__).parent / "golden" / "model.safetensors"
    images = binary_images(5, (8, 8))
    write_images(tmp_path / name, images)
    assert run("compress", name, "--model", model)[0] == 0
    assert np.array_equal(mcbits.decompress((tmp_path / "scans.mcb").read_bytes(), mcbits.load_model(model)), images)
    (tmp_path / "pictures").mkdir()
    write_images(f"{tmp_path}/pictures/day.one/", images)
    assert run("compress", "pictures/day.one/", "--model", model)[0] == 0
    assert (tmp_path / "pictures" / "day.one.mcb").exists()
    code, _, err = run("compress", name, "--model", model)
    assert code == 1 and "scans.mcb exists" in err
    assert run("compress", "/", "--model", model)[0] == 2
