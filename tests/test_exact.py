"""Frozen networks are close to float ones, exact in any order, the same in any batch, or refused by name."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mcbits.errors import DataError, FreezeError, PlatformError, UsageError
from mcbits.exact import FixedPoint, FrozenNetwork, Output, backends
from mcbits.exact.fixed import SIGNIFICAND_BITS
from mcbits.exact.freeze import freeze
from mcbits.exact.products import Conv2d, ConvTranspose2d, Linear

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
FRAC = 12


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class TwoHeads(nn.Module):
    """A posterior as people write them: a shared trunk, flattened by hand, with a mean and an exp head."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.mean, self.log_scale = nn.Linear(36, 20), nn.Linear(20, 5), nn.Linear(20, 5)

    def forward(self, x):
        h = torch.tanh(self.trunk(x.view(x.size(0), -1)))
        return self.mean(h), torch.exp(0.5 * self.log_scale(h))


class Chunked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(36, 12)

    def forward(self, x):
        mean, log_scale = self.trunk(x.flatten(1)).chunk(2, dim=1)
        return mean, log_scale.clamp(-0.25, 0.25)


class Arithmetic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(36, 7), nn.Linear(36, 7)

    def forward(self, x):
        x = 2 * x.reshape(-1, 36) - 1
        return self.a(x)[:, 1:6] - F.silu(self.b(x))[:, 1:6] / 3


def norm(kind, channels):
    norm = kind(channels)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.2, 3)
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


GRID = (4, 6, 6)
NETWORKS = {
    "linear": lambda: nn.Linear(36, 50),
    "tanh": lambda: nn.Sequential(nn.Linear(36, 50), nn.Tanh(), nn.Linear(50, 9)),
    "sigmoid": lambda: nn.Sequential(nn.Linear(36, 50), nn.Sigmoid(), nn.Linear(50, 9)),
    "relu": lambda: nn.Sequential(nn.Linear(36, 50), nn.ReLU(), nn.Linear(50, 9), nn.ReLU(), nn.Linear(9, 9)),
    "softplus": lambda: nn.Sequential(nn.Linear(36, 50), nn.Softplus(), nn.Linear(50, 9)),
    "softplus with beta": lambda: nn.Sequential(nn.Linear(36, 50), nn.Softplus(beta=0.5), nn.Linear(50, 9)),
    "elu": lambda: nn.Sequential(nn.Linear(36, 50), nn.ELU(alpha=1.5), nn.Linear(50, 9)),
    "silu": lambda: nn.Sequential(nn.Linear(36, 50), nn.SiLU(), nn.Linear(50, 9)),
    "tanh head": lambda: nn.Sequential(nn.Linear(36, 9), nn.Tanh()),
    "softplus head": lambda: nn.Sequential(nn.Linear(36, 9), nn.Softplus()),
    "relu head": lambda: nn.Sequential(nn.Linear(36, 9), nn.ReLU()),
    "dropout": lambda: nn.Sequential(nn.Dropout(), nn.Linear(36, 9)),
    "batch norm 1d": lambda: nn.Sequential(nn.Linear(36, 9), norm(nn.BatchNorm1d, 9), nn.Tanh(), nn.Linear(9, 4)),
    "conv": lambda: nn.Conv2d(4, 6, 3),
    "conv stride padding": lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2)),
    "conv groups": lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False),
    "conv depthwise": lambda: nn.Conv2d(4, 4, 3, padding="same", groups=4),
    "conv dilation": lambda: nn.Conv2d(4, 6, 3, dilation=2, padding=1),
    "conv transpose": lambda: nn.ConvTranspose2d(4, 6, 3),
    "conv transpose stride": lambda: nn.ConvTranspose2d(4, 6, (3, 4), (2, 3), padding=1, output_padding=(1, 0)),
    "conv transpose groups": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
    "conv net": lambda: nn.Sequential(
        *(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(72, 18), nn.Tanh()),
        *(nn.Unflatten(1, (2, 3, 3)), nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1)),
    ),
    "batch norm 2d": lambda: nn.Sequential(nn.Conv2d(4, 6, 3), norm(nn.BatchNorm2d, 6), nn.SiLU(), nn.Conv2d(6, 2, 1)),
    "residual": lambda: nn.Sequential(
        Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ELU(), nn.Conv2d(4, 4, 1))),
        Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())),
        nn.Conv2d(4, 2, 1),
    ),
    "two heads": TwoHeads,
    "chunked": Chunked,
    "arithmetic": Arithmetic,
}


def input_of(name: str) -> FixedPoint:
    if name in ("two heads", "chunked", "arithmetic"):
        return FixedPoint(shape=(1, 6, 6), frac=8, bound=700)
    if name.startswith(("conv", "batch norm 2d", "residual")):
        return FixedPoint(shape=GRID, frac=8, bound=700)
    return FixedPoint(shape=(36,), frac=8, bound=700)


