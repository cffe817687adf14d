"""A damaged file is an error of mcbits.errors or the images it was made from: never a crash, a hang, or other images.

    python tests/robustness/fuzz_mutations.py [--mutations N] [--seed S] [--repair] [--workers W]
    python tests/robustness/fuzz_mutations.py --flips [--workers W]

Mutation i depends on the seed and i alone, so a finding is repeated by `--only i`. With `--repair` the mutation is made
inside the header's JSON, a payload, the model or the end, and every checksum over it is computed anew: a forgery that
only the checksum of the decoded images can notice. With `--flips`, every bit of every golden file below 1,000 bytes is
flipped once. Exit code 1 if there are findings.
"""

import argparse
import json
import multiprocessing as mp
import os
import random
import resource
import struct
import sys
import time
import traceback
import zlib
from collections import Counter
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
sys.path.insert(0, str(GOLDEN.parents[1]))
SECONDS, MEMORY = 5.0, 4 << 30
SMALL = [0, 1, 2, 127, 128, 255, 256, 10_000, 65535, 65536, 2**20, 2**24]
INTERESTING = [*SMALL, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 2**64, 10**30, -1]


def mutated(rng: random.Random, blob: bytes, other: bytes) -> bytes:
    """`blob` with one to four bits, bytes or stretches changed."""
    data = bytearray(blob)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 4, 8, 32, 256))
        match rng.randrange(8):
            case 0 | 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2 if at < len(data):
                data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 3:
                data[at:at] = rng.randbytes(size)
            case 4:
                del data[at : at + size]
            case 5:
                begin = rng.randrange(len(other))
                data[at : at + size] = other[begin : begin + size]
            case 6:
                number = rng.choice(INTERESTING) & 0xFFFFFFFFFFFFFFFF
                data[at : at + 8] = struct.pack("<Q", number)[: rng.choice((2, 4, 8))]
            case 7:
                data[at:] = data[at : rng.randrange(at, len(data) + 1)]
    return bytes(data)


def forged(rng: random.Random, blob: bytes, other: bytes) -> bytes:
    """`blob` with one of its parts mutated and all checksums right again."""
    from mcbits.archive.format import DICTIONARY

    (length,) = struct.unpack("<H", blob[5:7])
    at = 7 + length
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    text, model_id = inflate.decompress(blob[7:at]), blob[at : at + 32]
    (size,) = struct.unpack("<I", blob[at + 32 : at + 36])
    model, at = blob[at + 36 : at + 36 + size], at + 40 + size
    payloads = []
    while blob[at : at + 4] != b"\xff" * 4:
        (size,) = struct.unpack("<I", blob[at : at + 4])
        payloads.append(blob[at + 4 : at + 4 + size])
        at += 8 + size
    end = blob[at + 4 : -4]
    part = rng.choice(["header", "header", "payload", "payload", "blocks", "end"] + ["model", "model"] * bool(model))
    if part == "header":
        text = changed_json(rng, text) if rng.random() < 0.8 else mutated(rng, text, other)
    elif part == "payload":
        k = rng.randrange(len(payloads))
        payloads[k] = mutated(rng, payloads[k], other)
    elif part == "blocks":
        payloads.insert(rng.randrange(len(payloads) + 1), rng.choice(payloads))
        del payloads[rng.randrange(len(payloads)) :: rng.choice((1, 2, 9))]
    elif part == "end":
        end = struct.pack("<Q", rng.choice(INTERESTING) & 0xFFFFFFFFFFFFFFFF) + end[8:]
    else:
        model = forged_model(rng, model, other)
        model_id = sha256(model).digest()
    deflate = zlib.compressobj(9, wbits=-15, zdict=DICTIONARY)
    packed = (deflate.compress(text) + deflate.flush())[:0xFFFF]
    out = blob[:5] + struct.pack("<H", len(packed)) + packed + model_id + struct.pack("<I", len(model)) + model
    out += struct.pack("<I", zlib.crc32(out))
    for number, payload in enumerate(payloads):
        out += struct.pack("<I", len(payload)) + payload
        out += struct.pack("<I", zlib.crc32(payload, zlib.crc32(struct.pack("<Q", number))))
    end = b"\xff" * 4 + end
    return out + end + struct.pack("<I", zlib.crc32(end))


