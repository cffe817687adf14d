"""A forged file or model, its checksums right, is an error of mcbits.errors: no crash, no hang, no memory beyond its
size."""

import contextlib
import json
import random
import struct
import subprocess
import sys
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import corpus
import numpy as np
import pytest
import safetensors.numpy
import torch
from builders import binary_images, frozen_pixels, smooth_pictures

import mcbits
from mcbits._rans import Stack
from mcbits.archive.blocks import BlockCodec
from mcbits.archive.format import DICTIONARY, MAGIC, MAX_BLOCK, VERSION, End, pack_block, read_blocks, read_header
from mcbits.archive.jobs import decode
from mcbits.coders.bits_back import BitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder
from mcbits.errors import DataError, FormatError, McbitsError, ModelError, SizeError, StackError
from mcbits.exact.backends import backend
from mcbits.exact.fixed import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.products import ConvTranspose2d
from mcbits.latents.frozen import load_frozen
from mcbits.latents.vae import FrozenVAE

ROOT = Path(__file__).resolve().parents[1]
STRANGE = [0, 1, -1, 3, 255, 2**16, 2**31, 2**32, 2**63, 10**30, 1.5, 1e308, float("nan"), float("inf")]
STRANGE += [True, None, "", "x", "\ud800", "\x1b[2J", [], [1], [[]], {}, {"a": 1}, "1" * 5000]


@pytest.fixture(scope="module")
def images():
    return binary_images(20)


@pytest.fixture(scope="module")
def blob(vae, images):
    return mcbits.compress(images, vae, "bb-is", num_particles=4)


def parts(blob):
    """Header, payloads and end of a file."""
    file = BytesIO(blob)
    header = read_header(file)
    *payloads, end = read_blocks(file)
    return header, payloads, end


def forged(blob, payloads=None, num_images=None, **changes):
    """The file with another header, payloads or number of images, and right checksums."""
    header, own, end = parts(blob)
    blocks = enumerate(own if payloads is None else payloads)
    end = replace(end, num_images=end.num_images if num_images is None else num_images)
    return replace(header, **changes).pack() + b"".join(pack_block(*each) for each in blocks) + end.pack()


def with_header_text(blob, text):
    """The file with these bytes as its header's JSON."""
    header, payloads, end = parts(blob)
    deflate = zlib.compressobj(9, wbits=-15, zdict=DICTIONARY)
    packed = deflate.compress(text) + deflate.flush()
    start = MAGIC + struct.pack("<BH", VERSION, len(packed)) + packed + header.model_id + bytes(4)
    start += struct.pack("<I", zlib.crc32(start))
    return start + b"".join(pack_block(*each) for each in enumerate(payloads)) + end.pack()


