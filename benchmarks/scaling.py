"""Time grows no faster than the work: the slope of log time over log N, and over log n images, is at most 1."""

from collections.abc import Callable, Mapping

import numpy as np
from measure import Row, alternate, clock, digits, publish, published_model, repetitions
from numpy.typing import NDArray

import mcbits
from mcbits.latents.vae import FrozenVAE

PARTICLES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
IMAGES = (500, 1000, 2000, 5000, 10000)


def job(
    images: NDArray[np.uint8], model: FrozenVAE, num_particles: int, divisor: int
) -> Callable[[], Mapping[str, float]]:
    """Seconds, divided by `divisor`, of bb-is on one lane."""

    def side() -> Mapping[str, float]:
        options = {"num_particles": num_particles, "ramp": "off", "verify": False}
        encode, blob = clock(lambda: mcbits.compress(images, model, "bb-is", **options))  # type: ignore[arg-type]
        decode, back = clock(lambda: mcbits.decompress(blob, model))
        assert np.array_equal(back, images)
        return {"encode": encode / divisor, "decode": decode / divisor}

    return side


def slope(what: str, found: Mapping[str, Mapping[str, list[float]]], way: str, sizes: tuple[int, ...]) -> Row:
    """The least-squares slope of each repetition as `ratio`; `ours` is the largest size, `theirs` the smallest."""
    seconds = np.array([found[str(size)][way] for size in sizes])
    slopes = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    last, first = np.median(seconds[-1]) * 1e3, np.median(seconds[0]) * 1e3
    against = f"log-log slope; ours at {sizes[-1]}, theirs at {sizes[0]}"
    return Row(f"{way} {what}", against, last, first, "ms", float(np.median(slopes)), slopes.min(), slopes.max(), 1.05)


def main() -> None:
    n, model, images = repetitions(), published_model(), digits()
    rows = []
    # Each N codes about as many particles in all, so that what a job costs once, whatever N is, weighs alike.
    counts = {N: min(500, max(10, 20_000 // N)) for N in PARTICLES}
    found = alternate({str(N): job(images[: counts[N]], model, N, counts[N]) for N in PARTICLES}, n)
    for sizes in (PARTICLES, PARTICLES[5:]):
        for way in ("encode", "decode"):
            rows.append(slope(f"one image, bb-is(N), N = {sizes[0]} ... {sizes[-1]}", found, way, sizes))
    found = alternate({str(m): job(images[:m], model, 5, 1) for m in IMAGES}, n)
    for way in ("encode", "decode"):
        rows.append(slope(f"n images, bb-is(5), n = {IMAGES[0]} ... {IMAGES[-1]}", found, way, IMAGES))
    publish("scaling", rows)


if __name__ == "__main__":
    main()
