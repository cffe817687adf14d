"""A run ends in the same bits however often it was killed, keeps its best weights, refuses what spoils it."""

import errno
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import Notices

import mcbits
from mcbits import load_model
from mcbits.bounds.iwae import IWAE
from mcbits.config import TrainConfig
from mcbits.datasets.base import Dataset
from mcbits.datasets.binarize import binarize
from mcbits.datasets.digits import Digits
from mcbits.errors import DataError, FreezeError, McbitsError, ModelError, UsageError
from mcbits.models.base import ImageSet
from mcbits.models.binary_vae import BinaryVAE
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import registry
from mcbits.training import loop as training
from mcbits.training.checkpoint import dump_tensors, load_float, read_tensors
from mcbits.training.evaluation import ideal_rates
from mcbits.training.loop import learning_rate, train

RESULTS = (
    *("model.safetensors", "metrics.jsonl", "resume.safetensors", "resume.previous.safetensors"),
    "codec.safetensors",
)


def config(logdir: Path, **changes: Any) -> TrainConfig:
    options = {"dataset": "digits", "gpu": -1, "epochs": 3, "batch_size": 100, "latent_dim": 4}
    return TrainConfig(**{"logdir": logdir, "exp_name": "run", **options, "num_particles": 2, **changes})


def results(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in RESULTS if (run / name).exists()}


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of three epochs; tests only read it."""
    return train(config(tmp_path_factory.mktemp("finished")))


class GELUVAE(BinaryVAE):
    name = "GELUVAE"

    def __init__(self, shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.decoder = torch.nn.Sequential(torch.nn.GELU(), self.decoder)


class GELUPlugin:
    @hookimpl
    def mcbits_models(self) -> list[type]:
        return [GELUVAE]


def test_a_model_that_cannot_be_frozen_is_refused_before_it_is_trained(tmp_path: Path) -> None:
    with registry().listening(GELUPlugin()), pytest.raises(FreezeError, match="GELU"):
        train(config(tmp_path, model="GELUVAE"))
    assert not (tmp_path / "run").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", range(1, 13))
def test_a_run_stopped_before_any_file_is_renamed_ends_in_the_same_bits(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    calls = 0
    replace = os.replace

    def killing_replace(source: Path, target: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killing_replace)
        with pytest.raises(Killed):
            train(config(tmp_path))
            raise Killed  # fewer renames than moments
    assert results(train(config(tmp_path))) == results(finished)


def test_a_run_killed_within_an_epoch_ends_in_the_same_bits(tmp_path: Path, finished: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from mcbits.training import loop as training
from mcbits.config import TrainConfig
from mcbits.models.base import ImageSet
step = 0
def dying_batches(*arguments, batches=ImageSet.batches):
    global step
    for x in batches(*arguments):
        step += 1
        if step == 25:
            os.kill(os.getpid(), signal.SIGKILL)
        yield x
ImageSet.batches = dying_batches
training.train(TrainConfig.load(Path(sys.argv[1])))
"""
    (tmp_path / "config.yml").write_text(config(tmp_path).to_yaml())
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "config.yml")], timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert len(metrics(tmp_path / "run")) == 1
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 2, "lo')
    assert results(train(config(tmp_path))) == results(finished)


def test_a_longer_run_continues_a_shorter_one_to_the_same_bits(tmp_path: Path, finished: Path) -> None:
    train(config(tmp_path, epochs=1))
    run = train(config(tmp_path, epochs=3))
    assert results(run) == results(finished)
    assert results(train(config(tmp_path, epochs=3))) == results(finished)


def test_what_is_frozen_never_stands_beside_newer_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(config(tmp_path, epochs=1))
    frozen = load_float(run).freeze().model_id

    def killed(state: Any) -> None:
        raise Killed

    monkeypatch.setattr(training._State, "save", killed)
    with pytest.raises(Killed):
        train(config(tmp_path))
    newer = load_float(run).freeze().model_id
    assert load_model(run).model_id == newer != frozen


@pytest.mark.parametrize("name", ["train_config.yml", "model.safetensors", "metrics.jsonl", "resume.safetensors"])
def test_a_full_disk_is_one_line_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        written = [path for path in (tmp_path / "run").rglob("*") if name in path.name]
        if any(os.path.samestat(os.fstat(descriptor), path.stat()) for path in written):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=rf"cannot write .*/{name}: No space left on device"):
        train(config(tmp_path, epochs=1))


def test_a_file_system_without_locks_is_trained_on_with_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unable)
    monkeypatch.setattr(os, "fsync", unable)
    with registry().listening(notices := Notices()):
        train(config(tmp_path, epochs=1))
    assert any("lock cannot be locked" in notice for notice in notices.heard)