def places(value, path=()):
    """The path of every value within a JSON document."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*path, key))


def put(document, path, value):
    """A copy of a JSON document with another value at a path."""
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return copy


def test_every_bit_and_every_byte_of_a_file_counts(blob):
    for position in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[position // 8] ^= 1 << position % 8
        with pytest.raises(FormatError):
            parts(bytes(damaged))
    for size in range(len(blob)):
        with pytest.raises(FormatError):
            parts(blob[:size])


def test_any_value_anywhere_in_a_header_decodes_or_is_an_error_of_mcbits(vae, images, blob):
    rng = random.Random(0)
    header = parts(blob)[0]
    document = {k: v for k, v in vars(header).items() if k not in ("model", "model_id")} | {"ramp": 0}
    document["shape"] = list(header.shape)
    own = json.dumps(document | {"ramp": header.ramp}).encode()
    assert np.array_equal(mcbits.decompress(with_header_text(blob, own), vae), images)
    for path in places(document):
        # The number of particles has a test of its own below.
        values = [0, -1, 1.5, None, True, "x"] if path == ("options", "num_particles") else rng.sample(STRANGE, 8)
        for value in values:
            with contextlib.suppress(McbitsError):
                mcbits.decompress(with_header_text(blob, json.dumps(put(document, path, value)).encode()), vae)


def test_no_header_text_unpacks_without_end_or_nests_without_end(vae, blob):
    for text in (b" " * (1 << 22), b"[" * 60_000, b'{"a":' * 10_000, b"1" * 60_000, b"\xff", b"", b"null", b'"x"'):
        with pytest.raises(FormatError):
            mcbits.decompress(with_header_text(blob, text), vae)


@pytest.mark.parametrize("coder", ["simple", "stochastic", "bb-elbo"])
def test_a_ramp_for_a_coder_without_particles_is_refused(vae, images, coder):
    with pytest.raises(FormatError):
        mcbits.decompress(forged(mcbits.compress(images, vae, coder), ramp=256), vae)


@pytest.mark.parametrize("number", [2**24, 10**19, 10**1000])
def test_particles_beyond_all_memory_are_refused_before_they_are_drawn(vae, blob, monkeypatch, number):
    monkeypatch.setattr(ISBitsBackCoder, "decode", lambda *_: pytest.fail("it began to decode"))
    with pytest.raises(FormatError):
        mcbits.decompress(forged(blob, options={"num_particles": number}, ramp=0), vae)


def test_a_file_of_no_images_is_refused(vae, blob):
    with pytest.raises(FormatError):
        mcbits.decompress(parts(blob)[0].pack() + End(0, sha256(b"").digest()).pack(), vae)


def test_images_beyond_the_allowed_size_are_refused_before_any_is_decoded(vae, images, blob, monkeypatch):
    assert np.array_equal(mcbits.decompress(blob, vae, max_size=images.nbytes), images)
    monkeypatch.setattr(ISBitsBackCoder, "decode", lambda *_: pytest.fail("it began to decode"))
    for refused in (blob, forged(blob, num_images=0), forged(blob, num_images=10**12)):
        with pytest.raises(SizeError, match=f"{images.nbytes - 1}"):
            mcbits.decompress(refused, vae, max_size=images.nbytes - 1)
    with pytest.raises(SizeError):
        mcbits.decompress(forged(blob, num_images=10**12), vae)


def test_decoding_stops_before_the_block_beyond_the_allowed_size(vae, images, blob):
    payload = parts(blob)[1][0]
    lie = forged(blob, [payload] * 5, num_images=0)
    decoded = []
    with pytest.raises(SizeError):
        for part in decode(BytesIO(lie), vae, max_size=2 * images.nbytes):
            decoded.append(part)
    assert len(decoded) == 2


def test_a_pipe_is_held_to_the_allowed_size_block_by_block(vae, images, blob):
    class Pipe(BytesIO):
        def seekable(self):
            return False

    assert np.array_equal(np.concatenate(list(decode(Pipe(blob), vae, max_size=images.nbytes))), images)
    with pytest.raises(SizeError):
        list(decode(Pipe(blob), vae, max_size=images.nbytes - 1))


@pytest.mark.parametrize("claim", ["the end", "a block"])
def test_a_claim_of_a_million_million_images_costs_no_memory(vae, blob, tmp_path, claim):
    vae.save(tmp_path / "model")
    count = 10**12
    if claim == "the end":
        lie = forged(blob, num_images=count)
    else:
        digits = bytes(count >> 7 * k & 127 | 128 for k in range(5)) + bytes([count >> 35])
        lie = forged(blob, [digits + parts(blob)[1][0][1:20]], count)
    (tmp_path / "lie.mcb").write_bytes(lie)
    assert len(lie) < 300
    code = """
import resource, sys
from mcbits.cli import main
try:
    main(sys.argv[1:])
