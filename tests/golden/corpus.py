"""Every number that decides a bit of a file is a function of the inputs alone: here are those numbers.

`python corpus.py` checks the machine it runs on against what make.py wrote beside it: the ground floor, the
discretizers and the frozen networks (SHA-256 of their integers, in corpus.json), then every file, decoded and encoded
again. It needs mcbits and what mcbits needs to decode, nothing else. Exit code 1 if anything differs.
"""

import argparse
import hashlib
import json
import lzma
import sys
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits import compress, decompress
from mcbits._rans import Stack
from mcbits.archive import encoding
from mcbits.core import numerics
from mcbits.core.mixture import Family
from mcbits.distributions import Bernoulli, Categorical, Distribution, GaussianBuckets, GaussianGrid, Uniform
from mcbits.distributions.coupling import integer_shifts
from mcbits.distributions.gaussian import equal_mass_centres
from mcbits.exact import FrozenNetwork, load
from mcbits.latents.frozen import FrozenModel, load_frozen

FOLDER = Path(__file__).resolve().parent
MODELS = {"dense": FOLDER / "model.safetensors", "conv": FOLDER / "conv.safetensors.xz"}
PIXEL_MODELS = ("grey", "grey-alpha", "rgb", "rgba", "deep", "coins", "palette", "pixel-vae", "logistic", "categorical")
MODELS |= {name: FOLDER / f"{name}.safetensors.xz" for name in PIXEL_MODELS}
NETWORKS, CORPUS = FOLDER / "networks.safetensors.xz", FOLDER / "corpus.json"
IMAGES_SHAPE = (500, 8, 8)


def images() -> NDArray[np.uint8]:
    """500 binary images of 8 x 8, packed in images.npy."""
    return np.unpackbits(np.load(FOLDER / "images.npy")).reshape(IMAGES_SHAPE)


def model_bytes(name: str) -> bytes:
    """The frozen model file of a name in MODELS."""
    data = MODELS[name].read_bytes()
    return lzma.decompress(data) if MODELS[name].suffix == ".xz" else data


def models(backend: str = "numpy") -> dict[str, FrozenModel]:
    """The frozen models of the corpus, computed by `backend`."""
    return {name: load_frozen(model_bytes(name), backend) for name in MODELS}


