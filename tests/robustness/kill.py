"""Killed with -9 at any moment, a job leaves its results whole or not at all, and run again it ends in the same ones.

    python tests/robustness/kill.py [compress] [train] [reproduce] [--kills N] [--seed S]

Each job is run once to its end, and then N times: killed at a random moment, looked at, run again to its end, compared.
A process is forked for each run, so that moments fall into the work and not into the imports before it. Exit code 1
where something differs.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch
import yaml

from mcbits.archive.jobs import verify
from mcbits.cli import COMMANDS, command_of
from mcbits.cli import main as command_line
from mcbits.config import TrainConfig
from mcbits.datasets.digits import Digits
from mcbits.latents.vae import FrozenVAE
from mcbits.training.checkpoint import read_tensors

TABLE: dict[str, Any] = {
    "title": "Digits",
    "dataset": "digits",
    "model": "{split}-{num}",
    "num_compress": 40,
    "columns": [["a", "a"]],
    "rows": [
        {"label": "BB-ELBO", "coder": "bb-elbo", "checkpoint": 1},
        {"label": "BB-IS (8)", "coder": "bb-is", "options": {"num_particles": 8}, "checkpoint": 1},
        {"label": "BB-CIS (8)", "coder": "bb-cis", "options": {"num_particles": 8}, "checkpoint": 1},
    ],
}
TRAIN = ["--dataset", "digits", "--gpu", "-1", "--latent_dim", "4", "--num_particles", "2", "--quiet"]
SECONDS = {"encode_seconds", "decode_seconds"}


@dataclass(frozen=True)
class Job:
    """A command line to be run in a folder of its own; `check` raises unless each file there is whole; `results` are
    the bytes, by name, that an uninterrupted run and an interrupted one have in common."""

    arguments: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    results: Callable[[Path], dict[str, bytes]]


def jobs(inputs: Path) -> dict[str, Job]:
    """The jobs by name, reading what `prepare` wrote into `inputs`."""
    model = FrozenVAE(inputs / "a-1" / "codec.safetensors")

    def compressed(folder: Path) -> None:
        for file in _visible(folder, "*.mcb"):
            verify(file, model)

    def trained(folder: Path) -> None:
        for file in folder.glob("run/*.safetensors"):
            FrozenVAE(file) if file.name == "codec.safetensors" else read_tensors(file)
        for file in folder.glob("run/*.yml"):
            TrainConfig.load(file)

    def tabulated(folder: Path) -> None:
        compressed(folder)
        for file in _visible(folder, "*.json"):
            json.loads(file.read_text())
        for file in _visible(folder, "*.csv"):
            assert len(file.read_text().splitlines()) == 1 + len(TABLE["rows"])

    source, table = str(inputs / "images.npy"), str(inputs / "digits.yml")
    coder = ["--coder", "bb-is", "--num_particles", "8", "--lanes", "4"]
    return {
        "compress": Job(
            lambda out: ["compress", source, "-o", f"{out}/x.mcb", "--model", str(inputs / "a-1"), *coder, "--quiet"],
            compressed,
            lambda out: {"x.mcb": (out / "x.mcb").read_bytes()},
        ),
        "train": Job(
            lambda out: ["train", *TRAIN, "--epochs", "3", "--logdir", str(out), "--exp_name", "run"],
            trained,
            lambda out: {p.name: p.read_bytes() for p in out.glob("run/[!.]*") if p.suffix != ".yml"},
        ),
        "reproduce": Job(
            lambda out: ["reproduce", table, "--checkpoints", str(inputs), "-o", str(out), "--quiet"],
            tabulated,
            lambda out: {p.name: _but_for_time(p) for p in _visible(out, "*") if p.suffix in (".mcb", ".json")},
        ),
    }


def _visible(folder: Path, pattern: str) -> list[Path]:
    """Its files that have their name: drafts lie in hidden folders or under hidden names."""
    found = [each for each in folder.rglob(pattern) if each.is_file()]
    return [each for each in found if not any(part.startswith(".") for part in each.relative_to(folder).parts)]


def _but_for_time(path: Path) -> bytes:
    if path.suffix == ".mcb":
        return path.read_bytes()
    document = json.loads(path.read_text(), object_hook=lambda d: {k: v for k, v in d.items() if k not in SECONDS})
    return json.dumps(document, sort_keys=True).encode()


def prepare(inputs: Path) -> None:
    """The images, the model and the table that the jobs read."""
    digits = Digits.load()
    np.save(inputs / "images.npy", (digits.train[:400] > digits.levels // 2).astype(np.uint8))
    (inputs / "digits.yml").write_text(yaml.safe_dump(TABLE))
    assert run(["train", *TRAIN, "--epochs", "1", "--logdir", str(inputs), "--exp_name", "a-1"]) == 0


def run(arguments: list[str], seconds: float | None = None) -> int:
    """A command line's exit code in a process of its own, or minus the signal where it was killed after `seconds`."""
    child = os.fork()
    if child == 0:
        with redirect_stdout(io.StringIO()):
            try:
                command_line(arguments)
            except SystemExit as exit:
                os._exit(exit.code if isinstance(exit.code, int) else 1)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def series(name: str, job: Job, kills: int, rng: random.Random, scratch: Path) -> list[str]:
    """What went wrong in `kills` kills of a job, one line each."""
    whole = scratch / "whole"
    whole.mkdir()
    begin = time.monotonic()
    assert run(job.arguments(whole)) == 0
    duration = time.monotonic() - begin
    expected, wrong, killed, attempts, found = job.results(whole), [], 0, 0, 0
    while killed < kills:
        folder = scratch / f"{name}-{attempts}"
        folder.mkdir()
        moment = rng.uniform(0, 1.5 * duration)  # on a busy machine some runs take longer
        attempts += 1
        code = run(job.arguments(folder), moment)
        if code == -signal.SIGKILL:  # else it had ended before the moment came
            killed += 1
            try:
                job.check(folder)
                found += bool(_visible(folder, "*"))
                assert run(job.arguments(folder)) == 0, "run again, it fails"
                job.check(folder)
                differing = [k for k in expected if expected[k] != job.results(folder).get(k)]
                assert not differing, f"run again, {differing} differ"
                assert expected.keys() == job.results(folder).keys(), "run again, it leaves other files"
            except Exception as error:
                wrong.append(f"{name}, killed after {moment:.3f} s: {type(error).__name__}: {error}")
                print(wrong[-1], flush=True)
        shutil.rmtree(folder)
    digest = sha256(b"".join(expected[k] for k in sorted(expected))).hexdigest()[:16]
    print(
        f"{name}: {killed} kills within {duration:.2f} s ({attempts - killed} came too late, {found} left a file), "
        f"{len(wrong)} wrong; all others ended in {digest}",
        flush=True,
    )
    return wrong


def main() -> int:
    """Run the series that are asked for."""
    parser = argparse.ArgumentParser(description="kill jobs and run them again")
    parser.add_argument("jobs", nargs="*", help="compress, train, reproduce; by default all of them")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for command in COMMANDS:
        command_of(command)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for name, job in jobs(Path(folder)).items():
            if name in arguments.jobs or not arguments.jobs:
                scratch = Path(folder, name)
                scratch.mkdir()
                wrong += series(name, job, arguments.kills, random.Random(f"{arguments.seed} {name}"), scratch)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