except SystemExit as exit:
    print("exit", exit.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""

    def run(*arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        err = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr.splitlines()
        _, exit_code, kilobytes = err[-1].split()
        return int(exit_code), int(kilobytes), "".join(err[:-1])

    _, at_rest, _ = run("--help")
    target = tmp_path / "out.npy"
    model = ["--model", tmp_path / "model"]
    exit_code, used, said = run("decompress", tmp_path / "lie.mcb", "-o", target, *model, "--quiet")
    assert exit_code == 1
    assert "images" in said
    assert not target.exists()
    assert used - at_rest < 50 << 10


def test_decoding_ends_where_the_message_does(vae, images, monkeypatch):
    steps = []
    decode = BitsBackCoder.decode
    monkeypatch.setattr(BitsBackCoder, "decode", lambda *args: steps.append(1) or decode(*args))
    blob = mcbits.compress(images, vae, "bb-elbo", verify=False)
    payload = b"\x80\x10" + parts(blob)[1][0][1:]  # 2048 images, as LEB128
    with pytest.raises(FormatError):
        mcbits.decompress(forged(blob, [payload], 2048), vae)
    assert len(steps) < 200


def test_payloads_that_lie_are_refused(vae, blob):
    header, (payload,), _ = parts(blob)
    head, sizes = payload[1:9], payload[9:]
    for lie in (
        b"",
        payload[:-1],
        payload + b"\0",
        b"\0" + payload[1:],  # no images
        b"\x81\x10" + payload[1:],  # one more than a block may have
        b"\xff" * 12 + payload[1:],  # a number without end
        payload[:1] + bytes(8) + sizes,  # a head below 2^lprec
        payload[:1] + head + b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  # 2^63 tail words
        payload[:1] + head + b"\0" + sizes[1:],
    ):
        with pytest.raises(FormatError):
            mcbits.decompress(forged(blob, [lie]), vae)
    for changes in ({"lanes": 20}, {"lanes": 1 << 20}, {"block_size": 19}, {"shape": (6, 6)}, {"shape": (30,) * 8}):
        with pytest.raises(FormatError):
            mcbits.decompress(forged(blob, **changes), vae)
    for payloads in ([], [payload] * 2):
        with pytest.raises(FormatError):
            mcbits.decompress(forged(blob, payloads), vae)


def test_random_payloads_never_decode_to_other_images(vae, images):
    rng = random.Random(0)
    for coder in ("simple", "stochastic", "bb-elbo", "bb-is", "bb-cis"):
        options = {"num_particles": 4} if coder in ("bb-is", "bb-cis") else {}
        blob = mcbits.compress(images, vae, coder, lanes=3, **options)
        payload = parts(blob)[1][0]
        for _ in range(50):
            lie = bytearray(payload)
            for _ in range(rng.randrange(1, 4)):
                lie[rng.randrange(1, len(lie))] = rng.randrange(256)
            with contextlib.suppress(McbitsError):
                assert np.array_equal(mcbits.decompress(forged(blob, [bytes(lie)]), vae), images)


def test_precisions_that_the_file_was_not_made_with_are_an_error_of_mcbits(vae, images, blob):
    rng = random.Random(0)
    own = parts(blob)[0].precisions
    for _ in range(200):
        changed = own | {rng.choice(list(own)): rng.randrange(66) for _ in range(2)}
        if changed != own:
            with pytest.raises(McbitsError):
                mcbits.decompress(forged(blob, precisions=changed), vae)


def test_what_compress_writes_can_be_read_however_large_its_images(vae, images, monkeypatch):
    monkeypatch.setattr("mcbits.archive.encoding.BLOCK_SIZE", MAX_BLOCK // images[0].size + 1)
    assert np.array_equal(mcbits.decompress(mcbits.compress(images, vae, "bb-elbo", verify=False), vae), images)


def model_parts(vae):
    """Specification and tensors of a frozen model."""
    size = int.from_bytes(vae.data[:8], "little")
    head = json.loads(json.loads(vae.data[8 : 8 + size])["__metadata__"]["mcbits"])
    return head, safetensors.numpy.load(vae.data)


def model(head, tensors):
    return safetensors.numpy.save(tensors, metadata={"mcbits": json.dumps(head)})


def test_any_value_anywhere_in_a_model_is_proved_or_refused(vae, images):
    rng = random.Random(0)
    head, tensors = model_parts(vae)
    for path in places(head):
        for value in rng.sample(STRANGE, 4):
            try:
                loaded = FrozenVAE(model(put(head, path, value), tensors))
                x = images.reshape(-1, *loaded.shape)
                assert np.array_equal(mcbits.decompress(mcbits.compress(x, loaded, "bb-elbo"), loaded), x)
            except McbitsError:
                pass


def test_tensors_of_any_type_shape_and_value_are_proved_or_refused(vae, images):
    head, tensors = model_parts(vae)
    for name, good in tensors.items():
        kinds = [good.astype(t) for t in (np.float32, np.float64, np.uint8, np.bool_, np.int64)]
        extremes = [np.where(np.arange(good.size).reshape(good.shape) == 0, v, good) for v in (-(2**63), 2**53, 2**24)]
        shapes = [good[:0], good[None], good.reshape(-1)[0], good.reshape(-1), good[:-1].copy()]
        for wrong in (*kinds, *extremes, *shapes):
            try:
                loaded = FrozenVAE(model(head, tensors | {name: np.asarray(wrong)}))
                assert np.array_equal(mcbits.decompress(mcbits.compress(images, loaded, "bb-elbo"), loaded), images)
            except ModelError:
                pass
        with pytest.raises(ModelError):
            FrozenVAE(model(head, {k: v for k, v in tensors.items() if k != name}))
        with pytest.raises(ModelError):
            FrozenVAE(model(head, tensors | {f"{name}.more": good}))


def test_every_truncation_of_a_model_is_refused(vae):
    for size in (*range(64), *range(64, len(vae.data), 97)):
        with pytest.raises(ModelError):
            FrozenVAE(vae.data[:size])


@pytest.mark.parametrize(
    "shape",
    [[float("inf")], ["5", "6"], {"5": 1, "6": 1}, "56", [-5, -6], [5.0, 6.0], [True, 30], [], [1] * 8 + [30], 30],
)
def test_a_model_whose_images_have_no_shape_is_refused(vae, shape):
    head, tensors = model_parts(vae)
    with pytest.raises(ModelError):
        FrozenVAE(model(put(head, ("meta", "shape"), shape), tensors))


def test_a_reshape_to_too_many_dimensions_is_refused():
    layer = {"op": "reshape", "inputs": [0], "shape": [1] * 8 + [30], "bound": 1}
    with pytest.raises(ModelError) as error:
        network([30], 1, [layer], {}, [1] * 8 + [30])
    assert "\n" not in str(error.value)


def test_what_rounds_to_small_integers_keeps_within_its_fractional_bits():
    x = np.arange(-8, 8, dtype=np.float32)[None]
    scale = {"op": "scale", "inputs": [0], "bits": 31, "bound": 8 << 31}
    clamp = {"op": "round", "inputs": [1], "frac": 31, "low": -(1 << 23), "high": 1 << 23, "bound": 1 << 23}
    try:
        (rounded,) = network([16], 8, [scale, clamp], {}, [16]).run(x)
    except ModelError:
        return
    assert not rounded.any()  # +-2^23 units of 2^-31 are 0 to the nearest integer


def test_a_stride_costs_no_more_than_the_kernel_it_steps_over():
    layer = ConvTranspose2d(inputs=(0,), frac=0, stride=(4096, 4096), padding=(0, 0), output_padding=(0, 0))
    tensors = {"weight": np.ones((1, 1, 1, 1, 1), np.int8), "bias": np.ones(1, np.int8)}
    tracemalloc.start()
    try:
        layer.result([FixedPoint(shape=(1, 1, 1), frac=0, bound=1)], tensors)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_bound_of_a_transposed_convolution_is_that_of_its_largest_phase():
    weight = np.random.default_rng(0).integers(-9, 10, (2, 3, 5, 4, 2)).astype(np.int8)
    for stride in [(1, 1), (2, 3), (3, 2), (5, 4), (4, 7), (9, 1)]:
        layer = ConvTranspose2d(inputs=(0,), frac=0, stride=stride, padding=(0, 0), output_padding=(0, 0))
        tensors = {"weight": weight, "bias": np.zeros(4, np.int8)}
        phases = np.zeros((2, *stride, 2), int)
        for i, j in np.ndindex(5, 4):
            phases[:, i % stride[0], j % stride[1]] += np.abs(weight[:, :, i, j].astype(int)).sum(axis=1)
        assert layer.result([FixedPoint(shape=(6, 2, 2), frac=0, bound=3)], tensors).bound == 3 * phases.max()


@pytest.mark.parametrize("pixels", [1, 2, 6])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolution_whichever_of_image_and_kernel_is_larger(pixels, groups):
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (3, 4, pixels, pixels)).astype(np.int8)
    for stride in [(1, 1), (2, 3), (6, 4)]:
        for padding in [(0, 0), (1, 2)]:
            module = torch.nn.ConvTranspose2d(4, 6, (3, 5), stride, padding, groups=groups, bias=False)
            module.weight.data = torch.tensor(rng.integers(-9, 10, module.weight.shape).astype(np.float32))
            frozen = freeze(module, [FixedPoint(shape=x.shape[1:], frac=0, bound=9)], [0])
            assert np.array_equal(frozen.run(x)[0], module(torch.tensor(x).float()).detach().numpy())


@pytest.mark.parametrize("identity_above", [False, True])
@pytest.mark.parametrize("low", [-(2**30), 2**30, -6, 5])
def test_a_table_that_no_value_reaches_is_refused(low, identity_above):
    layer = {"op": "lookup", "inputs": [0], "table": 0, "low": low, "index_frac": 0, "frac": 0}
    layer |= {"identity_above": identity_above, "bound": 4}
    with pytest.raises(ModelError, match="reaches"):
        network([16], 4, [layer], {"table.0": np.full(2, 4, np.int16)}, [16])


def test_a_small_model_cannot_ask_for_more_memory_than_it_may():
    def run(count, **fields):
        return [{"op": "round", "inputs": [i], "frac": 0, "bound": 1} | fields for i in range(count)]

    table = {"op": "lookup", "table": 0, "low": 0, "index_frac": 0, "frac": 0, "identity_above": False}
    conv = {"op": "conv2d", "inputs": [0], "frac": 0, "stride": [4096] * 2, "dilation": [1, 1], "bound": 2}
    ones = {"0.weight": np.ones((1, 1, 1, 1, 1), np.int8), "0.bias": np.ones(1, np.int8)}
    back = conv | {"op": "conv_transpose2d", "padding": [4096] * 2, "output_padding": [0, 0]}
    del back["dilation"]
    tracemalloc.start()
    try:
        for shape, layers, tensors, out in (
            ([1 << 20], run(64), {}, [1 << 20]),  # many large values
            ([2], run(1025, **table), {"table.0": np.ones(1 << 16, np.int8)}, [2]),  # a table read often
            ([1, 1, 1], [conv | {"padding": [4096] * 2}], ones, [1, 3, 3]),  # a large buffer
            ([1, 5, 5], [back], ones, [1, 8193, 8193]),  # a large result
            ([1 << 40], run(1), {}, [1 << 40]),
        ):
            with pytest.raises(ModelError, match="elements"):
                network(shape, 1, layers, tensors, out)
        with pytest.raises(ModelError, match="elements"):
            network([1 << 20], 1, run(1), {}, [1 << 20], outputs=64)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
        # Many layers of few elements: as many rows at a time as fit.
        network([1], 1, run(2000), {}, [1]).run(np.zeros((1 << 16, 1), np.uint8))
        assert tracemalloc.get_traced_memory()[1] < 8 << 26
    finally:
        tracemalloc.stop()


def test_only_integers_within_the_bound_enter_a_network():
    frozen = network([1], 8, [{"op": "round", "inputs": [0], "frac": 0, "bound": 8}], {}, [1])
    for dtype in "bhilqBHILQefdg":
        assert frozen.run(np.array([[7]], dtype))[0] == 7
    for x in (3 + 1e-10, 2**63, -(2**63), 2**64 - 1, 2**24 + 1, 9, 1e300, np.nan, np.inf, 3j, "3", None, b"3"):
        with pytest.raises(DataError):
            frozen.run(np.array([[x]]))
    for inputs in ((), (np.zeros((1, 1)),) * 2, (np.zeros((1, 2)),)):
        with pytest.raises(DataError):
            frozen.run(*inputs)


def test_threads_leave_the_precision_of_torch_as_it_was():
    engine, x = backend("torch:cpu"), np.ones((2, 2), np.float32)
    weight, before, interval = engine.prepare(x), torch.get_float32_matmul_precision(), sys.getswitchinterval()
    torch.set_float32_matmul_precision("high")
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda _: engine.product(x, weight, np.empty((2, 2), np.float32)), range(2000)):
                pass
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        sys.setswitchinterval(interval)
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "call",
    [
        "GaussianBuckets(*np.zeros((2, 1, 1), np.int32), 8, 16).inverse(np.zeros((4000, 4000), int))",
        "Categorical(np.ones((1, 1, 4), int), 8).inverse(np.zeros((4000, 4000), int))",
        "Categorical(np.ones((1, 1, 4), int), 8).inverse(np.array([[2**31]]))",
    ],
)
def test_quantiles_that_do_not_fit_a_distribution_are_refused(call):
    imports = "import numpy as np\nfrom mcbits.distributions import *\nfrom mcbits.errors import DataError\n"
    code = f"{imports}try:\n    {call}\nexcept DataError:\n    print('refused')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "refused\n"


