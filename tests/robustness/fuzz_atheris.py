"""Whatever bytes they are given, the readers return or raise an error of mcbits.errors; atheris looks for others.

    pip install atheris
    python tests/robustness/fuzz_atheris.py {header,container,model,idx} [libFuzzer flags, such as -max_total_time=60]

A corpus made from the golden files, in a temporary folder, is where it begins. What it finds is written to ./crash-*.
"""

import json
import os
import random
import struct
import sys
import tempfile
import zlib
from contextlib import suppress
from io import BytesIO
from math import prod
from pathlib import Path

import atheris
from fuzz_mutations import changed_json

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN.parents[1]))

with atheris.instrument_imports(include=["mcbits"]):
    from mcbits.archive.format import DICTIONARY, End, Header, read_blocks, read_header, unpack_stack
    from mcbits.errors import McbitsError
    from mcbits.exact import load
    from mcbits.images.idx import read_idx


def header(data: bytes) -> None:
    """The input is a header's JSON, which is then packed with a right checksum."""
    deflate = zlib.compressobj(9, wbits=-15, zdict=DICTIONARY)
    packed = (deflate.compress(data) + deflate.flush())[:0xFFFF]
    start = b"\x89mcb\x01" + struct.pack("<H", len(packed)) + packed + bytes(36)
    read_header(BytesIO(start + struct.pack("<I", zlib.crc32(start))))


def container(data: bytes) -> None:
    """The input is a whole file, or, since most of those only fail a checksum, four parameters and a payload."""
    if data[:4] == b"\x89mcb":
        file = BytesIO(data)
        known = read_header(file)
        for piece in read_blocks(file):
            if not isinstance(piece, End):
                unpack_stack(piece, known)
    elif len(data) > 4:
        lprec, bprec, lanes, block_size = (1 + byte for byte in data[:4])
        if lprec + bprec <= 64:
            precisions = {"lprec": lprec, "bprec": bprec}
            unpack_stack(data[4:], Header("bb-is", {}, precisions, (8, 8), "uint8", lanes, block_size, 0))


def model(data: bytes) -> None:
    """The input is a specification in JSON, then 0, then tensors: a frozen model file around them is loaded."""
    text, _, tensors = data.partition(b"\0")
    try:
        document = json.loads(text)
        entries = {**document["tensors"], "__metadata__": {"mcbits": json.dumps(document["mcbits"])}}
    except (ValueError, TypeError, LookupError, RecursionError):
        return
    head = json.dumps(entries).encode()
    load(struct.pack("<Q", len(head)) + head + tensors)


def idx(data: bytes) -> None:
    """The input is an IDX file, gzipped or not."""
    scratch.write_bytes(data)
    read_idx(scratch)


def structured(data: bytes, max_size: int, seed: int) -> bytes:
    """The input with a value of its JSON changed, since few other mutations leave it JSON, or mutated as usual."""
    rng = random.Random(seed)
    text, zero, tensors = data.partition(b"\0")
    with suppress(ValueError, TypeError, IndexError, RecursionError):
        if rng.random() < 0.7:
            return (changed_json(rng, text) + zero + tensors)[:max_size]
    return bytes(atheris.Mutate(data, max_size))


def seeds() -> dict[str, list[bytes]]:
    """What each target begins with."""
    files = [p.read_bytes() for p in sorted(GOLDEN.glob("*.mcb")) if p.stat().st_size < 1000]
    texts, blocks = [], []
    for blob in files:
        packed = blob[7 : 7 + struct.unpack("<H", blob[5:7])[0]]
        texts.append(zlib.decompressobj(-15, zdict=DICTIONARY).decompress(packed))
        document, file = json.loads(texts[-1]), BytesIO(blob)
        known = read_header(file)
        p, lanes, size = known.precisions, document["lanes"], document["block_size"]
        start = bytes([p["lprec"] - 1, p["bprec"] - 1, lanes - 1 & 255, min(size - 1, 255)])
        blocks += [start + piece for piece in read_blocks(file) if isinstance(piece, bytes)]
    image = b"\0\0\x08\x03" + struct.pack(">III", 2, 3, 3) + bytes(range(18))
    compressed = zlib.compressobj(wbits=31)
    return {
        "header": texts,
        "container": files + blocks,
        "model": [tiny_model()],
        "idx": [image, compressed.compress(image) + compressed.flush()],
    }


def tiny_model() -> bytes:
    """A model with most kinds of layers and no weight but 0, so that all its bounds are 0."""
    shapes = {"table.0": [4], "0.weight": [4, 2], "0.bias": [2], "1.weight": [2], "1.bias": [2]}
    shapes |= {"8.weight": [1, 1, 1, 1, 1], "8.bias": [1]}
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * prod(shape)
        entries[f"n.{name}"] = {"dtype": "I16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    layers = [
        {"op": "linear", "inputs": [0], "frac": 2},
        {"op": "affine", "inputs": [1], "frac": 2},
        {"op": "lookup", "inputs": [2], "table": 0, "low": -2, "index_frac": 1, "frac": 3, "identity_above": True},
        {"op": "round", "inputs": [2], "frac": 0, "low": 0, "high": 100},
        {"op": "scale", "inputs": [3], "bits": 1},
        {"op": "add", "inputs": [3, 3]},
        {"op": "multiply", "inputs": [5, 6]},
        {"op": "reshape", "inputs": [7], "shape": [1, 2, 1]},
        {"op": "conv2d", "inputs": [8], "frac": 0, "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1]},
        {"op": "slice", "inputs": [9], "start": 0, "stop": 1},
    ]
    outputs = [{"value": 3, "kind": "linear", "frac": 0, "shape": [2]}]
    network = {"inputs": [{"shape": [4], "frac": 0, "bound": 1}], "layers": layers, "outputs": outputs}
    document = {"tensors": entries, "mcbits": {"format": 1, "meta": {}, "networks": {"n": network}}}
    data = json.dumps(document, separators=(",", ":")).encode() + b"\0" + bytes(at)
    model(data)
    return data


def main() -> None:
    """Fuzz the target that the first argument names."""
    target = {"header": header, "container": container, "model": model, "idx": idx}[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        with suppress(McbitsError):
            target(data)

    corpus = Path(folder, "corpus")
    corpus.mkdir()
    for number, data in enumerate(seeds()[target.__name__]):
        (corpus / str(number)).write_bytes(data)
    limits = ["-max_len=65536", "-timeout=5", "-rss_limit_mb=4096"]
    mutator = {"custom_mutator": structured} if target in (header, model) else {}
    atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(corpus)], one, **mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        scratch = Path(folder, "input")
        main()
