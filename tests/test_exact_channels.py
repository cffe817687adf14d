"""A layer whose channels differ in size keeps the bits that each channel would have alone."""

import json

import mcbits_reader as reader
import numpy as np
import pytest
import torch
from torch import nn

from mcbits.core import simd
from mcbits.errors import ModelError
from mcbits.exact import FixedPoint, FrozenNetwork, dumps, load
from mcbits.exact.freeze import freeze
from mcbits.exact.gradient import Gradient

KNOWN = FixedPoint(shape=(40,), frac=8, bound=1024)
GRID = FixedPoint(shape=(4, 6, 6), frac=8, bound=1024)
SIZES = torch.logspace(-1, 2, 12)
"""Factors of the channels: the largest is 1000 times the smallest."""

LAYERS = {
    "linear": (lambda: nn.Linear(40, 12), KNOWN, 0),
    "conv": (lambda: nn.Conv2d(4, 12, 3, padding=1), GRID, 0),
    "conv groups": (lambda: nn.Conv2d(4, 12, 3, groups=2), GRID, 0),
    "conv transpose": (lambda: nn.ConvTranspose2d(4, 12, 4, stride=2, padding=1), GRID, 1),
}


@pytest.fixture(autouse=True)
def registers():
    yield
    simd.set_width(-1)


def uneven(name: str) -> tuple[nn.Module, FixedPoint]:
    torch.manual_seed(0)
    make, known, axis = LAYERS[name]
    layer = make()
    with torch.no_grad():
        layer.weight *= SIZES.reshape([-1 if i == axis else 1 for i in range(layer.weight.dim())])
        layer.bias *= SIZES
    return layer, known


def draw(known: FixedPoint, rows: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(-known.bound, known.bound + 1, (rows, *known.shape)).astype(np.int32)


def errors(network: FrozenNetwork, module: nn.Module, x: np.ndarray) -> np.ndarray:
    """Return the rms error of each channel."""
    with torch.no_grad():
        want = module.double()(torch.tensor(x, dtype=torch.float64) / 2 ** network.inputs[0].frac).numpy()
    module.float()
    error = np.moveaxis(network.run(x)[0] / 2 ** network.outputs[0].frac - want, 1, -1)
    return np.sqrt(np.square(error.reshape(-1, error.shape[-1])).mean(axis=0))


@pytest.mark.parametrize("name", LAYERS)
def test_each_channel_is_as_exact_as_it_is_alone(name):
    layer, known = uneven(name)
    network = freeze(layer, [known], [12])
    got = errors(network, layer, draw(known))
    frac = network.layers[0].frac
    assert {value.dtype for value in network.values} == {"float32"} and max(network.layers[0].shifts) >= 8
    for channel, size in enumerate(SIZES.tolist()):
        alone, _ = uneven(name)
        with torch.no_grad():
            # All channels of this one's size.
            alone.weight *= (size / SIZES).reshape([-1 if w == 12 else 1 for w in alone.weight.shape])
            alone.bias *= size / SIZES
        own = errors(freeze(alone, [known], [12]), alone, draw(known))[channel]
        assert got[channel] < 1.5 * own + 2.0 ** -(frac + known.frac), size


def network(name: str) -> FrozenNetwork:
    """The uneven layer, and for the linear one also a table, a clamp and an output that read such layers."""
    layer, known = uneven(name)
    if name != "linear":
        return freeze(layer, [known], [8])
    module = nn.Sequential(layer, nn.Tanh(), nn.Linear(12, 12), nn.Hardtanh(-3, 3), nn.Linear(12, 12))
    with torch.no_grad():
        module[2].weight *= 30 * SIZES[:, None]
        module[4].weight *= 30 * SIZES.flip(0)[:, None]
    return freeze(module, [known], [8])


@pytest.mark.parametrize("wide", [0, 1, 2])
def test_any_registers_give_the_same_bits(wide):
    if simd.width() < max(wide, 1):
        pytest.skip(f"this processor has no registers of width {wide} for 16-bit products")
    dense = network("linear")
    assert dense.slow_layer is None and sum(bool(x.shifts) for x in dense.layers if x.op == "linear") == 3
    simd.set_width(0)
    floats = load(dumps({"n": dense}, {}))[0]["n"]
    assert floats._dense is None and dense._dense is not None
    simd.set_width(wide)
    for rows in (1, 6, 57):
        x = draw(KNOWN, rows)
        assert np.array_equal(dense.run(x)[0], floats.run(x)[0])


@pytest.mark.parametrize("name", LAYERS)
def test_backends_and_the_reader_of_the_format_give_the_same_bits(name):
    frozen = network(name)
    x = draw(frozen.inputs[0], 5)
    want = frozen.run(x)[0]
    assert np.array_equal(frozen.with_backend("torch:cpu").run(x)[0], want)
    _, networks = reader.load(dumps({"n": frozen}, {}))
    for row, expected in zip(x, want, strict=True):
        assert networks["n"].run(row.ravel().tolist())[1][0] == expected.ravel().tolist()


def test_a_file_is_of_version_2_only_if_a_channel_has_a_shift():
    def version(frozen: FrozenNetwork) -> int:
        blob = dumps({"n": frozen}, {})
        assert dumps(load(blob)[0], {}) == blob
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return json.loads(header["__metadata__"]["mcbits"])["format"]

    assert version(network("linear")) == 2
    assert version(freeze(nn.Linear(40, 12), [KNOWN], [8])) == 1


@pytest.mark.parametrize(
    "shifts, message", [((1, 2), "2 shifts for 12 channels"), ((25,) * 12, "fractional bits"), ((1,) * 12, "beyond 2")]
)
def test_shifts_outside_the_premise_are_refused(shifts, message):
    layer, known = uneven("linear")
    frozen = freeze(layer, [known], [8])
    tensors = dict(frozen.tensors)
    if message == "beyond 2":
        tensors["0.weight"] = tensors["0.weight"].astype(np.int32) * 4
    bad = frozen.layers[0].model_copy(update={"shifts": shifts})
    with pytest.raises(ModelError, match=message):
        FrozenNetwork(frozen.inputs, (bad,), frozen.outputs, tensors)


@pytest.mark.parametrize("bound", [1 << 12, 1 << 40])
def test_the_gradient_draws_each_channel_back_by_its_own_weights(bound):
    layer, known = uneven("linear")
    gradient = Gradient(freeze(layer, [known], [8]), bound)
    g = np.rint(np.random.default_rng(7).uniform(-bound, bound, (50, 12)) * (0.1 / SIZES.numpy()))
    got, want = gradient.pull(g, gradient.run(draw(known, 50))), g @ layer.weight.detach().double().numpy()
    assert np.abs(got - want).max() < 0.002 * np.abs(want).max()