def network(shape, bound, layers, tensors, out, outputs=1):
    """A frozen network of these layers, whose outputs are all the last of them."""
    spec = {
        "inputs": [{"shape": shape, "frac": 0, "bound": bound}],
        "layers": layers,
        "outputs": [{"value": len(layers), "kind": "linear", "frac": 0, "shape": out}] * outputs,
    }
    return FrozenNetwork.from_tensors(tensors, spec)


# Pixels that see their neighbours

GOLDEN = json.loads(corpus.CORPUS.read_text())["files"]
SMALL = {job["model"]: (name, job) for name, job in GOLDEN.items() if "symbols" in job}
"""A golden file, and its job, of each model of pixels."""
PIXELS = [name for name, (_, job) in SMALL.items() if job["arguments"]["coder"] == "simple"]
FITS = [2, 16, 17, 99, 257, 65_537, [[1]] * 3, [[1]] * 257, [[1, 2], [3]], [[2**15]] * 3, [[1.0]] * 3, [["1"]] * 3]


def golden(name):
    """A model of pixels, a file that was made with it, and its images."""
    file, job = SMALL[name]
    return load_frozen(corpus.model_bytes(name)), (corpus.FOLDER / file).read_bytes(), corpus.job_images(job)


def refuses(error, data):
    with pytest.raises(error) as caught:
        load_frozen(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SMALL)
