"""A model from outside needs no more than `LatentModel` and `FrozenModel` ask for, and any coder codes it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import mcbits
from mcbits.distributions import Bernoulli, Uniform, uniform
from mcbits.distributions.base import Repeatable
from mcbits.errors import ModelError
from mcbits.exact.network import FrozenNetwork
from mcbits.latents.base import LatentModel
from mcbits.latents.frozen import FrozenModel
from mcbits.latents.options import Precisions, Refinement
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.observations.categorical import CategoricalObservation
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import registry

DIMS, BITS = 6, 2


class PlainLatents(LatentModel):
    """p(z) and q(z|x) uniform over four values, p(x|z) more likely 1 the larger they are: no network, nothing more than
    the abstract methods."""

    def __init__(self, precisions: Precisions):
        self.index_precision, self.precision = precisions.index_mprec, precisions.cond_mprec

    def prior(self, lanes: int) -> Uniform:
        return uniform(1 << BITS, (lanes, DIMS), BITS)

    def posterior(self, x: NDArray[np.integer]) -> Repeatable:
        return self.prior(len(x))

    def likelihood(self, z: NDArray[np.integer]) -> Bernoulli:
        return Bernoulli(((z - 1) * 256).astype(np.int32), self.precision)


class PlainModel(FrozenModel):
    name = "plain"

    def read(self, meta: dict[str, Any]) -> bool:
        self.latent_dim = DIMS
        return self.shape == (DIMS,)

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> PlainLatents:
        return PlainLatents(precisions)


class Plugin:
    @hookimpl
    def mcbits_frozen_models(self) -> list[type]:
        return [PlainModel]


@pytest.fixture
def plain() -> Iterator[PlainModel]:
    networks: dict[str, FrozenNetwork] = {}
    with registry().listening(Plugin()):
        yield PlainModel.pack(networks, observation=BernoulliObservation(), shape=(DIMS,))


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("coder, options", [("bb-elbo", {}), ("bb-is", {"num_particles": 5})])
def test_a_model_of_nothing_but_the_abstract_methods_is_coded(
    plain: PlainModel, coder: str, options: dict[str, Any], lanes: int
) -> None:
    images = np.random.default_rng(0).integers(0, 2, (20, DIMS), np.uint8)
    blob = mcbits.compress(images, plain, coder, lanes=lanes, embed_model=True, **options)
    assert np.array_equal(mcbits.decompress(blob), images)
    assert np.array_equal(mcbits.decompress(blob, plain), images)


class PlainSequences(PlainModel):
    name, sequences = "plain sequences", True


def test_sequences_have_no_symbol_that_stands_for_their_end() -> None:
    networks: dict[str, FrozenNetwork] = {}
    with pytest.raises(ModelError, match=r"symbols 0\.\.254, since 255"):
        PlainSequences.pack(networks, observation=CategoricalObservation(256), shape=(DIMS,))
