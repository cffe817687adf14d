"""A frozen recurrent cell stays close to the float one however long it runs, and accepts its own new state."""

import numpy as np
import pytest
import torch
from torch import nn

from mcbits.errors import FreezeError, ModelError
from mcbits.exact import FixedPoint, FrozenNetwork, dumps, load
from mcbits.exact.freeze import freeze
from mcbits.exact.layers import Multiply

FEATURES, HIDDEN, STEPS = 20, 32, 40
X = FixedPoint(shape=(FEATURES,), frac=8, bound=1024)
H = FixedPoint(shape=(HIDDEN,), frac=12, bound=1 << 12)
C = FixedPoint(shape=(HIDDEN,), frac=16, bound=8 << 16)


class LSTM(nn.Module):
    """A cell with a head that reads its state, as the posterior or likelihood of a sequence model does."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTMCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, 7)

    def forward(self, x, h, c):
        h, c = self.cell(x, (h, c))
        return self.head(h), h, c


class GRU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, 7)

    def forward(self, x, h):
        h = self.cell(x, hx=h)
        return self.head(h), h


class Stacked(nn.Module):
    """Two cells, one above the other, after a layer of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(FEATURES, HIDDEN), nn.ReLU())
        self.low, self.high = nn.GRUCell(HIDDEN, HIDDEN, bias=False), nn.LSTMCell(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 7)

    def forward(self, x, g, h, c):
        g = self.low(self.embed(x), g)
        h, c = self.high(g, (h, c))
        return self.head(h), g, h, c


CELLS = {"lstm": (LSTM, [H, C]), "gru": (GRU, [H]), "stacked": (Stacked, [H, H, C])}


@pytest.fixture(params=CELLS)
def case(request) -> tuple[nn.Module, list[FixedPoint], FrozenNetwork]:
    torch.manual_seed(2)
    kind, state = CELLS[request.param]
    module = kind().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter *= 2  # saturate some gates, as training does
    return module, state, freeze(module, [X, *state], [12, *(known.frac for known in state)])


def integers(known: FixedPoint, batch: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(-known.bound, known.bound + 1, (batch, *known.shape))
    return values.astype(np.float32)


def test_frozen_cell_is_close_to_the_float_cell_after_many_steps(case):
    module, known, frozen = case
    module.double()
    state = [np.zeros((64, *s.shape), np.float32) for s in known]
    exact_state = [torch.zeros(64, *s.shape, dtype=torch.float64) for s in known]
    for step in range(STEPS):
        x = integers(X, 64, step)
        logits, *state = frozen.run(x, *state)
        with torch.no_grad():
            exact_logits, *exact_state = module(torch.tensor(x, dtype=torch.float64) / 2**X.frac, *exact_state)
        for got, want, s in zip(state, exact_state, known, strict=True):
            assert got.shape == want.shape and np.abs(got).max() <= s.bound
            assert np.abs(got / 2**s.frac - want.numpy()).max() < 0.02
        assert np.abs(logits / 2**12 - exact_logits.numpy()).max() < 0.02
        state = [s.astype(np.float32) for s in state]
    assert max(float(s.abs().max()) for s in exact_state) > 0.5


def test_no_row_depends_on_its_batch(case):
    _, known, frozen = case
    inputs = [integers(s, 500, seed) for seed, s in enumerate([X, *known])]
    whole = frozen.run(*inputs)
    for size in (1, 7, 50):
        for start in range(0, 500, size if size > 1 else 25):
            rows = slice(start, start + size)
            for part, all_rows in zip(frozen.run(*(x[rows] for x in inputs)), whole, strict=True):
                assert np.array_equal(part, all_rows[rows])


def test_backends_return_the_same_bits(case):
    _, known, frozen = case
    inputs = [integers(s, 50, seed) for seed, s in enumerate([X, *known])]
    for a, b in zip(frozen.run(*inputs), frozen.with_backend("torch:cpu").run(*inputs), strict=True):
        assert np.array_equal(a, b)


def test_a_model_file_keeps_the_cell(case):
    _, known, frozen = case
    inputs = [integers(s, 9, seed) for seed, s in enumerate([X, *known])]
    again = load(dumps({"cell": frozen}, {}))[0]["cell"]
    for a, b in zip(frozen.run(*inputs), again.run(*inputs), strict=True):
        assert np.array_equal(a, b)


def test_the_cell_state_is_clamped_to_its_declared_bound():
    torch.manual_seed(0)
    module = LSTM().double()
    with torch.no_grad():
        module.cell.bias_ih[: 3 * HIDDEN] = 12  # all gates open and all news positive: c grows by 1 a step
    known = C.model_copy(update={"bound": 3 << 16})
    frozen = freeze(module, [X, H, known], [12, H.frac, known.frac])
    state = [np.zeros((5, *s.shape), np.float32) for s in (H, known)]
    for _ in range(6):
        state = [s.astype(np.float32) for s in frozen.run(integers(X, 5), *state)[1:]]
    assert state[1].max() == known.bound


def test_products_are_exact_at_their_bounds():
    for bounds, dtype in (((1 << 10, (1 << 14) - 1), "float32"), (((1 << 24) - 1, (1 << 24) - 1), "float64")):
        a, b = (FixedPoint(shape=(4,), frac=8, bound=bound) for bound in bounds)
        value = Multiply(inputs=(0, 1)).result([a, b], {})
        assert (value.dtype, value.frac, value.bound) == (dtype, 16, bounds[0] * bounds[1])
        step = Multiply(inputs=(0, 1)).build([a, b], {}, None)
        x, y = (np.array([[bound, -bound, bound - 1, 1]], np.float32) for bound in bounds)
        got = step(lambda name, shape, dtype: np.empty(shape, dtype), x, y)
        assert got.dtype == dtype and got.astype(int).tolist() == (x.astype(int) * y.astype(int)).tolist()


@pytest.mark.parametrize(
    ("a", "b"), [(FixedPoint(shape=(4,), frac=8, bound=9), FixedPoint(shape=(5,), frac=8, bound=9)),
                 (FixedPoint(shape=(4,), frac=8, bound=1 << 30), FixedPoint(shape=(4,), frac=8, bound=1 << 30)),
                 (FixedPoint(shape=(4,), frac=25, bound=9), FixedPoint(shape=(4,), frac=25, bound=9))],
    ids=["shapes", "bound", "precision"],
)  # fmt: skip
def test_products_without_an_exact_form_are_refused(a, b):
    with pytest.raises(ModelError):
        Multiply(inputs=(0, 1)).result([a, b], {})


class Stateless(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(FEATURES, HIDDEN)

    def forward(self, x):
        return self.cell(x)[0]


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(FEATURES, HIDDEN)

    def forward(self, x):
        return self.rnn(x)[0]


@pytest.mark.parametrize(
    ("module", "inputs", "message"),
    [
        (Stateless(), [X], r"'vae\.cell' \(LSTMCell\).*needs its state \(h, c\)"),
        (Whole(), [X], r"'vae\.rnn' \(LSTM\).*that can: .*LSTMCell"),
        (LSTM(), [X, H, C.model_copy(update={"shape": (HIDDEN + 1,)})], r"'vae\.cell' \(LSTMCell\).*shapes"),
    ],
    ids=["no state", "whole sequence", "shape"],
)
def test_what_cannot_be_frozen_is_refused_by_name_and_place(module, inputs, message):
    with pytest.raises(FreezeError, match=message) as error:
        freeze(module, inputs, [12] * (3 if len(inputs) == 3 else 1), name="vae")
    assert "\n" not in str(error.value)