def test_any_value_anywhere_in_a_pixel_model_is_proved_or_refused(name):
    frozen, _, x = golden(name)
    coder, (head, tensors), rng = SMALL[name][1]["arguments"]["coder"], model_parts(frozen), random.Random(0)
    for path in places(head):
        for value in rng.sample(STRANGE + FITS, 8 if path[:1] == ("meta",) else 2):
            try:
                loaded = load_frozen(model(put(head, path, value), tensors))
                assert np.array_equal(mcbits.decompress(mcbits.compress(x[:2], loaded, coder), loaded), x[:2])
            except McbitsError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    "key, value",
    [
        *(("radius", value) for value in (0, 1, 3, 17, 2**31, True, 2.0, "2", None, float("nan"))),
        *(("shape", value) for value in ([0], [0, 0, 2], [0, 0, 0], [0, 0, 5], [0, 0, 1, 1], [0, 0, 2**62], [-1, 0])),
        *(("observation", value) for value in ("bernoulli", "categorical", "gaussian", None)),
        *(("observation_options", {"M": 3, "symbols": K, "unit": 0}) for K in (0, 1, 65_537, -2, 256.0, float("nan"))),
        *(("observation_options", {"M": M, "symbols": 256, "unit": 0}) for M in (0, 2, 9, 99, True, float("inf"))),
        *(("observation_options", {"M": 3, "symbols": 256, "unit": unit}) for unit in (-1, 17, 99, 10**30, "0")),
        *(("observation_options", value) for value in ({"K": 256}, [], ["M"], 5, "M", None)),
    ],
)
def test_a_pixel_model_whose_parts_do_not_fit_is_refused(key, value):
    head, tensors = model_parts(frozen_pixels())
    refuses(McbitsError, model(put(head, ("meta", key), value), tensors))