def test_a_lock_that_fails_is_one_line_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", failing)
    with pytest.raises(DataError, match="cannot lock .*run/lock"):
        train(config(tmp_path, epochs=1))


def test_a_run_from_before_a_key_existed_goes_on(tmp_path: Path) -> None:
    run = train(config(tmp_path, epochs=1))
    tensors, meta = read_tensors(run / "resume.safetensors")
    del meta["config"]["kl_warmup"]
    (run / "resume.safetensors").write_bytes(dump_tensors(tensors, meta))
    with registry().listening(notices := Notices()):
        assert train(config(tmp_path)) == run
    assert notices.heard == [f"{run} goes on after epoch 1 of 3"]
    with pytest.raises(UsageError, match="was trained with kl_warmup 0.0, not 0.5"):
        train(config(tmp_path, kl_warmup=0.5))


def test_interrupting_leaves_the_last_epoch_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = ImageSet.batches

    def interrupted(*arguments: Any) -> Iterator[torch.Tensor]:
        yield from batches(*arguments)
        raise KeyboardInterrupt

    run = train(config(tmp_path, epochs=1))
    before = results(run)
    monkeypatch.setattr(ImageSet, "batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config(tmp_path))
    assert results(run) == before


def test_best_weights_are_those_of_the_best_test_loss(finished: Path) -> None:
    digits = Digits.load()
    test = torch.tensor(binarize(digits.test, digits.levels, 42))
    rate = ideal_rates(load_float(finished), test, IWAE(), 2, seed=42)[0].mean()
    assert rate == min(line["test"] for line in metrics(finished))


def test_training_improves_the_rate_and_writes_a_line_per_epoch(finished: Path) -> None:
    lines = metrics(finished)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert lines[-1]["test"] < lines[0]["test"] and lines[-1]["loss"] < lines[0]["loss"]
    loss_in_bits_per_dim = lines[-1]["loss"] / math.log(2) / 64
    assert abs(loss_in_bits_per_dim - lines[-1]["test"]) < 0.1


def test_config_in_the_run_directory_reads_back(tmp_path: Path) -> None:
    run = train(config(tmp_path, epochs=1))
    assert TrainConfig.load(run / "train_config.yml") == config(tmp_path, epochs=1)


@pytest.mark.parametrize(
    "change",
    [{"lr": 2e-3}, {"bound": "elbo"}, {"latent_dim": 5}, {"seed": 1}, {"binarize": False}, {"compile": True}],
)
def test_a_run_is_not_continued_with_another_config(tmp_path: Path, change: dict[str, Any]) -> None:
    run = train(config(tmp_path, epochs=1))
    before = results(run) | {"config": (run / "train_config.yml").read_bytes()}
    with pytest.raises((UsageError, DataError), match=next(iter(change))):
        train(config(tmp_path, **change))
    assert results(run) | {"config": (run / "train_config.yml").read_bytes()} == before


def test_a_run_is_not_continued_with_other_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train(config(tmp_path, epochs=1))
    before = results(run)
    data = Digits.load(tmp_path, "")
    test = data.test.copy()
    test[-1] = 16 - test[-1]
    monkeypatch.setattr(Digits, "load", lambda *_, **__: replace(data, test=test))
    with pytest.raises(UsageError, match="other data"):
        train(config(tmp_path))
    assert results(run) == before


def test_the_checksum_of_a_dataset_sees_every_change() -> None:
    images = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    base = Dataset(images, images, 255)
    others = [
        *(Dataset(images.reshape(2, 4, 3), images, 255), Dataset(images, images[:1], 255)),
        *(Dataset(images, images, 16), Dataset(images, images, 255, images), Dataset(list(images), images, 255)),
        *(Dataset(images.astype(np.uint8), images, 255), Dataset(images + 1, images, 255)),
    ]
    assert len({each.checksum() for each in [base, *others]}) == 8
    swapped, strided = images.astype(">u2"), np.ascontiguousarray(images.T).T
    assert Dataset(swapped, strided, 255).checksum() == base.checksum()


@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_that_fell_back_to_the_cpu_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    run = train(config(tmp_path, epochs=1, gpu=0))
    if earlier:
        tensors, meta = read_tensors(run / "resume.safetensors")
        del meta["data"]
        meta["config"]["gpu"] = 0
        (run / "resume.safetensors").write_bytes(dump_tensors(tensors, meta))
    train(config(tmp_path, epochs=2, gpu=-1))
    train(config(tmp_path, epochs=3, gpu=0))
    assert len(metrics(run)) == 3


def test_a_run_does_not_shrink(tmp_path: Path) -> None:
    train(config(tmp_path, epochs=2))
    with pytest.raises(UsageError, match="epochs"):
        train(config(tmp_path, epochs=1))


def test_a_second_training_in_one_run_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / "lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another training"):
            train(config(tmp_path))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock"]


