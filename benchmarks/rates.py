"""Whatever is made faster codes the same bits: each file has the SHA-256 that rates.json holds, or this fails.

A case that rates.json lacks is recorded there. To accept new bytes, which is a new format version, delete the old
entry.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import digits, eval500, published_model

from mcbits.archive.jobs import compress_file
from mcbits.plugins.registry import make_coder

RECORD = Path(__file__).with_name("rates.json")


def main() -> None:
    model, few, many = published_model(), eval500(), digits()
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    now = {}
    print("rates\n\n| what | ideal | net | total (bits/dim) | bytes | against the record |\n|---|---|---|---|---|---|")
    with TemporaryDirectory() as directory:
        file = Path(directory) / "images.mcb"
        for what, images, coder, options, settings in (
            ("bb-is(50), 500 images", few, "bb-is", {"num_particles": 50}, {"ramp": "off"}),
            ("bb-is(50), 500 images, ramp", few, "bb-is", {"num_particles": 50}, {}),
            ("bb-cis(50), 500 images", few, "bb-cis", {"num_particles": 50}, {}),
            ("bb-elbo, 64 lanes, 10,000 images", many, "bb-elbo", {}, {"lanes": 64}),
            ("bb-is(2000), 50 images", few[:50], "bb-is", {"num_particles": 2000}, {"ramp": "off"}),
        ):
            made = make_coder(coder, options)
            report = compress_file(images, file, model, coder=made, **settings)
            rates = {"ideal": report.ideal, "net": report.net, "total": report.total}
            hashes = {"model_id": model.model_id, "sha256": sha256(file.read_bytes()).hexdigest()}
            now[what] = {**hashes, "file_bytes": report.file_bytes, **rates}
            verdict = "recorded" if what not in before else "the same bytes" if before[what] == now[what] else "CHANGED"
            figures = " | ".join(f"{rate:.5f}" for rate in rates.values())
            print(f"| {what} | {figures} | {report.file_bytes:,} | {verdict} |")
    RECORD.write_text(json.dumps({**now, **before}, indent=1) + "\n")
    changed = [what for what in now if what in before and before[what] != now[what]]
    if changed:
        sys.exit(f"\nthe bytes have changed: {', '.join(changed)}")
    print()


if __name__ == "__main__":
    main()
