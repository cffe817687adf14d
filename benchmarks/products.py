"""Whole jobs against the bare matrix products of their networks: no codec that runs these networks can be faster than 1."""

from collections.abc import Mapping, Sequence

import numpy as np
from measure import alternate, clock, compare, digits, eval500, publish, published_model, repetitions
from numpy.typing import NDArray

import mcbits


class Products:
    """The float32 matrix products of networks for as many batches of rows, nothing else: no bias, no tanh, no allocation."""

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


def main() -> None:
    n = repetitions()
    model, few = published_model(), eval500()
    many = digits()
    encoder, decoder = (
        [t.astype(np.float32) for t in network.tensors.values() if t.ndim == 2] for network in (model.encoder, model.decoder)
    )
    decoder_only, both = [decoder], [encoder, decoder]
    rows = []
    for what, against, images, options, products, target in (
        ("bb-is(50), 500 images", "products, batches of 50", few, {"coder": "bb-is", "num_particles": 50}, Products(decoder_only, 50, len(few)), 2.0),
        ("bb-cis(50), 500 images", "products, batches of 50", few, {"coder": "bb-cis", "num_particles": 50}, Products(decoder_only, 50, len(few)), 2.0),
        ("bb-elbo, 64 lanes, 10,000 images", "products of both networks, batches of 64", many, {"coder": "bb-elbo", "lanes": 64}, Products(both, 64, -(-len(many) // 64)), 4.0),
        ("bb-is(2000), 50 images", "products, batches of 2000", few[:50], {"coder": "bb-is", "num_particles": 2000}, Products(decoder_only, 2000, 50), 1.7),
    ):
        def ours(images: NDArray[np.uint8] = images, options: dict[str, object] = options) -> Mapping[str, float]:
            encode, blob = clock(lambda: mcbits.compress(images, model, ramp="off", verify=False, **options))  # type: ignore[arg-type]
            decode, back = clock(lambda: mcbits.decompress(blob, model))
            assert np.array_equal(back, images)
            return {"encode": encode, "decode": decode}

        found = alternate({"mcbits": ours, "products": products}, n)
        for way in ("encode", "decode"):
            per_image = 1e6 / len(images)
            rows.append(compare(f"{way} {what}", against, found["mcbits"][way], found["products"]["products"], target, per_image, "µs/image"))
    publish("products", rows)


if __name__ == "__main__":
    main()
