"""Rates of bb-ais by number of steps, beside bb-is with as many decoder evaluations: a Markdown table, every file
decoded."""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from mcbits_ais.chains import LOG_CANDIDATES

from mcbits import load_model
from mcbits.archive.jobs import compress_file
from mcbits.archive.options import CodingOptions
from mcbits.coders.base import make_coder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path, help=".npy of images (n, 28, 28)")
    parser.add_argument("model", help="run directory")
    parser.add_argument("--num_compress", type=int, default=50, help="images, from the first")
    parser.add_argument("--num_steps", default="0,5,16,50,150,600", help="T, separated by commas")
    parser.add_argument("--seeds", type=int, default=4, help="runs that each rate is the mean of")
    given = parser.parse_args()
    images, model = np.load(given.images)[: given.num_compress], load_model(given.model)

    def rates(ramp: str, coder: str, **options: object) -> tuple[str, str, str]:
        reports = []
        with tempfile.TemporaryDirectory() as directory:
            for seed in range(given.seeds):
                file = Path(directory) / "images.mcb"
                made = make_coder(coder, options)
                reports.append(compress_file(images, file, model, CodingOptions(made, ramp=ramp, seed=seed)))
        net = [report.net for report in reports]
        return (
            f"{np.mean(net):.4f} ± {np.std(net, ddof=1) / len(net) ** 0.5:.4f}",
            f"{np.mean([report.initial_bits for report in reports]):,.0f}",
            f"{np.mean([report.file for report in reports]):.4f}",
        )

    columns = ("evaluations", "bb-ais: T", "net", "initial bits", "total", "bitswap off: net", "initial bits",
               "bb-is: N", "net", "initial bits", "total", "with a ramp: net", "total")  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---:|' * len(columns)}")
    for T in map(int, given.num_steps.split(",")):
        N = T * ((1 << LOG_CANDIDATES) - 1) + 1
        swapped, plain = (rates("off", "bb-ais", num_steps=T, bitswap=bitswap) for bitswap in (True, False))
        unramped, ramped = (rates(ramp, "bb-is", num_particles=N) for ramp in ("off", "auto"))
        cells = (N, T, *swapped, *plain[:2], N, *unramped, ramped[0], ramped[2])
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
