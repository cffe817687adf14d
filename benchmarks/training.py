"""An epoch of `mcbits train`, its test and its files included, against bare optimiser steps on resident tensors."""

import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from measure import alternate, clock, compare, publish, repetitions, shared
from torch.nn import functional as F

from mcbits.config import TrainConfig
from mcbits.datasets.base import find_dataset
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import registry
from mcbits.training.loop import train

BATCH = 20


class Epoch:
    """Resumes a training for one epoch more each time, and listens for its begin and its end."""

    def __init__(self, logdir: str):
        self.logdir, self.epochs = logdir, 0
        self.begin = self.seconds = 0.0

    @hookimpl
    def mcbits_started(self, job: str, total: int) -> None:
        self.begin = time.perf_counter()

    @hookimpl
    def mcbits_finished(self, job: str, metrics: dict[str, float]) -> None:
        self.seconds = time.perf_counter() - self.begin

    def __call__(self) -> Mapping[str, float]:
        self.epochs += 1
        options = {"dataset": "EMNIST", "split": "mnist", "num_particles": 1, "batch_size": BATCH, "gpu": -1}
        config = TrainConfig.load(
            overrides={**options, "datadir": shared("data"), "logdir": Path(self.logdir), "epochs": self.epochs}
        )
        with registry().listening(self):
            train(config)
        return {"epoch": self.seconds}


class BareSteps:
    """Forward, backward and Adam of the same network on the negative ELBO, over float32 images in memory."""

    def __init__(self, num_images: int):
        self.x = (torch.rand(num_images, 784) < 0.13).float()
        linear, tanh = torch.nn.Linear, torch.nn.Tanh
        self.trunk = torch.nn.Sequential(linear(784, 200), tanh(), linear(200, 200), tanh())
        self.heads = torch.nn.ModuleList([linear(200, 50), linear(200, 50)])
        self.decoder = torch.nn.Sequential(linear(50, 200), tanh(), linear(200, 200), tanh(), linear(200, 784))
        network = torch.nn.ModuleList([self.trunk, self.heads, self.decoder])
        self.adam = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-4, fused=True)

    def _run(self) -> None:
        for x in self.x.split(BATCH):
            h = self.trunk(x)
            mean, log_scale = self.heads[0](h), self.heads[1](h)
            noise = torch.randn_like(mean)
            z = mean + log_scale.exp() * noise
            nll = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
            loss = (nll + 0.5 * (z.square() - noise.square()).sum() - log_scale.sum()) / len(x)
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()

    def __call__(self) -> Mapping[str, float]:
        # On one thread, as mcbits trains, so that a run gives the same bits on any number of cores.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return {"epoch": clock(self._run)[0]}
        finally:
            torch.set_num_threads(threads)


def main() -> None:
    n = repetitions()
    images = len(find_dataset("EMNIST").load(shared("data"), split="mnist", download=False).train)
    with TemporaryDirectory() as logdir:
        found = alternate({"ours": Epoch(logdir), "theirs": BareSteps(images)}, n)
    what = f"one epoch of {images:,} images, batch {BATCH}, one particle"
    ours, theirs = found["ours"]["epoch"], found["theirs"]["epoch"]
    publish("training", [compare(what, "bare steps", ours, theirs, 1.25, 1.0, "s")])


if __name__ == "__main__":
    main()
