"""Bounds grow with the depth of a network; its error does not, or it is refused with what to do."""

import numpy as np
import pytest
import torch
from torch import nn

from mcbits.errors import FreezeError
from mcbits.exact import FixedPoint
from mcbits.exact.freeze import freeze

BLOCKS = 12


class Block(nn.Module):
    def __init__(self, a: nn.Module, b: nn.Module) -> None:
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x):
        return x + self.b(torch.relu(self.a(x)))


def conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


@pytest.mark.parametrize("make, shape", [(conv, (3, 8, 8)), (nn.Linear, (50,))], ids=["conv", "linear"])
def test_depth_costs_no_accuracy(make, shape):
    torch.manual_seed(0)
    blocks = [Block(make(64, 64), make(64, 64)) for _ in range(BLOCKS)]
    module = nn.Sequential(make(shape[0], 64), *blocks, make(64, 6)).eval()
    known = FixedPoint(shape=shape, frac=8, bound=1024)
    frozen = freeze(module, [known], [12])
    assert max(value.bound for value in frozen.values) > 1 << 30
    x = np.random.default_rng(0).normal(0, 256, (8, *shape)).clip(-1024, 1024).round().astype(np.float32)
    with torch.no_grad():
        want = module.double()(torch.tensor(x, dtype=torch.float64) / 256).numpy()
    assert np.sqrt(np.square(frozen.run(x)[0] / 4096 - want).mean()) < 0.02 * want.std()
    assert np.array_equal(frozen.run(x)[0], frozen.with_backend("torch:cpu").run(x)[0])


@pytest.mark.parametrize(
    "clamp, bound",
    [(nn.Hardtanh(-4, 4), 4), (nn.ReLU6(), 6), (lambda x: torch.clamp(x, -3, 2), 3)],
    ids=["Hardtanh", "ReLU6", "clamp"],
)
def test_a_clamp_between_blocks_restores_a_small_bound(clamp, bound):
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.clamp, self.b = nn.Linear(50, 64), clamp, nn.Linear(64, 6)

        def forward(self, x):
            return self.b(self.clamp(self.a(x)))

    torch.manual_seed(0)
    frozen = freeze(Clamped(), [FixedPoint(shape=(50,), frac=8, bound=1 << 20)], [12])
    assert frozen.values[2].bound == bound << 8 and frozen.values[3].dtype == "float32"


class Square(nn.Module):
    def __init__(self, wide: nn.Module) -> None:
        super().__init__()
        self.wide = wide

    def forward(self, x):
        y = torch.relu(self.wide(x))
        return y * y


def wide(outputs: int) -> nn.Linear:
    layer = nn.Linear(1, outputs)
    nn.init.constant_(layer.weight, 1e6)
    return layer


def equal(inputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, 1)
    nn.init.constant_(layer.weight, 1.0)
    return layer


@pytest.mark.parametrize(
    "module, place",
    [
        (nn.Sequential(wide(70_000), nn.ReLU(), equal(70_000)), r"'vae\.2' \(Linear\)"),
        (Square(wide(3)), r"'vae' \(mul\)"),
    ],
    ids=["linear", "multiply"],
)
def test_too_few_bits_are_refused_with_a_clamp_as_advice(module, place):
    known = FixedPoint(shape=(1,), frac=0, bound=1 << 23)
    with pytest.raises(FreezeError, match=rf"layer {place} cannot be frozen: .*put a clamp \(nn.Hardtanh\) before"):
        freeze(module, [known], [8], name="vae")
