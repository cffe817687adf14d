"""`mcbits info` answers in about the time that numpy takes to import: what only decoding needs is not loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import alternate, clock, compare, eval500, publish, published_model, python, repetitions

import mcbits


def job(*arguments: str) -> Callable[[], Mapping[str, float]]:
    return lambda: {"seconds": clock(lambda: python(*arguments))[0]}


def main() -> None:
    n = repetitions()
    with TemporaryDirectory() as directory:
        file = Path(directory) / "images.mcb"
        file.write_bytes(mcbits.compress(eval500(), published_model(), "bb-elbo", verify=False))
        sides = {"ours": job("-m", "mcbits", "info", str(file)), "theirs": job("-c", "import numpy")}
        found = alternate(sides, 2 * n)
    ours, theirs = found["ours"]["seconds"], found["theirs"]["seconds"]
    publish("startup", [compare("mcbits info FILE", 'python -c "import numpy"', ours, theirs, 2.5)])


if __name__ == "__main__":
    main()
