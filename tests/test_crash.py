"""A job that is killed, or whose disk is full or closed to it, leaves no process, no half of a file and one line."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import corpus
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
MODEL = ["--model", str(corpus.MODELS["dense"])]


def command(*arguments, **options):
    process = [sys.executable, "-m", "mcbits", *map(str, arguments)]
    return subprocess.Popen(process, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def finish(process):
    """Wait for a command that must succeed, and close its pipes."""
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "images.npy", np.resize(corpus.images(), (20_000, 8, 8)))
    return tmp_path / "images.npy"


def children(pid):
    """Processes of one parent that are not yet dead."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_workers_end_with_the_process_that_they_work_for(source, tmp_path):
    coder = ["--coder", "bb-is", "--num_particles", 50, "--workers", 3]
    process = command("compress", source, "-o", tmp_path / "x.mcb", *MODEL, *coder)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".mcbits-*/x.mcb")) or len(started := children(process.pid)) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    while alive := [pid for pid in started if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline, f"processes {alive} wait for ever"
        time.sleep(0.05)
    assert not (tmp_path / "x.mcb").exists()


@pytest.mark.parametrize("job", ["compress", "decompress", "train"])
def test_a_full_disk_is_one_line_and_leaves_no_half_of_a_file(job, source, tmp_path):
    whole = tmp_path / "whole.mcb"
    simple = ["--coder", "simple", "--lanes", 500, "--no-verify", "--quiet"]
    arguments = {
        "compress": ["compress", source, "-o", tmp_path / "x.mcb", *MODEL, *simple],
        "decompress": ["decompress", whole, "-o", tmp_path / "x.npy", *MODEL, "--quiet"],
        "train": [*("train", "--dataset", "digits", "--gpu", "-1", "--epochs", "1", "--quiet"), "--logdir", tmp_path],
    }
    if job == "decompress":
        finish(command("compress", source, "-o", whole, *MODEL, *simple))
    if job == "train":
        pytest.importorskip("sklearn")
    before = {path for path in tmp_path.rglob("*") if path.is_file()}

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, 1 << 15))

    process = command(*arguments[job], preexec_fn=small_disk)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert err.startswith(b"mcbits: error: cannot write ") and err.count(b"\n") == 1
    left = {path.name for path in tmp_path.rglob("*") if path.is_file() and path not in before}
    assert left <= {"lock", "train_config.yml", "metrics.jsonl"}  # what a training wrote before the disk was full


@pytest.mark.parametrize("job", ["compress", "decompress"])
def test_ctrl_c_ends_a_job_of_many_workers_with_130_and_leaves_nothing(job, source, tmp_path):
    whole = tmp_path / "whole.mcb"
    if job == "decompress":
        finish(command("compress", source, "-o", whole, *MODEL, "--lanes", 4, "--no-verify"))
    before = set(tmp_path.iterdir())
    arguments = {
        "compress": ["compress", source, "-o", tmp_path / "x.mcb", *MODEL, "--num_particles", 50, "--workers", 3],
        "decompress": ["decompress", whole, "-o", tmp_path / "x.npy", *MODEL, "--workers", 3],
    }
    process = command(*arguments[job], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(children(process.pid)) < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and b"Traceback" not in err
    assert set(tmp_path.iterdir()) == before
