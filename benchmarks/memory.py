"""Peak memory does not grow with the number of images: each command runs in its own process, whose peak is read."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measure import Row, alternate, compare, digits, environment, publish, published_model, repetitions

# A new process starts with the peak of the one that forked it, so that a small one must stand in between.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def peak(*arguments: str) -> float:
    """Peak resident memory of `python ARGUMENTS` in KiB."""
    command = [sys.executable, "-S", "-c", _PEAK, sys.executable, *arguments]
    return float(subprocess.run(command, check=True, env=environment(), capture_output=True, text=True).stdout)


def main() -> None:
    n, images = repetitions(), digits()
    with TemporaryDirectory() as directory:
        folder = Path(directory)
        model = folder / "codec.safetensors"
        published_model().save(model)

        def job(count: int) -> Callable[[], Mapping[str, float]]:
            source, packed = folder / f"{count}.npy", folder / f"{count}.mcb"
            np.save(source, images[:count])
            settings = ("--model", str(model), "--quiet")
            coder = ("--coder", "bb-elbo", "--lanes", "64")
            compress = ("-m", "mcbits", "compress", str(source), "-o", str(packed), *coder, *settings)
            decompress = ("-m", "mcbits", "decompress", str(packed), "-o", str(folder / "back.npy"), *settings)
            return lambda: {"compress": peak(*compress), "decompress": peak(*decompress)}

        numpy = {"numpy": lambda: {"import": peak("-c", "import numpy")}}
        found = alternate({"ours": job(10_000), "theirs": job(500), **numpy}, n)
    rows: list[Row] = []
    for way in ("compress", "decompress"):
        ours, theirs = found["ours"][way], found["theirs"][way]
        rows.append(compare(f"peak memory, {way} 10,000 images", "500 images", ours, theirs, 1.3, 2**-10, "MiB"))
        ours, theirs = ([a - b for a, b in zip(side, found["numpy"]["import"], strict=True)] for side in (ours, theirs))
        rows.append(compare(f"the same above `import numpy`, {way}", "500 images", ours, theirs, None, 2**-10, "MiB"))
    publish("memory", rows)


if __name__ == "__main__":
    main()