def damage(state: Path, how: str) -> None:
    if how == "lost":
        state.unlink()
    elif how == "truncated":
        state.write_bytes(state.read_bytes()[:1000])
    else:
        data = bytearray(state.read_bytes())
        data[-1000] ^= 1
        state.write_bytes(data)


@pytest.mark.parametrize("how", ["truncated", "one bit flipped"])
def test_damaged_state_is_one_line_of_error_where_it_is_the_only_one(tmp_path: Path, how: str) -> None:
    run = train(config(tmp_path, epochs=1))
    damage(run / "resume.safetensors", how)
    with pytest.raises(ModelError, match="resume.safetensors"):
        train(config(tmp_path))


@pytest.mark.parametrize("how", ["lost", "truncated", "one bit flipped"])
def test_a_run_with_a_damaged_state_goes_on_from_the_one_before(tmp_path: Path, finished: Path, how: str) -> None:
    said = []

    class Listener:
        @hookimpl
        def mcbits_notice(self, message: str) -> None:
            said.append(message)

    run = train(config(tmp_path, epochs=2))
    damage(run / "resume.safetensors", how)
    with registry().listening(Listener()):
        train(config(tmp_path))
    assert results(run) == results(finished)
    assert any("going on from the epoch before" in message for message in said)


def test_diverging_loss_stops_the_run_and_keeps_what_it_had(tmp_path: Path) -> None:
    with pytest.raises(McbitsError, match="smaller lr"):
        train(config(tmp_path, lr=1e30))
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_grey_data_is_refused_unless_binarised_and_nothing_is_left_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="binarize true"):
        train(config(tmp_path, binarize=False))
    with pytest.raises(McbitsError):
        train(config(tmp_path, dataset="EMNIST", datadir=tmp_path / "none", split="nonesuch"))
    assert list(tmp_path.iterdir()) == []


def test_black_and_padding_are_no_symbols_of_a_binary_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.zeros((4, 8, 8), np.uint8)
    images[:, 2:5] = 255
    monkeypatch.setattr(Digits, "load", lambda datadir, split, download=True: Dataset(images, images, 255))
    with pytest.raises(DataError, match="binarize true"):
        train(config(tmp_path, binarize=False))


