"""Toy models have an exactly known p(x), so that a coder is compared with its exact ideal rate, not an estimate."""

from mcbits.studies.toy.ideal import Ideal, Truth
from mcbits.studies.toy.measure import Measurement, measure
from mcbits.studies.toy.model import ToyModel, hmm, mixture

__all__ = ["Ideal", "Measurement", "ToyModel", "Truth", "hmm", "measure", "mixture"]
