"""Precision-aware discretizers: every one a leaky integer cdf, one file per family."""

from mcbits.distributions.base import CODELENGTH_UNIT, Distribution
from mcbits.distributions.bernoulli import Bernoulli
from mcbits.distributions.categorical import Categorical
from mcbits.distributions.gaussian import GaussianBuckets, GaussianGrid
from mcbits.distributions.particles import Particles
from mcbits.distributions.uniform import Uniform, uniform

__all__ = [
    "CODELENGTH_UNIT",
    "Bernoulli",
    "Categorical",
    "Distribution",
    "GaussianBuckets",
    "GaussianGrid",
    "Particles",
    "Uniform",
    "uniform",
]