@pytest.mark.parametrize(
    "codes", [None, [], [[]] * 3, [1, 2, 3], [[1]] * 2, [[1]] * 4, [[1, 2]] * 3, [[1], [2], [3, 4]], [[1], [2], [True]],
              [[1], [2], [1024]], [[1], [2], [-(2**15)]], [[1], [2], [2**63]], [[1], [2], [0.5]], [[1], [2], ["3"]],
              [[1], [2], [float("nan")]], [[[1]]] * 3, {"0": [1]}, "123", 7]
)  # fmt: skip
def test_codes_of_symbols_that_are_no_table_of_integers_are_refused(codes):
    head, tensors = model_parts(golden("coins")[0])
    refuses(ModelError, model(put(head, ("meta", "inputs"), codes), tensors))


@pytest.mark.parametrize(
    "field, value", [("bound", 127), ("bound", 1), ("frac", 1), ("shape", [15]), ("shape", [4, 4])]
)
def test_a_head_that_is_not_proved_for_what_it_reads_is_refused(field, value):
    head, tensors = model_parts(frozen_pixels())
    own = head["networks"]["head0"]
    bound = own["inputs"][0]["bound"] if field != "bound" else value
    reach = np.abs(tensors["head0.0.weight"].astype(np.int64)).sum(0) * bound + np.abs(tensors["head0.0.bias"])
    head = put(head, ("networks", "head0", "layers", 0, "bound"), int(reach.max()))
    refuses(ModelError, model(put(head, ("networks", "head0", "inputs", 0, field), value), tensors))


