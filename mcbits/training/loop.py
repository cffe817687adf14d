"""Training is a function of its config: killed at any point and resumed, it ends in the same bits on a CPU.

A run directory holds:
- `train_config.yml`;
- `model.safetensors`: the weights with the best test loss so far;
- `metrics.jsonl`: one line per epoch;
- `resume.safetensors`: everything that the next epoch depends on, and `resume.previous.safetensors`, the same file of
  the epoch before;
- `lock`;
- `codec.safetensors`: the frozen model, written at the end.
Files are replaced whole, so a reader never sees half a file. Only `metrics.jsonl` grows line by line.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mcbits.archive.models import CODEC, keep, load_id
from mcbits.bounds.base import find_bound
from mcbits.datasets.base import Dataset, Images, find_dataset
from mcbits.datasets.binarize import binarize
from mcbits.errors import DataError, McbitsError, ModelError, UsageError
from mcbits.exact.settings import own_settings
from mcbits.files import CANNOT, remove_drafts, sync_open, write, writing
from mcbits.latents.sequences import symbols
from mcbits.models.base import find_model
from mcbits.plugins.options import declared
from mcbits.plugins.registry import registry
from mcbits.training.checkpoint import dump_float, dump_tensors, load_float, read_tensors
from mcbits.training.evaluation import choose_device, ideal_rates

if TYPE_CHECKING:
    from mcbits.bounds.base import Bound
    from mcbits.config import TrainConfig
    from mcbits.models.base import Model, TrainingSet

# These keys say where the files are, how many workers there are and how long the run is. All other keys decide what
# the next epoch computes.
_MAY_DIFFER = {"epochs", "exp_name", "logdir", "datadir", "workers"}
_FILES = ("train_config.yml", "model.safetensors", "metrics.jsonl", "resume.safetensors", "codec.safetensors")
_SECONDS_BETWEEN_REPORTS = 0.25


def train(config: TrainConfig) -> Path:
    """Train, or resume, the run that a config describes, and return its run directory, logdir/exp_name.

    Progress goes to the listeners of job "train". `total` and `done` count images. The metrics are epoch, loss (nats
    per image: the negative of the training bound) and, after an epoch, lr and test (the ideal rate of that bound on
    the held-out images, in bits per unit).

    A run that stopped continues after the last epoch that it completed. Then `epochs` may be larger than before.
    KeyboardInterrupt is not caught; the state of the last epoch stays on disk.
    Raises UsageError if another key that matters or the data has changed, if another process is training in the
    directory, or if the step cannot be compiled; FreezeError, before anything is trained or written, if a layer has no
    exact form; DataError for missing or unsuitable data and for files that cannot be written; ModelError if the state
    of the run is damaged; UnknownNameError for unknown names; McbitsError if the loss diverges.
    """
    bound: Bound = find_bound(config.bound)()
    # A subclass of Model chooses its observation model itself.
    model_class: Callable[..., Model] = find_model(config.model)
    dataset = find_dataset(config.dataset).load(config.datadir, split=config.split)
    device = choose_device(config.gpu)
    run = Path(config.logdir) / config.exp_name
    with torch.random.fork_rng([device] if device.type == "cuda" else []), single_threaded(device.type):
        torch.manual_seed(config.seed)
        model = model_class(shape=_shape(dataset, config), latent_dim=config.latent_dim, **_options(dataset, config))
        _check_symbols(dataset, model, config)
        levels = dataset.levels if config.binarize else None
        held_out = dataset.test if dataset.valid is None else dataset.valid
        test = _binarized(held_out, dataset.levels, config.seed) if config.binarize else held_out
        images = dataset.train
        if not model.any_size:
            images, test = torch.tensor(images).flatten(1), torch.tensor(test).to(device)
        model.freeze()  # so that a layer without an exact form is refused now, not after the last epoch
        model.initialise_from_data(images, levels or 1)
        if config.kl_warmup:
            model.kl_weight = torch.ones((), device=device)

        run.mkdir(parents=True, exist_ok=True)
        with _locked(run):
            state = _State(run, config, model.to(device), dataset.checksum())
            write(run / "train_config.yml", config.to_yaml().encode())
            train_set = model.training_set(images, levels, device)
            tested = _tester(config, model, bound, test, device)
            with _loss(config, bound, state) as loss_of:
                _fit(config, state, loss_of, train_set, tested)
            frozen = load_float(run).freeze()
            if not (run / CODEC).exists() or load_id(run / CODEC) != frozen.model_id:
                keep(run)
                frozen.save(run / CODEC)
    return run


def learning_rate(config: TrainConfig, epoch: int, part: float = 0.0) -> float:
    """Return the learning rate of an epoch, counted from 1, of which `part` (0 to 1) is over.

    It is constant; or it is lr * 10^(-i/7) for 3^i epochs, i = 0..7, the schedule of Burda et al. 2016, which has 3,280
    epochs, and any later epoch keeps the last rate; or it falls to lr / 1000 over all epochs as a cosine does.
    """
    if config.scheduler == "constant":
        return config.lr
    if config.scheduler == "cosine":
        return config.lr * cosine((epoch - 1 + part) / config.epochs)
    i = 0
    while i < 7 and epoch > (3 ** (i + 1) - 1) // 2:
        i += 1
    return config.lr * 10 ** (-i / 7)


def cosine(over: float) -> float:
    """Return the share of a learning rate that is left when `over` (0 to 1) of a training is: from 1 to 0.001."""
    return 0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * over))


class _State:
    """The state of a run between two epochs: weights, optimiser, random states, epoch, best test loss."""

    def __init__(self, run: Path, config: TrainConfig, model: Model, data: str) -> None:
        self.run, self.data = run, data
        self.config = config.model_dump(mode="json", exclude=_MAY_DIFFER) | config.model_options
        self.defaults = {key: field.default for key, field in type(config).model_fields.items()}
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, eps=config.eps, fused=True)
        self.device = next(model.parameters()).device
        if self.device.type == "cpu":
            self.config["gpu"] = -1  # on the CPU for want of that GPU, as on the CPU by choice
        self.epoch = 0
        self.best = math.inf
        if self.path.exists() or self.previous.exists():
            self._load(config.epochs)

    @property
    def path(self) -> Path:
        return self.run / "resume.safetensors"

    @property
    def previous(self) -> Path:
        return self.run / "resume.previous.safetensors"

    def save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, tensor in self.optimizer.state[parameter].items():
                tensors[f"adam.{key}.{name}"] = tensor
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self.device)
        meta = {"epoch": self.epoch, "best": self.best, "config": self.config, "data": self.data}
        write(self.path, dump_tensors(tensors, meta), keep=self.previous)

    def _load(self, epochs: int) -> None:
        try:
            tensors, meta = read_tensors(self.path)
        except ModelError:
            if not self.previous.exists():
                raise
            registry().hook.mcbits_notice(message=f"{self.path} is lost or damaged: going on from the epoch before")
            tensors, meta = read_tensors(self.previous)
            os.replace(self.previous, self.path)  # else `save` would keep the damaged file as the previous one
        if "rng.cuda" not in tensors and "config" in meta:  # a run of an earlier version kept the number of no GPU
            meta["config"]["gpu"] = -1
        self._check_same_run(meta, epochs)
        names = [name for name, _ in self.model.named_parameters()]
        try:
            self.model.load_state_dict(_under(tensors, "model."))
            adam = {key: _under(tensors, f"adam.{key}.") for key in ("step", "exp_avg", "exp_avg_sq")}
            moments = {i: {key: adam[key][name] for key in adam} for i, name in enumerate(names)}
            groups = self.optimizer.state_dict()["param_groups"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
            torch.set_rng_state(tensors["rng.cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["rng.cuda"], self.device)
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"{self.path} is of another network or device: give another exp_name") from error
        self.epoch, self.best = meta["epoch"], meta["best"]
        registry().hook.mcbits_notice(message=f"{self.run} goes on after epoch {self.epoch} of {epochs}")

    def _check_same_run(self, meta: dict[str, Any], epochs: int) -> None:
        # A run of an earlier version lacks the keys that are new since, and did what their defaults say.
        new = self.defaults.keys() & self.config.keys() - meta["config"].keys()
        before, now = {key: self.defaults[key] for key in new} | meta["config"], self.config
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                raise UsageError(
                    f"{self.run} was trained with {key} {before.get(key)}, not {now.get(key)}: "
                    "continue with the same value or give another exp_name"
                )
        if meta.get("data", self.data) != self.data:  # runs of earlier versions kept no checksum
            raise UsageError(
                f"{self.run} was trained on other data than {now['dataset']} is now: "
                "continue with the same data or give another exp_name"
            )
        if epochs < meta["epoch"]:
            raise UsageError(
                f"{self.run} already has {meta['epoch']} epochs, more than epochs {epochs}: "
                "give as many or another exp_name"
            )


def _fit(
    config: TrainConfig,
    state: _State,
    loss_of: Callable[[Any], Tensor],
    images: TrainingSet,
    tested: Callable[[], float],
) -> None:
    hook = registry().hook
    metrics_path = state.run / "metrics.jsonl"
    _drop_metrics_after(state.epoch, metrics_path)
    hook.mcbits_started(job="train", total=config.epochs * len(images))
    metrics: dict[str, float] = {"epoch": state.epoch}
    while state.epoch < config.epochs:
        epoch = state.epoch + 1
        loss = _train_epoch(config, state, loss_of, images)
        metrics = {"epoch": epoch, "lr": learning_rate(config, epoch), "loss": loss, "test": tested()}
        if not (math.isfinite(loss) and math.isfinite(metrics["test"])):
            raise McbitsError(f"the loss is no longer finite in epoch {epoch}: give a smaller lr")
        # The state comes last: a kill before it repeats this epoch, to the same bits.
        if metrics["test"] < state.best:
            state.best = metrics["test"]
            # A frozen model must never stand as the newest beside newer weights.
            keep(state.run)
            write(state.run / "model.safetensors", dump_float(state.model))
        with writing(metrics_path), open(metrics_path, "a") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            sync_open(file.fileno())
        state.epoch = epoch
        state.save()
        hook.mcbits_advanced(job="train", done=epoch * len(images), metrics=metrics)
    hook.mcbits_finished(job="train", metrics={**metrics, "best": state.best})


@contextmanager
def _loss(config: TrainConfig, bound: Bound, state: _State) -> Iterator[Callable[[Any], Tensor]]:
    """Yield the function from a batch to its mean loss in nats, differentiable. Compile it if the config says so.

    Raises UsageError if it cannot be compiled.
    """

    def loss_of(batch: Any) -> Tensor:
        return state.model.loss(batch, bound, config.num_particles)

    if not config.compile:
        yield loss_of
        return
    from torch._dynamo import config as dynamo
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    torch.compiler.reset()  # else the shapes that an earlier run compiled count towards the limit
    mode = "reduce-overhead" if state.device.type == "cuda" else "default"  # the former means CUDA graphs
    try:
        # Each shape is compiled on its own, and no shape may stay uncompiled because of the limit. Otherwise the bits
        # would depend on which shapes came first after the run was resumed.
        with dynamo.patch(fail_on_recompile_limit_hit=True):
            yield torch.compile(loss_of, dynamic=False, mode=mode)
    except FailOnRecompileLimitHit as error:
        raise UsageError(f"{config.model} has steps of too many shapes to compile: set compile false") from error
    except TorchDynamoException as error:
        reason = str(error).strip().partition("\n")[0]
        hint = "set compile false, or install what torch.compile needs (a C++ compiler; on CUDA Triton)"
        raise UsageError(f"the training step cannot be compiled ({reason}): {hint}") from error


def _train_epoch(config: TrainConfig, state: _State, loss_of: Callable[[Any], Tensor], images: TrainingSet) -> float:
    """Make one pass over the images and return the mean loss of its batches in nats."""
    optimizer, epoch, model = state.optimizer, state.epoch + 1, state.model
    model.train()
    total = torch.zeros((), dtype=torch.float64, device=state.device)
    weight, reported, steps = 0, time.monotonic(), images.num_batches(config.batch_size)
    for step, batch in enumerate(images.batches(config.batch_size)):
        optimizer.param_groups[0]["lr"] = learning_rate(config, epoch, step / steps)
        if isinstance(model.kl_weight, Tensor):
            model.kl_weight.fill_(min(1.0, (epoch - 1 + step / steps) / (config.epochs * config.kl_warmup)))
        optimizer.zero_grad()  # before the loss, since a CUDA graph may reuse the memory of the last step's gradients
        loss = loss_of(batch)
        loss.backward()
        with _subnormals_are_zero():
            optimizer.step()
        size = len(batch) if isinstance(batch, Tensor) else config.batch_size
        total.add_(loss.detach(), alpha=size)
        weight += size
        # Reading the loss waits for the device, so it is done rarely and not in every step.
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            registry().hook.mcbits_advanced(
                job="train",
                done=state.epoch * len(images) + len(images) * (step + 1) // steps,
                metrics={"epoch": epoch, "loss": total.item() / weight},
            )
            reported = time.monotonic()
    return total.item() / weight


def _tester(config: TrainConfig, model: Model, bound: Bound, test: Any, device: torch.device) -> Callable[[], float]:
    """Return the function that gives the ideal rate of the held-out images, in bits per unit."""
    if model.any_size:
        held_out = model.training_set(test, None, device)
        return lambda: model.test_rate(held_out)

    def tested() -> float:
        rates, units = ideal_rates(model, test, bound, config.num_particles, seed=config.seed)
        return float(np.average(rates, weights=units))

    return tested


def _shape(dataset: Dataset, config: TrainConfig) -> tuple[int, ...]:
    """Return the shape of an image, with 0 for sizes that differ."""
    if isinstance(dataset.train, np.ndarray):
        return tuple(map(int, dataset.train.shape[1:]))
    if not find_model(config.model).any_size:
        raise DataError(f"{config.dataset} has pictures of several sizes, but {config.model} codes one: see PixelModel")
    return (0, 0, *dataset.train[0].shape[2:])


def _options(dataset: Dataset, config: TrainConfig) -> dict[str, Any]:
    """Return the options of the model, with the number of symbols of the data if they leave it open."""
    options = dict(config.model_options)
    if "symbols" in declared(find_model(config.model).options) and not options.get("symbols"):
        options["symbols"] = 2 if config.binarize else dataset.levels + 1
    return options


def _check_symbols(dataset: Dataset, model: Model, config: TrainConfig) -> None:
    num_symbols = model.observation.num_symbols
    parts = [part for part in (dataset.train, dataset.valid, dataset.test) if part is not None]
    largest = max(int(symbols(image, model.sequences).max()) for part in parts for image in _arrays(part))
    if model.sequences and config.binarize:
        raise UsageError(f"{config.model} is for sequences of symbols: set binarize false")
    if not config.binarize and largest >= num_symbols:
        hint = "set binarize true" if num_symbols == 2 else f"it needs {largest + 1} symbols"
        raise DataError(
            f"{config.dataset} has values beyond 0..{num_symbols - 1}, the symbols of {config.model}: {hint}"
        )


def _binarized(images: Images, levels: int, seed: int) -> Images:
    if isinstance(images, np.ndarray):
        return binarize(images, levels, seed)
    return [binarize(each, levels, seed + i) for i, each in enumerate(images)]


def _arrays(images: Images) -> list[np.ndarray]:
    return [images] if isinstance(images, np.ndarray) else images


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    names = [name for name in tensors if name.startswith(prefix)]
    return {name.removeprefix(prefix): tensors[name] for name in names}


def _drop_metrics_after(epoch: int, path: Path) -> None:
    """Keep only the lines of epochs 1..epoch, since a killed run may have written one more line, or half of one."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    write(path, b"".join(lines[:epoch]))


@contextmanager
def single_threaded(device: str = "cpu") -> Iterator[None]:
    """Let torch compute with one thread, and with the settings it starts with, during a `with` block."""
    # A step takes milliseconds, too short to share. If another process is busy, two threads of torch wait for each
    # other 30 times as long as one thread computes. With one thread the order of sums is also the same for any number
    # of cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with own_settings(device):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _subnormals_are_zero() -> Iterator[None]:
    # If a gradient stays zero (mostly that of black pixels), Adam's mean decays to subnormal numbers and stays there.
    # Processors compute with these a hundred times more slowly.
    before = bool(torch.tensor(2.0**-127) == 0)  # torch has no getter
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    with open(run / "lock", "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait for it or give another exp_name"
            raise UsageError(f"another training is running in {run}: {hint}") from None
        except OSError as error:
            if error.errno not in CANNOT:
                raise DataError(f"cannot lock {lock.name}: {error.strerror or error}") from error
            message = f"{lock.name} cannot be locked on this file system: start no second training in this directory"
            registry().hook.mcbits_notice(message=message)
        for name in _FILES:
            remove_drafts(run / name)
        yield