@pytest.fixture(params=NETWORKS)
def case(request) -> tuple[nn.Module, FixedPoint, FrozenNetwork]:
    torch.manual_seed(1)
    module, x = NETWORKS[request.param]().eval(), input_of(request.param)
    heads = 2 if request.param in ("two heads", "chunked") else 1
    return module, x, freeze(module, [x], [FRAC] * heads)


def integers(x: FixedPoint, batch: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-x.bound, x.bound + 1, (batch, *x.shape)).astype(np.float32)


def test_frozen_network_is_close_to_float_network(case):
    module, known, frozen = case
    x = integers(known, 64)
    with torch.no_grad():
        want = module.double()(torch.tensor(x, dtype=torch.float64) / 2**known.frac)
    want = want if isinstance(want, tuple) else (want,)
    for got, expected, output in zip(frozen.run(x), want, frozen.outputs, strict=True):
        expected = {"linear": lambda t: t, "exp": torch.log, "sigmoid": torch.logit}[output.kind](expected).numpy()
        assert got.dtype == np.int32 and got.shape == expected.shape == (64, *output.shape)
        assert np.abs(expected).max() > 0.1
        assert np.abs(got / 2**output.frac - expected).max() < 0.03


def test_no_row_depends_on_its_batch(case):
    _, known, frozen = case
    x = integers(known, 500)
    whole = frozen.run(x)
    for size in (1, 7, 50):
        rows = range(0, 500, size) if size > 1 else range(0, 500, 25)
        for start in rows:
            for part, all_rows in zip(frozen.run(x[start : start + size]), whole, strict=True):
                assert np.array_equal(part, all_rows[start : start + size])


def test_backends_return_the_same_bits(case):
    _, known, frozen = case
    x = integers(known, 50)
    for a, b in zip(frozen.run(x), frozen.with_backend("torch:cpu").run(x), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_returns_the_same_bits(case):
    _, known, frozen = case
    x = integers(known, 50)
    for a, b in zip(frozen.run(x), frozen.with_backend("torch:cuda").run(x), strict=True):
        assert np.array_equal(a, b)


def sums_of(layer, weight: np.ndarray) -> list[np.ndarray]:
    """The weights that add up in each output of the layer."""
    if isinstance(layer, Linear):
        return list(weight.T)
    if isinstance(layer, Conv2d):
        return [column for w in weight for column in w.reshape(-1, w.shape[-1]).T]
    high, wide = layer.stride
    phases = [w[:, i::high, j::wide] for w in weight for i in range(high) for j in range(wide)]
    return [column for w in phases for column in w.reshape(-1, w.shape[-1]).T]


def products_of(frozen: FrozenNetwork) -> list[tuple[int, Linear | Conv2d | ConvTranspose2d]]:
    return [(i, x) for i, x in enumerate(frozen.layers) if isinstance(x, Linear | Conv2d | ConvTranspose2d)]


def test_every_product_is_exact_at_its_bound_in_any_order(case):
    _, _, frozen = case
    generator = np.random.default_rng(3)
    for i, layer in products_of(frozen):
        dtype = frozen.values[len(frozen.inputs) + i].dtype
        bias = np.abs(frozen.tensors[f"{i}.bias"].astype(np.int64)).max()
        w = max(sums_of(layer, frozen.tensors[f"{i}.weight"].astype(np.int64)), key=lambda w: np.abs(w).sum())
        # The inputs that reach the bound have full magnitude, and the sign that makes every term positive.
        reach = frozen.values[layer.inputs[0]].bound * np.where(w < 0, -1, 1)
        assert w @ reach <= layer.bound <= w @ reach + bias
        for _ in range(20):
            order = generator.permutation(len(w))
            for a in (reach[order], reach[order] * generator.choice((-1, 1), len(w))):
                exact = int(a @ w[order])
                assert int(np.cumsum(a.astype(dtype) * w[order].astype(dtype), dtype=dtype)[-1]) == exact
                assert int(a.astype(dtype) @ w[order].astype(dtype)) == exact


def test_every_product_equals_float64_on_the_stored_integers(case):
    _, _, frozen = case
    for i, layer in products_of(frozen):
        known, value = frozen.values[layer.inputs[0]], frozen.values[len(frozen.inputs) + i]
        tensors = {f"0.{name}": frozen.tensors[f"{i}.{name}"] for name in ("weight", "bias")}
        output = Output(value=1, kind="linear", frac=value.frac, shape=value.shape)
        alone = FrozenNetwork((known,), (layer.model_copy(update={"inputs": (0,)}),), (output,), tensors)
        x = known.bound * np.random.default_rng(5).choice((-1, 1), (16, *known.shape))
        a, w, b = (torch.tensor(t.astype(np.float64)) for t in (x, tensors["0.weight"], tensors["0.bias"]))
        if isinstance(layer, Linear):
            want = a @ w + b
        elif isinstance(layer, Conv2d):
            kernel = w.permute(0, 4, 3, 1, 2).flatten(0, 1)
            want = F.conv2d(a, kernel, b, layer.stride, layer.padding, layer.dilation, len(w))
        else:
            kernel = w.permute(0, 1, 4, 2, 3).flatten(0, 1)
            want = F.conv_transpose2d(a, kernel, b, layer.stride, layer.padding, layer.output_padding, len(w))
        assert np.array_equal(alone.run(x.astype(np.float32))[0], np.clip(want.numpy(), -(2**30), 2**30))


def test_weights_get_the_most_bits_that_the_bound_allows():
    torch.manual_seed(0)
    module = nn.Linear(200, 784)
    (layer,) = freeze(module, [FixedPoint(shape=(200,), frac=8, bound=256)], [8]).layers
    assert layer.bound < 2**24
    one_more = np.rint(module.weight.detach().double().numpy() * 2 ** (layer.frac + 1))
    assert (np.abs(one_more).sum(axis=1) * 256).max() >= 2**24


def test_a_layer_poor_in_float32_goes_to_float64_alone():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(30, 1024), nn.Tanh(), nn.Linear(1024, 30), nn.Tanh(), nn.Linear(30, 3))
    with torch.no_grad():
        module[2].weight[:] = 0.03 * module[2].weight.sign()  # 1024 equal weights leave each 7 bits
    frozen = freeze(module, [FixedPoint(shape=(30,), frac=0, bound=1)], [8])
    assert [value.dtype for value in frozen.values[1:]] == [
        "float32",
        "float32",
        "float64",
        "float32",
        "float32",
    ]
    x = integers(frozen.inputs[0], 50)
    with torch.no_grad():
        want = module.double()(torch.tensor(x, dtype=torch.float64)).numpy()
    assert np.abs(frozen.run(x)[0] / 256 - want).max() < 0.01


