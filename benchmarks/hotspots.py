"""Where an image's time goes: each function's own time, without that of the listed functions it calls, adds up to the whole."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from measure import eval500, published_model, repetitions

import mcbits
from mcbits import _kernels
from mcbits.coders.cis_bits_back import CISBitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder
from mcbits.distributions import GaussianBuckets, Uniform
from mcbits.exact import _fixed
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.vae import LatentVAE


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
        self.clocks, self.name, self.function = clocks, name, getattr(_fixed, name)

    def __getitem__(self, types: Any) -> Callable[..., Any]:
        return self.clocks.clocked(f"_fixed.{self.name}", self.function[types])


def main() -> None:
    n, clocks, images = repetitions(), Clocks(), eval500()
    kernels = [name for name in dir(_kernels) if type(getattr(_kernels, name)).__name__ == "cython_function_or_method"]
    clocks.watch(_kernels, *kernels)
    for name in ("round_clamp", "lookup"):
        setattr(_fixed, name, Fused(clocks, name))
    clocks.watch(_fixed, "is_integral")
    clocks.watch(np, "matmul")
    clocks.watch(FrozenNetwork, "run")
    clocks.watch(LatentVAE, "likelihood", "posterior")
    for family in (GaussianBuckets, Uniform):
        clocks.watch(family, "__init__", "push", "pop_draws", "total_codelength", "intervals", "inverse")
    for coder in (ISBitsBackCoder, CISBitsBackCoder):
        clocks.watch(coder, "encode", "decode")

    model = published_model()
    for short, num_particles in (("bb-is", 50), ("bb-cis", 50), ("bb-is", 2000)):
        some = images[: 500 if num_particles == 50 else 20]
        options: dict[str, Any] = {"num_particles": num_particles, "ramp": "off", "verify": False}
        blob = mcbits.compress(some, model, short, **options)
        jobs = {
            "encode": functools.partial(mcbits.compress, some, model, short, **options),
            "decode": functools.partial(mcbits.decompress, blob, model),
        }
        for way, job in jobs.items():
            _print(f"{way} {short}({num_particles})", clocks, job, len(some), n)


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
    lines = [f"{title}: {total:.0f} µs/image", "", "| function | calls/image | own µs/image | share |", "|---|---|---|---|"]
    for name, microseconds in sorted(own.items(), key=lambda item: -item[1]):
        if microseconds >= 0.005 * total:
            lines.append(f"| {name} | {clocks.calls[name] / num_images:.3g} | {microseconds:.1f} | {microseconds / total:.0%} |")
    print("\n".join(lines), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