def integers(low: int, high: int, shape: int | tuple[int, ...], seed: int = 0) -> NDArray[np.int64]:
    """Integers low ... high - 1 made without any rounding: splitmix64 of their index."""
    x = (np.arange(1, np.prod(shape) + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (low + ((x >> np.uint64(11)) % np.uint64(high - low)).astype(np.int64)).reshape(shape)


def vectors(backend: str = "numpy") -> dict[str, str]:
    """Name -> SHA-256 of what this machine computes."""
    found: dict[str, str] = {}
    for name, points in _points().items():
        function: Callable[..., NDArray[np.float64]] = getattr(numerics, f"{name}_array")
        found[f"numerics {name}"] = _digest(function(points).view(np.uint64))
    for lprec, bprec in ((32, 32), (16, 8), (20, 12), (1, 1), (31, 33), (40, 24)):
        found[f"stack {lprec} {bprec}"] = _digest(*_stack_program(lprec, bprec))
    for name, distribution in _distributions().items():
        found[f"distribution {name}"] = _digest(*_distribution_program(distribution))
    for buckets in (2, 256, 65536):
        found[f"centres of {buckets} buckets"] = _digest(equal_mass_centres(buckets))
    for name, (family, base, precision) in _families().items():
        found[f"family {name}"] = _digest(*_family_program(family, base, precision))
    found["coupling"] = _digest(integer_shifts(50, 50))
    for name, network in networks(backend).items():
        found[f"network {name}"] = _digest(*network.run(*inputs_of(network)))
    return found


def networks(backend: str = "numpy") -> dict[str, FrozenNetwork]:
    """One small frozen network for each kind of layer."""
    return load(lzma.decompress(NETWORKS.read_bytes()), backend)[0]


def inputs_of(network: FrozenNetwork, batch: int = 50) -> list[NDArray[np.float32]]:
    """Integers all over the bounds of its inputs, and exactly at them."""
    arrays = []
    for seed, known in enumerate(network.inputs):
        x = integers(-known.bound, known.bound + 1, (batch, *known.shape), seed)
        x[0], x[1] = known.bound, -known.bound
        arrays.append(x.astype(np.float32))
    return arrays


def differences(corpus: dict[str, Any], backend: str = "numpy") -> Iterator[str]:
    """What differs between this machine and the corpus, one line each."""
    found = vectors(backend)
    for name in sorted(corpus["vectors"].keys() | found.keys()):
        if corpus["vectors"].get(name) != found.get(name):
            yield f"vector '{name}' differs"
    yield from file_differences(corpus, models(backend))


def file_differences(corpus: dict[str, Any], vaes: dict[str, FrozenModel]) -> Iterator[str]:
    """As `differences`, of the .mcb files alone."""
    for name, job in corpus["files"].items():
        blob, given, vae = (FOLDER / name).read_bytes(), job_images(job), vaes[job["model"]]
        try:
            restored = decompress(blob, vae)
            if restored.dtype != given.dtype or not np.array_equal(restored, given):
                yield f"{name} decodes to other images"
        except Exception as error:  # whatever a diverging decoder trips over
            yield f"{name} does not decode: {type(error).__name__}: {error}"
        if encoded(job, vae) != blob:
            yield f"{name} is encoded to other bytes"


def job_images(job: dict[str, Any]) -> NDArray[Any]:
    """The images of a file: the first ones of the corpus, over and over if there are too few, or `pictures`."""
    if "symbols" in job:
        return pictures((job["num_images"], *job["shape"]), job["symbols"]).astype(job["dtype"])
    return np.resize(images(), (job["num_images"], *job["shape"])).astype(job["dtype"])


def pictures(shape: tuple[int, ...], symbols: int) -> NDArray[np.int64]:
    """Pictures (n, h, w, ...) made of integers alone: smooth along a row, or of up to 16 symbols with some edges."""
    if symbols <= 16:
        found: NDArray[np.int64] = np.cumsum(integers(0, 4, shape) == 0, 2) * 5 % symbols
        return found
    steps = integers(-(symbols // 40), symbols // 40 + 1, shape)
    edges = integers(0, 20, shape, 1) == 0
    walk = np.cumsum(np.where(edges, 16 * steps, steps), 2) + symbols // 2
    clipped: NDArray[np.int64] = np.clip(walk, 0, symbols - 1)
    return clipped


def encoded(job: dict[str, Any], vae: FrozenModel) -> bytes:
    """The file of a job. Its blocks may be small, so that a small file has several."""
    before, encoding.BLOCK_SIZE = encoding.BLOCK_SIZE, job["block_size"]
    try:
        return compress(job_images(job), vae, verify=False, **job["arguments"])
    finally:
        encoding.BLOCK_SIZE = before


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).astype("<i8" if array.dtype.kind != "u" else "<u8").tobytes())
    return digest.hexdigest()


def _points() -> dict[str, NDArray[np.float64]]:
    u = integers(1, 2**52, 20_000) * 2.0**-52
    tail = 2.0 ** -np.arange(1.0, 1000.0)
    return {
        "exp": u * 1400 - 700,
        "log2": np.concatenate([u * 1024, u, tail]),
        "ndtr": u * 64 - 32,
        "ndtri": np.concatenate([u, tail, np.arange(1, 4096) / 4096]),
    }


def _state(stack: Stack) -> list[NDArray[Any]]:
    return [stack.heads, stack.initial_words, *(stack.tail(lane) for lane in range(stack.lanes))]


def _stack_program(lprec: int, bprec: int) -> list[NDArray[Any]]:
    stack, seen = Stack(3, lprec, bprec, seed=7), []
    for precision in sorted({1, lprec // 2, min(lprec, 31)} - {0}):
        whole = 1 << precision
        ends = np.sort(integers(0, whole + 1, (3, 40, 2), precision), axis=-1)
        freqs = np.maximum(ends[..., 1] - ends[..., 0], 1)
        stack.push(np.minimum(ends[..., 0], whole - freqs), freqs, precision)
        middle = integers(1, whole, (3, 60, 1), precision + 100)
        cdf = np.concatenate([np.zeros_like(middle), middle, np.full_like(middle, whole)], axis=-1)
        seen += [stack.pop(cdf, precision), *_state(stack)]
    return seen


def _distributions() -> dict[str, Distribution]:
    shape = (3, 200)
    mean = integers(-(5 << 12), 5 << 12, shape, 1).astype(np.int32)
    log_scale = integers(-1536, 512, shape, 2).astype(np.int32)
    logits = integers(-5000, 5000, shape, 3).astype(np.int32)
    made: dict[str, Distribution] = {
        "uniform": Uniform(integers(1, 1 << 20, shape), shape, 30),
        "uniform 256": Uniform(256, shape, 8),
        "log-weights": Categorical.from_log2(integers(0, 1 << 21, (12, 50)), 24),
        "grid": GaussianGrid(mean, log_scale, 256, -4.0, 4.0, 16),
    }
    for precision in (10, 16, 24, 30):
        made[f"bernoulli {precision}"] = Bernoulli(logits, precision)
        made[f"categorical {precision}"] = Categorical(integers(0, 1 << 32, (3, 20, 300)), precision)
    for buckets, precision in ((8, 16), (12, 24), (10, 30)):
        for leaky in (True, False):
            name = f"buckets {buckets} {precision}{' leaky' * leaky}"
            made[name] = GaussianBuckets(mean, log_scale, buckets, precision, leaky)
    return made


def _distribution_program(distribution: Distribution) -> list[NDArray[Any]]:
    stack = Stack(distribution.shape[0], seed=11)
    one = distribution.pop(stack)
    seen = [one, *distribution.intervals(one), *_state(stack)]
    seen += [distribution.codelength(one), distribution.total_codelength(one)]
    if not isinstance(distribution, Bernoulli):
        # Many draws take another way through the discretizers than one does.
        for draws in (3, 20):
            many = distribution.expand(draws).pop(stack)
            seen += [many, distribution.expand(draws).total_codelength(many), *_state(stack)]
    distribution.push(stack, one)
    return seen + _state(stack)


def _families() -> dict[str, tuple[Family, int, int]]:
    """Name -> family, what its means are relative to, precision."""
    return {
        "logistic 8 bits": (Family("logistic", 256, 5, 0), 100, 22),
        "logistic 8 bits, one": (Family("logistic", 256, 1, 5), 128, 16),
        "logistic 16 bits": (Family("logistic", 1 << 16, 8, 7), 40_000, 30),
        "logistic 2 symbols": (Family("logistic", 2, 2, 0), 0, 1),
        "bernoulli": (Family("bernoulli", 2), 0, 16),
        "categorical": (Family("categorical", 200), 0, 22),
    }


def _family_program(family: Family, base: int, precision: int) -> list[NDArray[Any]]:
    n, seen = 400, []
    quantiles = integers(0, 1 << precision, n, 7).astype(np.uint64)
    symbols = integers(0, family.num_symbols, n, 8).astype(np.int32)
    for bits in (4, 9, 13, 30):
        parameters = integers(-(1 << bits), (1 << bits) + 1, (n, family.num_parameters), bits).astype(np.int32)
        found = family.inverse(parameters, base, quantiles, precision)
        seen += [found, *family.intervals(parameters, base, found, precision)]
        seen += family.intervals(parameters, base, symbols, precision)
    return seen


def in_slices(run: Callable[..., Any], batch: int) -> Callable[..., Any]:
    """`FrozenNetwork.run`, given at most `batch` rows at once."""

    def sliced(self: FrozenNetwork, *inputs: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        starts = range(0, max(len(inputs[0]), 1), batch)
        parts = [run(self, *(x[start : start + batch] for x in inputs)) for start in starts]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))

    return sliced


def main() -> int:
    parser = argparse.ArgumentParser(description="check this machine against the golden corpus")
    parser.add_argument("--backend", nargs="+", default=["numpy"], help="numpy, torch or torch:DEVICE")
    parser.add_argument("--batch", nargs="+", type=int, default=[500], help="rows that a network is given at once")
    arguments, corpus, run, wrong = parser.parse_args(), json.loads(CORPUS.read_text()), FrozenNetwork.run, []
    for backend, batch in product(arguments.backend, arguments.batch):
        FrozenNetwork.run = in_slices(run, batch)  # type: ignore[method-assign]
        wrong += [f"{line} ({backend}, batch {batch})" for line in differences(corpus, backend)]
    print("\n".join(wrong) or "all vectors and files agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
