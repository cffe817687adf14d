"""Freezing takes the network that was trained: what a trace does not show is followed, or refused by name."""

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from mcbits.errors import FreezeError
from mcbits.exact import FixedPoint
from mcbits.exact.freeze import freeze

FRAC = 12
INPUT = FixedPoint(shape=(6,), frac=4, bound=64)


def chain(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), layer, nn.Linear(5, 4))


def check(module: nn.Module, inputs: FixedPoint = INPUT) -> None:
    """The frozen network has the outputs of the module in evaluation."""
    frozen = freeze(module, [inputs], [FRAC])
    x = np.random.default_rng(0).integers(-inputs.bound, inputs.bound, (50, *inputs.shape), endpoint=True)
    with torch.no_grad():
        expected = module.eval()(torch.tensor(x * 0.5**inputs.frac, dtype=torch.float32)).numpy()
    assert np.abs(frozen.run(x)[0] * 0.5**FRAC - expected).max() < 0.02


def old_weight_norm(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return weight_norm(layer)


WEIGHT_SETTERS: list[Callable[[nn.Module], nn.Module]] = [
    *(old_weight_norm, spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm),
    *(parametrizations.orthogonal, lambda layer: prune.l1_unstructured(layer, "weight", 0.5)),
]


@pytest.mark.parametrize("parametrized", WEIGHT_SETTERS)
def test_weights_that_a_layer_computes_are_frozen_as_they_are_now(parametrized) -> None:
    torch.manual_seed(1)
    module = chain(parametrized(nn.Linear(8, 5)))
    optimizer = torch.optim.SGD(module.parameters(), lr=1)
    for _ in range(3):
        optimizer.zero_grad()
        module.train()(torch.randn(9, 6)).square().mean().backward()
        optimizer.step()
    check(module)


def test_a_root_that_computes_its_weights_is_frozen() -> None:
    check(parametrizations.weight_norm(nn.Linear(6, 8)))


def hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_hook(lambda module, args, output: 2 * output)
    return layer


def pre_hooked(layer: nn.Module) -> nn.Module:
    layer.register_forward_pre_hook(lambda module, args: 2 * args[0])
    return layer


def patched(layer: nn.Module) -> nn.Module:
    layer.forward = lambda x: F.linear(x, 2 * layer.weight)
    return layer


@pytest.mark.parametrize("changed", [hooked, pre_hooked, patched])
def test_a_layer_that_does_more_than_its_type_says_is_refused_by_name(changed) -> None:
    with pytest.raises(FreezeError, match=r"layer 'Sequential.2' \(Linear\) cannot be frozen: its hook"):
        freeze(chain(changed(nn.Linear(8, 5))), [INPUT], [FRAC])
    for root in (nn.Linear(6, 8), chain(nn.Linear(8, 5))):
        with pytest.raises(FreezeError, match="hook"):
            freeze(changed(root) if changed is not patched else hooked(root), [INPUT], [FRAC])


class Reread(nn.Module):
    def __init__(self, inplace: bool, forward: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.a, self.act, self.how = nn.Linear(6, 8), nn.ReLU(inplace), forward

    def forward(self, x):
        return self.how(self, self.a(x))


def of_view(m, h):
    view = h.view(-1, 8)
    return m.act(h) + view


def of_source(m, h):
    return m.act(h.flatten(1)) + h


def of_function(m, h):
    return F.elu(h, 1.0, m.act.inplace) + h


@pytest.mark.parametrize("forward", [lambda m, h: m.act(h) + h, of_view, of_source, of_function])
def test_an_input_that_is_overwritten_and_read_again_is_refused(forward) -> None:
    with pytest.raises(FreezeError, match="inplace=False"):
        freeze(Reread(True, forward), [INPUT], [FRAC])
    check(Reread(False, forward))


@pytest.mark.parametrize("forward", [lambda m, h: h + m.act(h + 1), lambda m, h: m.act(h) + h.shape[1]])
def test_an_input_that_is_overwritten_and_not_read_again_is_frozen(forward) -> None:
    check(Reread(True, forward))
    check(nn.Sequential(nn.Linear(6, 8), nn.ReLU(True), nn.Dropout(0.5, True), nn.Linear(8, 4), nn.ReLU(True)))


class Accumulates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 8)

    def forward(self, x):
        h = same = self.a(x)
        h += 3 * self.b(x)
        return h + 3 * same


def test_what_tracing_does_not_show_is_found_by_the_outputs() -> None:
    torch.manual_seed(0)
    with pytest.raises(FreezeError, match="not those of the module"):
        freeze(Accumulates(), [INPUT], [FRAC])


class Mode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(6, 8)

    def forward(self, x):
        return 2 * self.a(x) if self.training else self.a(x)


def test_a_module_in_training_is_frozen_as_in_evaluation_and_left_as_it_was() -> None:
    module = nn.Sequential(Mode(), nn.Dropout(0.5), nn.BatchNorm1d(8)).train()
    module[2].eval()
    before = torch.get_rng_state()
    freeze(module, [INPUT], [FRAC])
    assert [each.training for each in module] == [True, True, False]
    assert torch.equal(torch.get_rng_state(), before)
    check(module)


def test_a_module_that_cannot_compute_its_declared_inputs_is_refused() -> None:
    class Odd(nn.Module):
        def forward(self, x):
            return x.view(-1, 3)

    with pytest.raises(FreezeError):
        freeze(Odd(), [INPUT], [FRAC])