def forged_model(rng: random.Random, model: bytes, other: bytes) -> bytes:
    """A model file with numbers of its specification, or its tensors, changed."""
    (length,) = struct.unpack("<Q", model[:8])
    if rng.random() < 0.3:
        return mutated(rng, model, other)
    header, tensors = json.loads(model[8 : 8 + length]), model[8 + length :]
    if rng.random() < 0.7:
        header["__metadata__"]["mcbits"] = changed_json(rng, header["__metadata__"]["mcbits"].encode()).decode()
    else:
        at = rng.randrange(len(tensors) - 8)
        tensors = tensors[:at] + rng.randbytes(rng.choice((1, 2, 4))) + tensors[at:]
        tensors = tensors[: len(model) - 8 - length]
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def changed_json(rng: random.Random, text: bytes) -> bytes:
    """The document with one value replaced, or one entry dropped or added."""
    document = json.loads(text)
    places = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(document)
    node, key = rng.choice(places)
    old = node[key]
    values: list[Any] = [*INTERESTING, 3, 10, 1000, 0.5, 1e-300, 1e300, True, None, "", "bb-is", "é" * 50]
    values += [[], {}, [1] * 9, [[[]]]]
    if type(old) is int:
        values += [old + 1, old - 1, 2 * old, old // 2, -old] * 4
    node[key] = rng.choice(values)
    if rng.random() < 0.1:
        node[key] = old
        if isinstance(node, dict) and rng.random() < 0.5:
            node[rng.choice(("unknown", "sequences", "class"))] = rng.choice(values)
        else:
            del node[key]
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def attempt(blob: bytes, vae: Any, original: bytes) -> str:
    """What became of `blob`: the name of the error, "identical", or a finding that begins with "FINDING"."""
    from mcbits import decompress
    from mcbits.errors import McbitsError

    try:
        images = decompress(blob, vae)
    except McbitsError as error:
        if "\n" in str(error):
            return f"FINDING a message of several lines: {error!r}"
        return type(error).__name__
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"FINDING {type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
    return "identical" if images.tobytes() == original else "FINDING other images, silently"


def make(index: int, arguments: argparse.Namespace, blobs: dict[str, bytes]) -> tuple[str, bytes]:
    """Mutation `index`: the name of the golden file it began as, and the bytes."""
    if arguments.flips:
        name = next(each for each, end in flips(blobs) if index < end)
        data = bytearray(blobs[name])
        bit = index % (8 * len(data))  # each bit once, if not in order
        data[bit // 8] ^= 1 << bit % 8
        return name, bytes(data)
    seed, repair = arguments.seed, arguments.repair
    rng = random.Random(f"{seed} {index}")
    name, other = rng.choice(sorted(blobs)), rng.choice(sorted(blobs))
    return name, (forged if repair else mutated)(rng, blobs[name], blobs[other])


def flips(blobs: dict[str, bytes]) -> list[tuple[str, int]]:
    """The small files, each with the first index beyond its bits."""
    small = sorted(name for name, blob in blobs.items() if len(blob) < 1000)
    return [(name, end) for name, end in zip(small, accumulate(8 * len(blobs[each]) for each in small))]


def work(worker: int, first: int, arguments: argparse.Namespace, state: Any, results: Any) -> None:
    """Mutations first, first + workers, ...; `state` is (index, when it began), for whoever watches."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(GOLDEN))
    import corpus

    jobs = json.loads(corpus.CORPUS.read_text())["files"]
    blobs = {name: (GOLDEN / name).read_bytes() for name in jobs}
    originals = {name: corpus.job_images(job).tobytes() for name, job in jobs.items()}
    vaes = corpus.models()
    count: Counter[str] = Counter()
    for index in range(first, arguments.mutations, arguments.workers):
        state[0], state[1] = index, time.monotonic()
        name, blob = make(index, arguments, blobs)
        vae = None if "embedded" in name else vaes[jobs[name]["model"]]
        outcome = "unchanged" if blob == blobs[name] else attempt(blob, vae, originals[name])
        state[1] = 0.0
        if outcome.startswith("FINDING"):
            results.put((index, name, outcome))
            outcome = "finding"
        count[outcome] += 1
        if count.total() == 100:  # a worker that is killed takes few with it
            results.put((None, worker, dict(count)))
            count.clear()
    results.put((None, worker, dict(count)))


def main() -> int:
    """Run the workers, restarting one whose file crashed or hung it."""
    parser = argparse.ArgumentParser(description="mutate golden files and decode them")
    parser.add_argument("--mutations", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repair", action="store_true", help="forge: compute checksums anew")
    parser.add_argument("--flips", action="store_true", help="every bit of every small file, once")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, help="repeat this one mutation, with its traceback")
    arguments = parser.parse_args()
    if arguments.flips:
        arguments.mutations = flips({p.name: p.read_bytes() for p in GOLDEN.glob("*.mcb")})[-1][1]
    if arguments.only is not None:
        sys.path.insert(0, str(GOLDEN))
        import corpus

        from mcbits import decompress

        jobs = json.loads(corpus.CORPUS.read_text())["files"]
        blobs = {name: (GOLDEN / name).read_bytes() for name in jobs}
        name, blob = make(arguments.only, arguments, blobs)
        print(name, len(blob))
        print(decompress(blob, None if "embedded" in name else corpus.models()[jobs[name]["model"]]).shape)
        return 0

    context, count = mp.get_context("spawn"), Counter[str]()
    findings: list[tuple[int, str]] = []
    results, begin = context.Queue(), time.monotonic()
    states = [context.Array("d", [-1.0, 0.0]) for _ in range(arguments.workers)]

    def start(worker: int, first: int) -> Any:
        states[worker][:] = [float(first), 0.0]
        process = context.Process(target=work, args=(worker, first, arguments, states[worker], results))
        process.start()
        return process

    running = {worker: start(worker, worker) for worker in range(arguments.workers)}

    def collect() -> None:
        while not results.empty():
            index, name, outcome = results.get()
            if index is None:
                count.update(outcome)
            else:
                findings.append((index, outcome))
                print(f"mutation {index} of {name}: {outcome}", flush=True)

    while running:
        time.sleep(0.2)
        collect()
        for worker, process in list(running.items()):
            index, since = states[worker][:]
            if not process.is_alive() and process.exitcode == 0:
                del running[worker]
                continue
            hung = since and time.monotonic() - since > SECONDS
            if hung or not process.is_alive():
                process.kill()
                process.join()
                what = f"a hang of more than {SECONDS:g} s" if hung else f"a crash, exit code {process.exitcode}"
                findings.append((int(index), what))
                print(f"mutation {int(index)}: FINDING {what}", flush=True)
                running[worker] = start(worker, int(index) + arguments.workers)
    collect()
    seconds = time.monotonic() - begin
    print(f"{arguments.mutations} mutations in {seconds:.0f} s, {len(findings)} findings: {dict(count)}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
