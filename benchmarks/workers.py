"""Two worker processes halve the time and change no byte, with one BLAS thread in each process."""

import os
from collections.abc import Callable, Mapping
from inspect import signature

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before numpy loads its BLAS

import numpy as np  # noqa: E402
from measure import alternate, clock, compare, digits, publish, published_model, repetitions, skip  # noqa: E402

import mcbits  # noqa: E402
from mcbits.archive.encoding import BLOCK_SIZE  # noqa: E402


def main() -> None:
    n = repetitions()
    for function in (mcbits.compress, mcbits.decompress):
        if "workers" not in signature(function).parameters:
            skip(f"mcbits.{function.__name__} has no option workers yet")
    model = published_model()
    # A whole number of blocks for each worker, and enough of them that the start of a process is not what is measured.
    images = np.resize(digits(), (40 * BLOCK_SIZE, 28, 28))
    blobs = set()

    def job(workers: int) -> Callable[[], Mapping[str, float]]:
        def side() -> Mapping[str, float]:
            options = {"num_particles": 20, "ramp": "off", "verify": False, "workers": workers}
            encode, blob = clock(lambda: mcbits.compress(images, model, **options))  # type: ignore[arg-type]
            decode, back = clock(lambda: mcbits.decompress(blob, model, workers=workers))
            assert np.array_equal(back, images)
            blobs.add(blob)
            return {"encode": encode, "decode": decode}

        return side

    found = alternate({"ours": job(2), "theirs": job(1)}, n)
    assert len(blobs) == 1, "the number of workers changes the file"
    what = f"2 workers, bb-is(20), {len(images):,} images"
    rows = []
    for way in ("encode", "decode"):
        rows.append(compare(f"{way} with {what}", "1 worker", found["ours"][way], found["theirs"][way], 1 / 1.8))
    publish("workers", rows)


if __name__ == "__main__":
    main()
