"""Whole jobs against the bare matrix products of their networks: nothing that runs these networks can reach 1."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from measure import alternate, clock, compare, digits, eval500, publish, published_model, repetitions
from numpy.typing import NDArray

import mcbits
from mcbits.latents.vae import FrozenVAE


class Products:
    """The float32 matrix products of networks for some batches of rows: no bias, no tanh, no allocation."""

    def __init__(self, networks: Sequence[Sequence[NDArray[np.float32]]], batch: int, batches: int):
        self.batches, self.pairs = batches, []
        generator = np.random.default_rng(0)
        for weights in networks:
            for w in weights:
                a = generator.standard_normal((batch, len(w)), dtype=np.float32)
                self.pairs.append((a, w, np.empty((batch, w.shape[1]), np.float32)))

    def __call__(self) -> Mapping[str, float]:
        def run() -> None:
            for _ in range(self.batches):
                for a, w, out in self.pairs:
                    np.matmul(a, w, out=out)

        return {"products": clock(run)[0]}


def job(
    model: FrozenVAE, images: NDArray[np.uint8], coder: str, options: dict[str, Any]
) -> Callable[[], Mapping[str, float]]:
    """Seconds to encode the images and to decode them, from arrays to bytes and back."""

    def side() -> Mapping[str, float]:
        encode, blob = clock(lambda: mcbits.compress(images, model, coder, verify=False, **options))
        decode, back = clock(lambda: mcbits.decompress(blob, model))
        assert np.array_equal(back, images)
        return {"encode": encode, "decode": decode}

    return side


def main() -> None:
    n = repetitions()
    model, few, many = published_model(), eval500(), digits()
    encoder, decoder = (
        [tensor.astype(np.float32) for tensor in network.tensors.values() if tensor.ndim == 2]
        for network in (model.encoder, model.decoder)
    )
    fifty: dict[str, Any] = {"num_particles": 50, "ramp": "off"}
    cases: tuple[tuple[str, str, NDArray[np.uint8], dict[str, Any], str, Products, float], ...] = (
        ("bb-is", "(50), 500 images", few, fifty, "decoder, batches of 50", Products([decoder], 50, len(few)), 2.0),
        ("bb-cis", "(50), 500 images", few, fifty, "decoder, batches of 50", Products([decoder], 50, len(few)), 2.0),
        (
            "bb-elbo",
            ", 64 lanes, 10,000 images",
            many,
            {"lanes": 64},
            "encoder and decoder, batches of 64",
            Products([encoder, decoder], 64, -(-len(many) // 64)),
            4.0,
        ),
        (
            "bb-is",
            "(2000), 50 images",
            few[:50],
            {"num_particles": 2000, "ramp": "off"},
            "decoder, batches of 2000",
            Products([decoder], 2000, 50),
            1.7,
        ),
    )
    rows = []
    for coder, what, images, options, networks, products, target in cases:
        found = alternate({"ours": job(model, images, coder, options), "theirs": products}, n)
        for way in ("encode", "decode"):
            ours, theirs = found["ours"][way], found["theirs"]["products"]
            against = f"products: {networks}"
            rows.append(compare(f"{way} {coder}{what}", against, ours, theirs, target, 1e6 / len(images), "µs/image"))
    publish("products", rows)


if __name__ == "__main__":
    main()
