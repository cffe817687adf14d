"""The checks that plugins call pass what keeps its promises and refuse what breaks one of them."""

from dataclasses import dataclass

import numpy as np
import pytest

from mcbits.coders.bits_back import BitsBackCoder
from mcbits.coders.cis_bits_back import CISBitsBackCoder
from mcbits.coders.is_bits_back import ISBitsBackCoder
from mcbits.coders.simple import SimpleCoder
from mcbits.coders.stochastic import StochasticCoder
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits.observations.categorical import CategoricalObservation
from mcbits.observations.logistic import LogisticMixture
from mcbits.studies.toy import hmm, mixture
from mcbits.testing import check_coder, check_observation

CODERS = [SimpleCoder(), StochasticCoder(), BitsBackCoder(), ISBitsBackCoder(5), CISBitsBackCoder(5)]


@pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.short)
@pytest.mark.parametrize("model", [mixture(), hmm()], ids=["mixture", "hmm"])
@pytest.mark.parametrize("lanes", [1, 3])
def test_every_builtin_coder_passes(coder, model, lanes):
    check_coder(coder, model, model.sample(120, seed=1), lanes)


@dataclass(frozen=True)
class Keeping(BitsBackCoder):
    def decode(self, stack, model):
        return model.pop(stack)[1]


@dataclass(frozen=True)
class Boasting(BitsBackCoder):
    def encode(self, stack, x, model):
        return super().encode(stack, x, model) - (1 << 14)


@dataclass(frozen=True)
class Garbling(BitsBackCoder):
    def decode(self, stack, model):
        return super().decode(stack, model) ^ 1


@pytest.mark.parametrize("coder, told", [(Keeping, "restore|leaves"), (Boasting, "takes"), (Garbling, "restore")])
def test_a_coder_that_breaks_a_promise_is_told_which(coder, told):
    model = mixture()
    with pytest.raises(AssertionError, match=told):
        check_coder(coder(), model, model.sample(120, seed=1))


class Halved(BernoulliObservation):
    def distribution(self, parameters_int, precision):
        return super().distribution(parameters_int // 2, precision)


def test_an_observation_model_is_coded_as_it_is_trained():
    pytest.importorskip("torch")
    check_observation(BernoulliObservation())
    check_observation(CategoricalObservation(5))
    check_observation(LogisticMixture(16, 2, 2), max_parameter=np.repeat([2.0, 2.0, 0.5], 2 * 5))
    with pytest.raises(AssertionError, match="other probabilities"):
        check_observation(Halved())
