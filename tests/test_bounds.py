"""Bounds lie in the order theory says, meet log p(x) in the limit, and have the gradients of their papers."""

import math

import numpy as np
import pytest
import torch
from builders import binary_vae
from torch import Tensor

from mcbits.bounds.base import Bound, find_bound
from mcbits.bounds.coupled_iwae import CoupledIWAE
from mcbits.bounds.elbo import ELBO
from mcbits.bounds.iwae import IWAE
from mcbits.bounds.joint import Joint
from mcbits.models.binary_vae import BinaryVAE


@pytest.fixture(scope="module")
def model() -> BinaryVAE:
    model = binary_vae((2, 3), latent_dim=1, hidden=8).double()
    with torch.no_grad():
        model.decoder[0].weight *= 3  # so that x depends on z, and q is a poor posterior
        model.decoder[4].weight *= 8
    return model


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.tensor([[0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 0, 1]], dtype=torch.float64)


def expectation(bound: Bound, model: BinaryVAE, x: Tensor, num_particles: int, draws: int) -> tuple[Tensor, Tensor]:
    """Mean and standard error over independent draws, nats."""
    torch.manual_seed(1)
    with torch.no_grad():
        values = bound(model, x.repeat(draws, 1), num_particles).view(draws, len(x))
    return values.mean(0), values.std(0) / draws**0.5


def log_marginal(model: BinaryVAE, x: Tensor) -> Tensor:
    """log p(x) by quadrature over the one latent dimension, nats."""
    z = torch.linspace(-9, 9, 4001, dtype=torch.float64)[None, :, None].expand(len(x), 4001, 1)
    with torch.no_grad():
        return torch.logsumexp(model.log_joint(x, z), 1) + math.log(18 / 4000)


@pytest.mark.parametrize("bound", [IWAE(), CoupledIWAE()])
def test_many_particles_reach_the_marginal_likelihood(bound: IWAE, model: BinaryVAE, x: Tensor) -> None:
    mean, _ = expectation(bound, model, x, 2000, 20)
    torch.testing.assert_close(mean, log_marginal(model, x), atol=0.02, rtol=0)


def test_bounds_lie_in_their_order(model: BinaryVAE, x: Tensor) -> None:
    joint, _ = expectation(Joint(), model, x, 1, 4000)
    elbo, _ = expectation(ELBO(), model, x, 1, 4000)
    iwae, error = expectation(IWAE(), model, x, 5, 4000)
    assert (elbo + 3 * error < iwae).all()
    assert (iwae + 3 * error < log_marginal(model, x)).all()
    entropy = model.encoder(x)[1].sum(1) + 0.5 * math.log(2 * math.pi * math.e)
    torch.testing.assert_close(joint, elbo - entropy, atol=0.1, rtol=0)


def test_particles_average_the_noise_of_the_elbo_but_do_not_move_it(model: BinaryVAE, x: Tensor) -> None:
    one, error_of_one = expectation(ELBO(), model, x, 1, 4000)
    many, error_of_many = expectation(ELBO(), model, x, 16, 4000)
    assert ((one - many).abs() < 5 * (error_of_one + error_of_many)).all()
    assert (error_of_many < error_of_one / 3).all()


def test_one_particle_makes_every_bound_on_the_evidence_the_elbo(model: BinaryVAE, x: Tensor) -> None:
    torch.manual_seed(2)
    log_w = model.log_weights(x, 1)
    for bound in (ELBO(), IWAE(), CoupledIWAE()):
        torch.testing.assert_close(bound.reduce(log_w), log_w[:, 0])


def test_iwae_is_the_log_of_the_mean_weight_however_small() -> None:
    log_w = torch.log(torch.tensor([[1.0, 2.0, 6.0]], dtype=torch.float64)) - 1e5
    torch.testing.assert_close(IWAE().reduce(log_w), torch.tensor([math.log(3) - 1e5], dtype=torch.float64))


def test_iwae_gradient_weighs_particles_by_their_normalised_weights() -> None:
    log_w = torch.tensor([[-3.0, -1.0, 0.5]], requires_grad=True)
    IWAE().reduce(log_w).sum().backward()
    torch.testing.assert_close(log_w.grad, torch.softmax(log_w.detach(), 1))


@pytest.mark.parametrize("bound", [ELBO(), IWAE(), CoupledIWAE(), Joint()])
def test_bounds_move_every_parameter(bound: Bound, model: BinaryVAE, x: Tensor) -> None:
    model.zero_grad()
    values = bound(model, x, 3)
    assert values.shape == (3,)
    values.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(("name", "bound"), [("elbo", ELBO), ("IWAE", IWAE), ("ciwae", CoupledIWAE), ("joint", Joint)])
def test_bounds_are_registered_under_their_names(name: str, bound: type) -> None:
    assert find_bound(name) is bound
    assert bound.name == name.lower()
    assert bound.coupled == (name == "ciwae")


def test_gradient_is_that_of_the_estimate(model: BinaryVAE, x: Tensor) -> None:
    parameter = model.encoder.log_scale.bias

    def estimate(offset: float) -> float:
        torch.manual_seed(3)
        with torch.no_grad():
            parameter.add_(offset)
            value = IWAE()(model, x, 4).sum().item()
            parameter.sub_(offset)
        return value

    torch.manual_seed(3)
    model.zero_grad()
    IWAE()(model, x, 4).sum().backward()
    numeric = (estimate(1e-5) - estimate(-1e-5)) / 2e-5
    assert np.isclose(parameter.grad.item(), numeric, rtol=1e-6)
