"""A model file's bytes follow from the networks alone; a damaged or hostile one is a one-line ModelError."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import nn

from mcbits.errors import ModelError
from mcbits.exact import FixedPoint, FrozenNetwork, dumps, load, save
from mcbits.exact.freeze import freeze


@pytest.fixture(scope="module")
def networks() -> dict[str, FrozenNetwork]:
    torch.manual_seed(0)
    images, latents = FixedPoint(shape=(2, 6, 6), frac=0, bound=1), FixedPoint(shape=(5,), frac=8, bound=1024)
    encoder = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.SiLU(), nn.Flatten(), nn.Linear(27, 5))
    decoder = nn.Sequential(
        nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 18), nn.Tanh(), nn.Unflatten(1, (2, 3, 3)),
        nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1), nn.BatchNorm2d(2), nn.Sigmoid(),
    )  # fmt: skip
    return {"encoder": freeze(encoder, [images], [12]), "decoder": freeze(decoder, [latents], [8])}


META = {"shape": [2, 6, 6], "observation": "bernoulli"}


@pytest.fixture(scope="module")
def blob(networks) -> bytes:
    return dumps(networks, META)


def parts(blob: bytes) -> tuple[dict[str, np.ndarray], dict]:
    length = int.from_bytes(blob[:8], "little")
    head = json.loads(json.loads(blob[8 : 8 + length])["__metadata__"]["mcbits"])
    return {name: x.copy() for name, x in safetensors.numpy.load(blob).items()}, head


def joined(tensors: dict[str, np.ndarray], head: object) -> bytes:
    text = head if isinstance(head, str) else json.dumps(head)
    return safetensors.numpy.save(tensors, metadata={"mcbits": text})


def test_load_inverts_dumps(networks, blob):
    loaded, meta, model_id = load(blob)
    assert meta == META and model_id == hashlib.sha256(blob).hexdigest()
    generator = np.random.default_rng(0)
    for name, network in networks.items():
        known = network.inputs[0]
        x = generator.integers(-known.bound, known.bound + 1, (9, *known.shape)).astype(np.float32)
        assert loaded[name].outputs == network.outputs and loaded[name].values == network.values
        assert np.array_equal(loaded[name].run(x)[0], network.run(x)[0])


def test_bytes_are_deterministic(networks, blob):
    loaded, meta, _ = load(blob)
    assert all(dumps(networks, dict(reversed(META.items()))) == blob for _ in range(5))
    assert dumps(loaded, meta) == blob


def test_equal_tables_are_stored_once(networks):
    tensors, _ = networks["decoder"].to_tensors()
    assert [name for name in tensors if name.startswith("table")] == ["table.0"]
    assert tensors["table.0"].dtype == np.int16


def test_save_writes_the_same_bytes_and_leaves_nothing_else(networks, blob, tmp_path):
    save(tmp_path / "model.mcbits", networks, META)
    assert (tmp_path / "model.mcbits").read_bytes() == blob
    assert [path.name for path in tmp_path.iterdir()] == ["model.mcbits"]
    assert load(tmp_path / "model.mcbits")[2] == hashlib.sha256(blob).hexdigest()
    with pytest.raises(TypeError):
        save(tmp_path / "other", networks, {"shape": object()})
    assert [path.name for path in tmp_path.iterdir()] == ["model.mcbits"]


def refused(data: bytes) -> str:
    with pytest.raises(ModelError) as error:
        load(data)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ModelError, match="cannot read the model"):
        load(tmp_path / "none")


def test_truncated_and_foreign_files_are_refused(blob):
    for size in (0, 1, 7, 8, 9, 100, len(blob) // 2, len(blob) - 1):
        refused(blob[:size])
    refused(blob + b"\0")
    refused(b"\x80\x04" + blob)
    refused(b"\xff" * 64)
    refused(safetensors.numpy.save({"x": np.zeros(3, np.int16)}))
    refused(safetensors.numpy.save({"x": np.zeros(3, np.int16)}, metadata={"mcbits": "[" * 100_000}))


def test_flipped_bytes_never_load_as_another_exact_network_silently(blob):
    """A flipped byte is refused, or else gives a network whose bounds hold, under another model id."""
    generator = np.random.default_rng(0)
    _, _, model_id = load(blob)
    refusals = 0
    for position in generator.integers(0, len(blob), 300):
        damaged = bytearray(blob)
        damaged[position] ^= 1 << int(generator.integers(8))
        try:
            assert load(bytes(damaged))[2] != model_id
        except ModelError as error:
            assert "\n" not in str(error)
            refusals += 1
    assert refusals > 50


def edit(head: dict, path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        head = head[int(key)] if isinstance(head, list) else head[key]
    if value is ...:
        del head[last]
    else:
        head[int(last) if isinstance(head, list) else last] = value


LAYERS = "networks.decoder.layers"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", 3, "format 3"),
        ("networks", [], "no network|not a frozen"),
        ("meta", 3, "damaged"),
        ("networks.decoder", 7, "specification"),
        ("networks.decoder", ..., "belongs to no network"),
        ("networks.decoder.inputs", [], "specification"),
        ("networks.decoder.outputs", [], "specification"),
        ("networks.decoder.extra", 1, "specification"),
        ("networks.decoder.inputs.0.bound", 10**30, "beyond 2"),
        ("networks.decoder.inputs.0.bound", 2048, "stored bound"),
        ("networks.decoder.inputs.0.shape", [6], "shape"),
        ("networks.decoder.inputs.0.shape", [10**9], "larger than"),
        ("networks.decoder.inputs.0.frac", -1, "specification"),
        (f"{LAYERS}.0.bound", 5, "stored bound"),
        (f"{LAYERS}.0.op", "eval", "specification"),
        (f"{LAYERS}.0.frac", 99, "specification"),
        (f"{LAYERS}.0.inputs", [3], "reads a later one"),
        (f"{LAYERS}.0.inputs", [0, 0], "specification"),
        (f"{LAYERS}.0.inputs", [-1], "specification"),
        (f"{LAYERS}.1.table", 9, "missing"),
        (f"{LAYERS}.1.low", -(2**40), "specification"),
        (f"{LAYERS}.1.index_frac", 40, "rounds"),
        (f"{LAYERS}.4.shape", [2, 3, 4], "reshapes"),
        (f"{LAYERS}.5.padding", [4096, 4096], "leaves nothing|elements"),
        (f"{LAYERS}.5.stride", [4096, 4096], "elements"),
        (f"{LAYERS}.5.stride", [0, 1], "specification"),
        ("networks.encoder.layers.0.padding", [4096, 4096], "elements"),
        ("networks.decoder.outputs.0.value", 99, "no output"),
        ("networks.decoder.outputs.0.shape", [1], "no output"),
        ("networks.encoder.outputs.0.frac", 44, "fractional bits"),
        ("networks.decoder.outputs.0.kind", "relu", "specification"),
    ],
)
def test_specification_is_checked(blob, path, value, message):
    tensors, head = parts(blob)
    edit(head, path, value)
    with pytest.raises(ModelError, match=message) as error:
        load(joined(tensors, head))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("decoder.0.weight"), "missing"),
        (lambda t: t.update({"decoder.9.weight": t["decoder.0.weight"]}), "no layer reads"),
        (lambda t: t.update({"stranger": t["decoder.0.weight"]}), "belongs to no network"),
        (lambda t: t.update({"decoder.0.weight": t["decoder.0.weight"].astype(np.float32)}), "integers"),
        (lambda t: t.update({"decoder.0.weight": t["decoder.0.weight"][:, :-1].copy()}), "biases"),
        (lambda t: t.update({"decoder.0.weight": t["decoder.0.weight"].ravel()}), "2-dimensional"),
        (lambda t: t.update({"decoder.0.weight": t["decoder.0.weight"] // 2}), "stored bound"),
        (lambda t: t.update({"decoder.0.bias": np.full(9, -(2**63))}), "beyond 2"),
        (lambda t: t.update({"decoder.0.weight": np.full((5, 9), 2**62)}), "32 bits"),
        (lambda t: t.update({"decoder.table.0": np.full(8192, -(2**31), np.int32)}), "beyond 2|stored bound"),
        (lambda t: t.update({"decoder.table.0": np.zeros(0, np.int16)}), "1-dimensional"),
    ],
)
def test_stored_integers_are_checked(blob, change, message):
    tensors, head = parts(blob)
    change(tensors)
    with pytest.raises(ModelError, match=message) as error:
        load(joined(tensors, head))
    assert "\n" not in str(error.value)
