"""A rate counts only if the same stack has returned every symbol."""

import time
from dataclasses import dataclass

import numpy as np

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import PluginError
from mcbits.studies.toy.ideal import Ideal, Truth


@dataclass(frozen=True)
class Measurement:
    """The measurement of one coder on one message: rates in bits/dim.

    `ideal`: the expected rate; it is exact if `ideal_error` is 0. If it is not known, the mean over the particles that
    were drawn. `standard_error`: that of `net`, given x. `initial_bits`: bits per lane. `seconds`: time to encode and
    decode.
    """

    coder: str
    num_particles: int
    ideal: float
    ideal_error: float
    net: float
    standard_error: float
    initial_bits: float
    seconds: float


def measure(coder: Coder, truth: Truth, lanes: int = 1, seed: int = 0) -> Measurement:
    """Encode the x (n, T) of `truth`, `lanes` of them at a time, decode them again, and return the rates.

    Raises PluginError if the coder does not restore them.
    """
    model, x, dims = truth.model, truth.x, truth.x.size
    stack, begin = Stack(lanes, seed=seed), time.perf_counter()
    steps = [(stack.select(0, len(part)), part) for part in (x[i : i + lanes] for i in range(0, len(x), lanes))]
    lengths = []
    for step, (active, part) in enumerate(steps):
        active.step(step)
        lengths.append(coder.encode(active, part, model))
    net, initial = stack.net_bits().sum(), stack.initial_bits().mean()
    for step, (active, part) in reversed(list(enumerate(steps))):
        active.step(step)
        if not np.array_equal(coder.decode(active, model), part):
            raise PluginError(f"coder {coder.short} does not restore what it encoded: report it to its author")
    seconds = time.perf_counter() - begin
    bits = np.concatenate(lengths) * CODELENGTH_UNIT
    # Given x, only the particles vary. Without the variance of x, smaller differences between rates can be seen.
    error = float((bits - truth.information).std(ddof=1)) * len(x) ** 0.5 / dims
    ideal = truth.ideal(coder) or Ideal(float(bits.sum()) / dims, error)
    return Measurement(
        coder=coder.short,
        num_particles=coder.num_particles,
        ideal=ideal.rate,
        ideal_error=ideal.standard_error,
        net=float(net) / dims,
        standard_error=error,
        initial_bits=float(initial),
        seconds=seconds,
    )