def test_training_leaves_the_callers_random_state_and_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []
    batches = ImageSet.batches

    def watched(*arguments: Any) -> Iterator[torch.Tensor]:
        used.append(torch.get_num_threads())
        yield from batches(*arguments)

    monkeypatch.setattr(ImageSet, "batches", watched)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        train(config(tmp_path, epochs=1))
        assert torch.equal(torch.get_rng_state(), before)
        assert (used, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(threads)


def test_no_subnormal_number_slows_the_optimiser_and_the_caller_keeps_them(tmp_path: Path) -> None:
    run = train(config(tmp_path, epochs=1, batch_size=1))  # over 1,000 steps: 0.9^1000 is subnormal
    tensors, _ = read_tensors(run / "resume.safetensors")
    mean = torch.cat([tensor.flatten() for name, tensor in tensors.items() if name.startswith("adam.exp_avg.")])
    assert (mean == 0).any() and not ((mean != 0) & (mean.abs() < torch.finfo(mean.dtype).smallest_normal)).any()
    assert torch.tensor(2.0**-127) != 0


@pytest.fixture
def traced_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile without code generation, for which no compiler is needed: the same operations in the same order."""

    def traced(function: Any, *, dynamic: bool, mode: str, compile: Any = torch.compile) -> Any:
        return compile(function, dynamic=dynamic, backend="eager")

    monkeypatch.setattr(torch, "compile", traced)


def test_what_is_compiled_is_the_same_step(tmp_path: Path, finished: Path, traced_only: None) -> None:
    run = train(config(tmp_path, compile=True))
    for name in ("model.safetensors", "metrics.jsonl", "codec.safetensors"):
        assert (run / name).read_bytes() == (finished / name).read_bytes()


def test_a_step_of_too_many_shapes_to_compile_is_one_line_of_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traced_only: None
) -> None:
    monkeypatch.setattr(ImageSet, "batches", lambda *arguments: (torch.zeros(n, 64) for n in range(1, 100)))
    with pytest.raises(UsageError, match="set compile false"):
        train(config(tmp_path, compile=True))


@pytest.mark.slow
def test_compiling_without_a_compiler_is_one_line_of_error(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "mcbits", "train", "--dataset", "digits", "--gpu", "-1", "--compile", "true"]
    command += ["--logdir", str(tmp_path), "--exp_name", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == UsageError.exit_code and done.stderr.count("\n") == 1
    assert "cannot be compiled" in done.stderr and "set compile false" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="needs a C++ compiler")
def test_a_compiled_run_continued_by_another_process_ends_in_the_same_bits(tmp_path: Path) -> None:
    options = {"compile": True, "batch_size": 99}  # the last batch is smaller
    code = """
import sys
from pathlib import Path
from mcbits.config import TrainConfig
from mcbits.training.loop import train
train(TrainConfig.load(Path(sys.argv[1])))
"""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for process, (logdir, epochs) in enumerate([(whole, 3), (stopped, 1), (stopped, 3)]):
        (tmp_path / "config.yml").write_text(config(logdir, epochs=epochs, **options).to_yaml())
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / f"cache{process}")}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "config.yml")], env=environment, check=True)
    assert results(whole / "run") == results(stopped / "run")


def test_listeners_hear_of_every_epoch_and_of_a_missing_gpu(tmp_path: Path) -> None:
    calls: list[tuple] = []

    class Listener:
        @hookimpl
        def mcbits_started(self, job: str, total: int) -> None:
            calls.append(("started", job, total))

        @hookimpl
        def mcbits_advanced(self, job: str, done: int, metrics: dict[str, float]) -> None:
            if "test" in metrics:
                calls.append(("advanced", job, done))

        @hookimpl
        def mcbits_finished(self, job: str, metrics: dict[str, float]) -> None:
            calls.append(("finished", job, metrics["epoch"]))

        @hookimpl
        def mcbits_notice(self, message: str) -> None:
            calls.append(("notice",))

    with registry().listening(Listener()):
        train(config(tmp_path, epochs=2, gpu=torch.cuda.device_count()))
    n = len(Digits.load().train)
    assert calls == [
        ("notice",),
        ("started", "train", 2 * n),
        ("advanced", "train", n),
        ("advanced", "train", 2 * n),
        ("finished", "train", 2),
    ]


def test_batches_binarise_anew_with_the_greys_probabilities() -> None:
    grey = torch.tensor([0, 4, 8, 16], dtype=torch.uint8).repeat(5000, 1)
    torch.manual_seed(0)
    first, second = (torch.cat([x.clone() for x in ImageSet(grey, 16).batches(512)]) for _ in range(2))
    assert first.dtype == torch.float32 and set(first.unique().tolist()) == {0, 1}
    np.testing.assert_allclose(first.mean(0), [0, 0.25, 0.5, 1], atol=5 * 0.5 / 5000**0.5)
    assert (first[:, 0] == 0).all() and (first[:, 3] == 1).all()
    assert not torch.equal(first, second)


def test_an_epoch_sees_every_image_once_in_a_new_order() -> None:
    images = torch.arange(250, dtype=torch.uint8)[:, None]
    epochs = [[int(value) for x in ImageSet(images, None).batches(64) for value in x] for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(250))
    assert epochs[0] != epochs[1]


def test_multi_step_schedule_is_burdas(tmp_path: Path) -> None:
    steps = config(tmp_path, scheduler="multi_step", lr=1e-3)
    rates = [learning_rate(steps, epoch) for epoch in range(1, 3281)]
    assert [rates.count(1e-3 * 10 ** (-i / 7)) for i in range(8)] == [3**i for i in range(8)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate(steps, 4000) == rates[-1]
    assert {learning_rate(config(tmp_path), epoch) for epoch in range(1, 3281)} == {1e-3}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_the_gpu_resumes(tmp_path: Path) -> None:
    train(config(tmp_path, gpu=0, epochs=1))
    assert len(metrics(train(config(tmp_path, gpu=0, epochs=3)))) == 3


def test_what_was_compressed_is_decoded_after_the_training_went_on(tmp_path: Path) -> None:
    run = train(config(tmp_path, epochs=1))
    digits = Digits.load()
    images = binarize(digits.test[:5], digits.levels, 0)
    blob = mcbits.compress(images, run, "bb-elbo")
    before = mcbits.load_model(run).model_id
    train(config(tmp_path, epochs=3))
    assert mcbits.load_model(run).model_id != before
    assert np.array_equal(mcbits.decompress(blob, run), images)
    assert np.array_equal(mcbits.decompress(blob, tmp_path), images)
    with pytest.raises(ModelError, match=before[:16]):
        mcbits.decompress(blob, run / "codec.safetensors")


def test_a_model_that_is_frozen_on_the_way_in_can_be_kept(tmp_path: Path) -> None:
    from mcbits.archive.models import model_file

    run = train(config(tmp_path, epochs=1))
    (run / "codec.safetensors").unlink()
    frozen = mcbits.load_model(run)
    kept = model_file(run, frozen)
    assert mcbits.load_model(kept).model_id == frozen.model_id
