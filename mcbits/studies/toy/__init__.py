"""Models whose p(x) is known exactly, so that a coder is held against its ideal rate itself, not an estimate of it."""

from mcbits.studies.toy.ideal import Ideal, Truth
from mcbits.studies.toy.measure import Measurement, measure
from mcbits.studies.toy.model import ToyModel, hmm, mixture

__all__ = ["Ideal", "Measurement", "ToyModel", "Truth", "hmm", "measure", "mixture"]
