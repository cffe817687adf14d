"""Layers multiplied as 16-bit integers give what the backends' float products give, whichever registers do it."""

import numpy as np
import pytest
import torch
from torch import nn

from mcbits.core import simd
from mcbits.errors import DataError
from mcbits.exact import FixedPoint, FrozenNetwork
from mcbits.exact.freeze import freeze


@pytest.fixture(autouse=True)
def registers():
    yield
    simd.set_width(-1)


class TwoHeads(nn.Module):
    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden + 1), nn.Hardtanh())
        self.a, self.b = nn.Linear(hidden + 1, outputs), nn.Linear(hidden + 1, 2 * outputs)

    def forward(self, x):
        h = self.trunk(x)
        return self.a(h), self.b(h)


def frozen(inputs: int, hidden: int, outputs: int, bound: int) -> tuple[FrozenNetwork, FrozenNetwork]:
    """A network as 16-bit integers, and the same one in float32 products."""
    torch.manual_seed(inputs + hidden)
    known = FixedPoint(shape=(inputs,), frac=0 if bound == 1 else 8, bound=bound)
    network = freeze(TwoHeads(inputs, hidden, outputs), [known], [8, 10])
    simd.set_width(0)
    return network, FrozenNetwork(network.inputs, network.layers, network.outputs, network.tensors)


@pytest.mark.parametrize("wide", [0, 1, 2])
@pytest.mark.parametrize("bound", [1, 255, 1024])
@pytest.mark.parametrize("inputs, hidden, outputs", [(1, 129, 1), (7, 133, 16), (50, 200, 50), (151, 131, 17)])
def test_any_registers_give_the_float_products(inputs, hidden, outputs, bound, wide):
    simd.set_width(-1)
    if simd.width() < wide or simd.width() == 0:
        pytest.skip(f"this processor has no registers of width {wide} for 16-bit products")
    network, reference = frozen(inputs, hidden, outputs, bound)
    assert network._dense is not None and reference._dense is None
    rng = np.random.default_rng(inputs)
    simd.set_width(wide)
    for rows in (0, 1, 2, 6, 7, 8, 50, 57, 115):
        x = rng.integers(-bound, bound + 1, (rows, inputs)).astype(np.int16)
        x[::2] *= rng.random((len(x[::2]), inputs)) < 0.1  # mostly zeros, which takes another way
        x[::5] = bound
        for got, want in zip(network.run(x), reference.run(x), strict=True):
            assert np.array_equal(got, want)
        for dtype in (np.int32, np.int64, np.float32, np.float64):
            assert np.array_equal(network.run(x.astype(dtype))[0], reference.run(x)[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64, np.float32])
def test_an_input_beyond_its_bound_is_refused(dtype):
    network, _ = frozen(12, 133, 3, 100)
    x = np.zeros((70, 12), dtype)
    x[69, 11] = 101
    with pytest.raises(DataError, match="within"):
        network.run(x)