def test_heads_too_many_or_too_few_are_no_crash():
    head, tensors = model_parts(frozen_pixels(2))
    one = {"meta": head["meta"] | {"shape": [0, 0]}, "format": 1, "networks": head["networks"]}
    renamed = {"head0": head["networks"]["head1"], "head1": head["networks"]["head0"]}
    swapped = {f"head{1 - int(k[4])}{k[5:]}": v for k, v in tensors.items()}
    refuses(ModelError, model(one, tensors))
    refuses(ModelError, model(head | {"networks": renamed}, swapped))
    refuses(ModelError, model(put(head, ("meta", "shape"), [0, 0, 3]), tensors))


def test_a_pixel_vae_of_no_size_or_without_features_is_refused():
    head, tensors = model_parts(golden("pixel-vae")[0])
    for shape in ([0, 0], [0, 6], [30], [5, 6, 0], [5, 7], [1, 1, 5, 6], [2, 15, 1, 1]):
        refuses(ModelError, model(put(head, ("meta", "shape"), shape), tensors))
    refuses(ModelError, model(put(head, ("networks", "decoder", "outputs", 0, "frac"), 6), tensors))
    refuses(ModelError, model(put(head, ("networks", "decoder", "outputs"), []), tensors))


@pytest.mark.parametrize("name", SMALL)
def test_any_value_anywhere_in_a_pixel_files_header_is_no_crash(name):
    frozen, blob, x = golden(name)
    rng, header = random.Random(0), parts(blob)[0]
    document = {k: v for k, v in vars(header).items() if k not in ("model", "model_id")} | {"shape": list(header.shape)}
    for path in places(document):
        particles = path == ("options", "num_particles")
        for value in [0, -1, 1.5, None, True, "x", 3] if particles else rng.sample(STRANGE, 8):
            with contextlib.suppress(McbitsError):
                lie = with_header_text(blob, json.dumps(put(document, path, value)).encode())
                assert np.array_equal(mcbits.decompress(lie, frozen).ravel(), x.ravel())


@pytest.mark.parametrize("name", SMALL)
def test_random_payloads_of_pixels_never_decode_to_other_images(name):
    frozen, blob, x = golden(name)
    rng, payloads = random.Random(0), parts(blob)[1]
    for _ in range(40):
        lie = [bytearray(payload) for payload in payloads]
        for _ in range(rng.randrange(1, 4)):
            one = rng.choice(lie)
            one[rng.randrange(len(one))] = rng.randrange(256)
        with contextlib.suppress(McbitsError):
            assert np.array_equal(mcbits.decompress(forged(blob, map(bytes, lie)), frozen), x)


