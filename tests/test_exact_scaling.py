"""Constants that scale and move an input are part of the layers that read it, and cost neither accuracy nor time."""

import numpy as np
import pytest
import torch
from builders import Notices
from torch import nn

from mcbits.exact import FixedPoint
from mcbits.exact.freeze import freeze
from mcbits.plugins.registry import registry

PIXELS = FixedPoint(shape=(36,), frac=0, bound=255)


class Scaled(nn.Module):
    """A network that reads (x - offset) / scale, cut or reshaped as `how` says."""

    def __init__(self, net: nn.Module, scale: float, offset: float, how=lambda x: x) -> None:
        super().__init__()
        self.net, self.scale, self.offset, self.how = net, scale, offset, how

    def forward(self, x):
        return self.net(self.how((x - self.offset) / self.scale))


class Both(nn.Module):
    """Two layers and an output that read one scaled input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(36, 8), nn.Linear(36, 8)

    def forward(self, x):
        y = 2 * (x / 255) - 1
        return torch.tanh(self.a(y)) + self.b(y), y, torch.tanh(y)


def image(x):
    return x.reshape(-1, 4, 3, 3)


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(36, 50), nn.Tanh(), nn.Linear(50, 9))


NETWORKS = {
    "255": lambda: Scaled(dense(), 255, 0),
    "centred": lambda: Scaled(dense(), 127.5, 127.5),
    "shape": lambda: Scaled(nn.Sequential(nn.Flatten(), dense()), 255, 100, image),
    "slice": lambda: Scaled(nn.Linear(20, 9), 255, 100, lambda x: x[:, 8:28]),
    "conv": lambda: Scaled(nn.Conv2d(4, 6, 3), 255, 100, image),
    "padded conv": lambda: Scaled(nn.Conv2d(4, 6, 3, padding=1), 64, 100, image),
    "padded conv of a scaled input": lambda: Scaled(nn.Conv2d(4, 6, 3, padding=1), 255, 0, image),
    "conv transpose": lambda: Scaled(nn.ConvTranspose2d(4, 6, 3), 64, 100, image),
    "both": Both,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_scaled_input_is_what_the_float_network_reads(name):
    torch.manual_seed(0)
    module = NETWORKS[name]().eval()
    frozen = freeze(module, [PIXELS], [12] * (3 if name == "both" else 1))
    x = np.random.default_rng(0).integers(0, 256, (100, 36)).astype(np.int32)
    with torch.no_grad():
        want = module.double()(torch.tensor(x, dtype=torch.float64))
    want = want if isinstance(want, tuple) else (want,)
    for got, expected in zip(frozen.run(x), want, strict=True):
        assert np.abs(got / 4096 - expected.numpy()).max() < 0.01
    for a, b in zip(frozen.run(x), frozen.with_backend("torch:cpu").run(x), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("name", ["255", "centred"])
def test_a_scaled_input_stays_on_16_bit_products(name):
    torch.manual_seed(0)
    frozen = freeze(NETWORKS[name](), [PIXELS], [12])
    assert frozen.slow_layer is None and [layer.op for layer in frozen.layers] == ["linear", "lookup", "linear"]


@pytest.mark.parametrize(
    "middle, message",
    [
        (nn.Tanh(), None),
        (nn.ReLU6(), None),
        (nn.ReLU(), r"layer 'vae.1' (ReLU) reaches"),
        (nn.Softplus(), r"layer 'vae.1' (Softplus) reaches"),
        (nn.Sequential(nn.Tanh(), nn.BatchNorm1d(50)), r"layer 'vae.1.1' (BatchNorm1d) is neither a linear layer nor"),
    ],
)
def test_freezing_tells_which_layer_is_slow(middle, message):
    torch.manual_seed(0)
    notices = Notices()
    with registry().listening(notices):
        freeze(nn.Sequential(nn.Linear(36, 50), middle, nn.Linear(50, 9)).eval(), [PIXELS], [12], name="vae")
    assert len(notices.heard) == (message is not None)
    assert all(message in heard for heard in notices.heard)


def test_freezing_tells_nothing_of_convolutions():
    notices = Notices()
    with registry().listening(notices):
        freeze(nn.Conv2d(4, 6, 3), [FixedPoint(shape=(4, 3, 3), frac=0, bound=1)], [12])
    assert not notices.heard
