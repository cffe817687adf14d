"""A rate counts only once the same stack has given every symbol back."""

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
    """One coder on one message: rates in bits/dim, `initial_bits` in bits a lane, `seconds` of encoding and decoding.

    `ideal` is the expected rate (exact where `ideal_error` is 0; where that is not known, the mean over the
    particles drawn) and `standard_error` that of `net`, given x.
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
    """Encode the x (n, T) of `truth`, `lanes` of them at a time, and decode them again.

    PluginError when the coder does not restore them.
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
    # What varies given x: the particles. Without x's own part, rates at different N are told apart sooner.
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