@pytest.mark.parametrize("name", PIXELS)
def test_pixels_whose_words_run_out_are_refused(name):
    """Of words missing from the bottom, a decoder sees none missing until it needs them."""
    frozen, _, x = golden(name)
    blob = mcbits.compress(x[:1, :4, :4], frozen)
    (payload,) = parts(blob)[1]
    words, drawn, tail = payload[9], payload[10], payload[11:]
    assert 0 < words < 128 and len(tail) == 4 * words
    for missing in {1, 2, words // 2, words} & set(range(1, words + 1)):
        start = payload[:9] + bytes([words - missing, drawn])
        for lie in (tail[4 * missing :], tail[: len(tail) - 4 * missing]):
            with pytest.raises(FormatError) as error:
                mcbits.decompress(forged(blob, [start + lie]), frozen)
            assert "\n" not in str(error.value)


def test_a_strict_pop_ends_within_a_front_of_the_last_word():
    stack = Stack(2)
    with pytest.raises(StackError, match="ends before"):
        frozen_pixels().neighbours.pop(stack, (4, 1000, 1000), np.empty((4, 1000, 1000, 0), np.int16), 22, True)
    assert 0 < stack.drawn < 100


def test_what_is_popped_of_one_row_is_memory_of_its_own():
    noise = np.random.default_rng(0).integers(0, 1 << 32, 100, dtype=np.uint64)
    stack = Stack.from_words(np.array([1 << 40], np.uint64), [noise])
    popped = frozen_pixels().neighbours.pop(stack, (1, 1, 30), np.empty((1, 1, 30, 0), np.int16), 22, True)
    assert popped.shape == (1, 1, 30, 1) and popped.flags.owndata


CLAIM = """
import resource, sys
import numpy as np
sys.path[:0] = sys.argv[1:]
import corpus, mcbits, test_hostile
from mcbits.errors import FormatError

def used():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

print(used())
for name in ("grey", "rgba", "coins", "palette"):
    frozen, blob, x = test_hostile.golden(name)
    assert np.array_equal(mcbits.decompress(blob, frozen), x)
    C = x.shape[3:]
    most = 1 << 24
    for n, shape in ((1, (1 << 13, 1 << 15)), (1, (most, 16)), (1, (16, most)), (1, (most, 1)), (2048, (8, 16))):
        count = bytes([n & 127 | 128, n >> 7])
        payload = count + (2**40 + 12345).to_bytes(8, "little") + bytes(2)
        lie = test_hostile.forged(blob, [payload], n, shape=(*shape, *C), lanes=1, block_size=n)
        try:
            mcbits.decompress(lie, frozen)
        except FormatError as error:
            assert "does not decode" in str(error), error
        else:
            print("decoded")
    print(used())
"""


def test_a_claim_of_a_thousand_million_pixels_costs_no_memory():
    places = [str(ROOT / "tests"), str(ROOT / "tests" / "golden")]
    done = subprocess.run([sys.executable, "-c", CLAIM, *places], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    at_rest, *used = map(int, done.stdout.split())
    assert len(used) == 4 and max(used) - at_rest < 150 << 10


@pytest.mark.parametrize("coder", ["stochastic", "bb-elbo", "bb-is", "bb-cis"])
def test_a_file_of_pixels_by_a_coder_of_latents_is_refused(coder):
    frozen, blob, _ = golden("grey")
    options = {"num_particles": 4} if coder in ("bb-is", "bb-cis") else {}
    with pytest.raises(FormatError, match="needs latents"):
        mcbits.decompress(forged(blob, coder=coder, options=options), frozen)


@pytest.mark.parametrize(
    "changes",
    [
        {"block_size": 2049},
        {"block_size": 1 << 22},
        {"ramp": 256},
        {"refinement": {"steps": 1, "lr": 0.1}},
        {"sequences": True},
        {"shape": (221,)},
        {"shape": (13, 17, 1)},
        {"shape": (13, 17, 2)},
        {"shape": (1, 13, 17, 1)},
    ],
)
def test_a_header_that_does_not_fit_pixels_is_refused(changes):
    frozen, blob, _ = golden("grey")
    with pytest.raises(FormatError) as error:
        mcbits.decompress(forged(blob, **changes), frozen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("precision", [0, 1, 7, 31, 33, 64])
def test_a_precision_that_no_symbol_fits_is_refused(precision):
    frozen, blob, _ = golden("grey")
    with pytest.raises(FormatError):
        mcbits.decompress(forged(blob, precisions=parts(blob)[0].precisions | {"cond_mprec": precision}), frozen)


@pytest.mark.parametrize("dtype, symbols", [("bool", 256), ("uint8", 300)])
def test_a_symbol_beyond_its_type_is_refused(dtype, symbols):
    frozen, x = frozen_pixels(symbols=symbols), smooth_pictures((2, 5, 6), symbols)
    x[1, 2, 3] = symbols - 1
    blob = mcbits.compress(x, frozen)
    small = x.astype(dtype)
    header, payloads, end = parts(blob)
    end = replace(end, digest=sha256(small.tobytes()).digest())  # of what it would wrap to
    lie = replace(header, dtype=dtype).pack() + pack_block(0, payloads[0]) + end.pack()
    with pytest.raises(FormatError, match="a symbol beyond"):
        mcbits.decompress(lie, frozen)


def test_features_of_more_particles_than_fit_in_memory_are_refused(monkeypatch):
    frozen, blob, _ = golden("pixel-vae")
    monkeypatch.setattr(ISBitsBackCoder, "decode", lambda *_: pytest.fail("it began to decode"))
    lie = forged(blob, coder="bb-is", options={"num_particles": 1 << 16}, ramp=0)
    frozen.num_features = 1 << 6
    with pytest.raises(FormatError, match="too many to hold"):
        mcbits.decompress(lie, frozen)


def test_a_block_that_needs_more_memory_than_there_is_is_one_line(vae, blob, monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr(BlockCodec, "_decode", full)
    with pytest.raises(FormatError, match="do not fit in memory"):
        mcbits.decompress(blob, vae)