def test_threads_share_a_network():
    torch.manual_seed(0)
    known = FixedPoint(shape=(50,), frac=8, bound=1024)
    frozen = freeze(nn.Sequential(nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 300)), [known], [8])
    inputs = [integers(known, 200, seed) for seed in range(4)]
    want = [frozen.run(x)[0] for x in inputs]
    wrong = []

    def work(k: int) -> None:
        for _ in range(30):
            if not np.array_equal(frozen.run(inputs[k])[0], want[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_results_outlive_the_next_run():
    known = FixedPoint(shape=(6,), frac=8, bound=700)
    frozen = freeze(nn.Linear(6, 6), [known], [8])
    first = frozen.run(integers(known, 5, 1))[0]
    copy = first.copy()
    frozen.run(integers(known, 5, 2))
    assert np.array_equal(first, copy)


def test_uint8_and_float32_inputs_agree_and_an_empty_batch_is_empty():
    frozen = freeze(nn.Linear(12, 3), [FixedPoint(shape=(12,), frac=0, bound=255)], [8])
    x = np.random.default_rng(0).integers(0, 256, (9, 12), dtype=np.uint8)
    assert np.array_equal(frozen.run(x)[0], frozen.run(x.astype(np.float32))[0])
    assert frozen.run(x[:0])[0].shape == (0, 3)


@pytest.mark.parametrize("bad", [1024.5, 1025.0, -1025.0, np.nan, np.inf, 0.25, 2.0**40])
def test_inputs_outside_the_premise_are_refused(bad):
    frozen = freeze(nn.Linear(4, 3), [FixedPoint(shape=(4,), frac=8, bound=1024)], [8])
    x = np.zeros((3, 4), np.float32)
    x[1, 2] = bad
    with pytest.raises(DataError, match="not an integer within"):
        frozen.run(x)


def test_inputs_of_another_shape_are_refused():
    frozen = freeze(nn.Linear(4, 3), [FixedPoint(shape=(4,), frac=8, bound=1024)], [8])
    with pytest.raises(DataError, match="shape"):
        frozen.run(np.zeros((3, 5), np.float32))


class ControlFlow(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class InnerExp(nn.Module):
    def forward(self, x):
        return torch.exp(x) + 1


class Quotient(nn.Module):
    def forward(self, x):
        return x / torch.tanh(x)


class BatchReshape(nn.Module):
    def forward(self, x):
        return x.view(-1, 3)


class Weighted(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
        with torch.no_grad():
            self.encoder[2].weight[1, 1] = value

    def forward(self, x):
        return self.encoder(x)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU()), r"'vae\.1' \(LeakyReLU\) .* that can: .*Tanh"),
        (nn.Sequential(nn.Sequential(nn.Linear(6, 6), nn.GRU(6, 6))), r"layer 'vae\.0\.1' \(GRU\)"),
        (ControlFlow(), "'vae' cannot be traced"),
        (InnerExp(), r"layer 'vae' \(exp\).*only end an output"),
        (Quotient(), r"\(truediv\).*added, subtracted or multiplied only"),
        (BatchReshape(), r"\(view\).*reshapes"),
        (nn.Linear(7, 3), r"\(Linear\).*shape"),
        (Weighted(float("nan")), r"layer 'vae\.encoder\.2' \(Linear\).*NaN"),
        (Weighted(float("inf")), r"layer 'vae\.encoder\.2' \(Linear\).*infinite"),
        (Weighted(1e20), r"layer 'vae\.encoder\.2' \(Linear\).*too large"),
        (nn.Sequential(nn.BatchNorm1d(6, track_running_stats=False)), r"\(BatchNorm1d\).*running statistics"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)  # fmt: skip
def test_what_cannot_be_frozen_is_refused_by_name_and_place(module, message):
    with pytest.raises(FreezeError, match=message) as error:
        freeze(module, [FixedPoint(shape=(6,), frac=8, bound=1024)], [8], name="vae")
    assert "\n" not in str(error.value)


def test_outputs_and_precisions_must_match():
    with pytest.raises(FreezeError, match="1 outputs, but output_frac has 2"):
        freeze(nn.Linear(6, 6), [FixedPoint(shape=(6,), frac=8, bound=1024)], [8, 8])


class Rounding(backends.NumpyBackend):
    """A platform with TF32: operands lose all but 11 bits of their significand."""

    def product(self, a, weight, out):
        lost = np.float32(2.0**13) if a.dtype == np.float32 else 2.0**40

        def shorten(x):
            head = x * (lost + 1)
            return head - (head - x)

        out[...] = shorten(a) @ shorten(weight)
        return out


class Accumulating(backends.NumpyBackend):
    """A platform whose accumulator has one bit too few."""

    def product(self, a, weight, out):
        exact = a.astype(np.int64) @ weight.astype(np.int64)
        out[...] = exact >> 1 << 1
        return out


@pytest.mark.parametrize("dtype", SIGNIFICAND_BITS)
@pytest.mark.parametrize("platform", [Rounding, Accumulating])
def test_platform_that_rounds_is_refused(platform, dtype, monkeypatch):
    with pytest.raises(PlatformError, match=f"rounds {dtype} products"):
        backends.self_test(platform(), dtype)
    frozen = freeze(nn.Linear(6, 6), [FixedPoint(shape=(6,), frac=8, bound=1024)], [8])
    monkeypatch.setattr("mcbits.exact.network.backend", lambda name: platform())
    with pytest.raises(PlatformError):
        frozen.with_backend("numpy")


def test_unknown_backend_is_refused():
    with pytest.raises(UsageError, match="there are numpy, torch"):
        backends.backend("jax")


def test_the_runtime_never_imports_torch():
    code = "import sys, mcbits.exact; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[1])


def published(name: str) -> tuple[dict, nn.Module]:
    path = SHARED / "checkpoints" / name / "model.pt"
    if not path.exists():
        pytest.skip(f"no published checkpoint at {path.parent.parent.name}/{name} beside the repository")
    state = torch.load(path, weights_only=True, map_location="cpu")

    def linear(key: str) -> nn.Linear:
        weight = state[f"{key}.weight"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.load_state_dict({"weight": weight, "bias": state[f"{key}.bias"]})
        return layer

    return nn.Sequential(linear("dec_fc1"), nn.Tanh(), linear("dec_fc2"), nn.Tanh(), linear("dec_fc3"))


@pytest.mark.parametrize("name", ["mnist_num=1", "mnist_num=50", "letters_num=50"])
def test_published_decoder_stays_close_to_float64(name):
    decoder = published(f"train_bin_emnist_split={name}")
    known = FixedPoint(shape=(50,), frac=8, bound=1024)
    frozen = freeze(decoder, [known], [8], name="decoder")
    assert {value.dtype for value in frozen.values} == {"float32"}
    z = np.clip(np.rint(256 * np.random.default_rng(0).standard_normal((500, 50))), -1024, 1024)
    with torch.no_grad():
        want = decoder.double()(torch.tensor(z) / 256).numpy()
    error = frozen.run(z.astype(np.float32))[0] / 256 - want
    assert np.abs(error).max() < 0.25 and np.sqrt(np.mean(error**2)) < 0.04
