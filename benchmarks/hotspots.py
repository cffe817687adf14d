"""Where an image's time goes: every function's own time, without the listed functions it calls, adds up to all."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from inspect import isroutine
from statistics import median
from typing import Any

import numpy as np
from measure import eval500, published_model, repetitions

import mcbits
from mcbits.coders.bits_back import BitsBackCoder
from mcbits.coders.cis_bits_back import CISBitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder
from mcbits.core import fixed
from mcbits.distributions import GaussianBuckets, Uniform, base, bernoulli, categorical, gaussian, uniform
from mcbits.exact.network import FrozenNetwork
from mcbits.latents.vae import LatentVAE


class Clocks:
    """Own time in seconds by name, and the number of calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._running: list[float] = []  # for each call under way, what its own listed calls took

    def clocked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            self._running.append(0.0)
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - begin
                self.seconds[name] += took - self._running.pop()
                self.calls[name] += 1
                if self._running:
                    self._running[-1] += took

        return call

    def watch(self, owner: Any, *names: str) -> None:
        for name in names:
            setattr(owner, name, self.clocked(f"{getattr(owner, '__name__', owner)}.{name}", getattr(owner, name)))


class Fused:
    """A Cython function of several types, which is chosen by indexing when a network is built."""

    def __init__(self, clocks: Clocks, name: str) -> None:
        self.clocks, self.name, self.function = clocks, name, getattr(fixed, name)

    def __getitem__(self, types: Any) -> Callable[..., Any]:
        return self.clocks.clocked(f"fixed.{self.name}", self.function[types])


def main() -> None:
    n, clocks, images = repetitions(), Clocks(), eval500()
    for module in (base, bernoulli, categorical, gaussian, uniform):
        clocks.watch(module, *(name for name, value in vars(module).items() if _compiled(value)))
    for name in ("round_clamp", "lookup"):
        setattr(fixed, name, Fused(clocks, name))
    clocks.watch(fixed, "is_integral")
    clocks.watch(np, "matmul")
    clocks.watch(FrozenNetwork, "run")
    clocks.watch(LatentVAE, "likelihood", "posterior")
    for family in (GaussianBuckets, Uniform):
        clocks.watch(family, "__init__", "push", "pop_draws", "total_codelength", "intervals", "inverse")
    for algorithm in (BitsBackCoder, ISBitsBackCoder, CISBitsBackCoder):
        clocks.watch(algorithm, "encode", "decode")

    model = published_model()
    for coder, settings, count in (
        ("bb-is", {"num_particles": 50, "ramp": "off"}, 500),
        ("bb-cis", {"num_particles": 50}, 500),
        ("bb-elbo", {"lanes": 64}, 2000),
        ("bb-is", {"num_particles": 2000, "ramp": "off"}, 20),
    ):
        some = np.resize(images, (count, *images.shape[1:]))
        options: dict[str, Any] = {**settings, "verify": False}
        blob = mcbits.compress(some, model, coder, **options)
        jobs: dict[str, Callable[[], object]] = {
            "encode": functools.partial(mcbits.compress, some, model, coder, **options),
            "decode": functools.partial(mcbits.decompress, blob, model),
        }
        for way, job in jobs.items():
            _print(f"{way} {coder} {settings}", clocks, job, len(some), n)


def _compiled(value: Any) -> bool:
    return isroutine(value) and value.__module__.startswith("mcbits.core.")


def _print(title: str, clocks: Clocks, job: Callable[[], object], num_images: int, repetitions: int) -> None:
    found: dict[str, list[float]] = defaultdict(list)
    for _ in range(repetitions):
        clocks.seconds.clear()
        clocks.calls.clear()
        clocks.clocked("everything else", job)()
        for name, seconds in clocks.seconds.items():
            found[name].append(seconds * 1e6 / num_images)
    own = {name: median(values) for name, values in found.items()}
    total = sum(own.values())
    lines = [f"{title}: {total:.0f} µs/image", "", "| function | calls/image | own µs/image | share |"]
    lines.append("|---|---|---|---|")
    for name, microseconds in sorted(own.items(), key=lambda item: -item[1]):
        if microseconds >= 0.005 * total:
            calls, share = clocks.calls[name] / num_images, microseconds / total
            lines.append(f"| {name} | {calls:.3g} | {microseconds:.1f} | {share:.0%} |")
    print("\n".join(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
