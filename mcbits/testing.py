"""What every coder and every observation model promises, for the tests of whoever writes one."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.latents.base import LatentModel
from mcbits.observations.base import ObservationModel


def check_coder(coder: Coder, model: LatentModel, x: NDArray[np.int32], lanes: int = 1) -> None:
    """AssertionError unless a decoder that has only the words of the message gets x back and leaves nothing of it, and
    the message has grown by the codelengths that `encode` returned, to 1 %.

    x: (n, dims), coded `lanes` at a time, n being a multiple of that; for a percent to mean something it should be
    some 100 of them. The models of `mcbits.studies.toy` are images (`mixture`) and sequences (`hmm`) to try a coder
    on, a frozen model is one at given precisions: `frozen.latent_model(Precisions())`.
    """
    stack, steps = Stack(lanes), x.reshape(-1, lanes, x.shape[1])
    start, ideal = stack.bits(), 0.0
    for step, images in enumerate(steps):
        stack.step(step)
        ideal += float(coder.encode(stack, images, model).sum()) * CODELENGTH_UNIT
    stack.step(None)
    net = float(stack.net_bits().sum())
    assert abs(net - ideal) <= 0.01 * abs(ideal), f"{coder.short} says {ideal:.1f} bits and takes {net:.1f}"

    words = [stack.tail(lane) for lane in range(lanes)]
    stack = Stack.from_words(stack.heads, words, initial_words=stack.initial_words)
    for step, images in reversed(list(enumerate(steps))):
        stack.step(step)
        assert np.array_equal(coder.decode(stack, model), images), f"{coder.short} does not restore step {step}"
    stack.step(None)
    left = stack.bits() - start - stack.bprec * stack.initial_words.astype(float)
    assert np.abs(left).max() < 1e-6, f"{coder.short} leaves {left.sum():.1f} bits where there were none"


def check_observation(observation: ObservationModel, num_dims: int = 5, max_parameter: ArrayLike = 4.0) -> None:
    """AssertionError unless p(x|z) has the same probabilities for coding as for training, to 0.01 bits a dimension,
    whether particles come together or one by one, and pops what was pushed. Needs torch.

    Parameters are drawn uniformly from +-`max_parameter`, one number, or one for each of the parameters of `num_dims`
    dimensions. It should leave no symbol less likely than 2^-12: rarer ones may cost less when coded, since every
    symbol keeps a count of one.
    """
    import torch

    rng, lanes, N = np.random.default_rng(0), 3, 4
    precision = max(20, observation.precision)
    bound = np.rint(np.multiply(max_parameter, 2**observation.frac_bits)).astype(np.int32)
    parameters = rng.integers(-bound, bound + 1, (lanes, N, observation.num_parameters(num_dims)), np.int32)
    together = observation.distribution(parameters, precision)
    values = torch.tensor(parameters * 2.0**-observation.frac_bits)
    for _ in range(20):
        x = rng.integers(0, observation.num_symbols, (lanes, num_dims), np.int32)
        coded = together.total_codelength(x)
        trained = -observation.log_prob(values, torch.tensor(x, dtype=values.dtype)[:, None]).numpy() / np.log(2)
        worst = np.abs(coded * CODELENGTH_UNIT - trained).max()
        assert worst <= 0.01 * num_dims, f"{observation.name} is coded with other probabilities than it is trained"
        j = rng.integers(0, N, lanes)
        chosen, alone = together.particle(j), observation.distribution(parameters[np.arange(lanes), j], precision)
        for p in (chosen, alone):
            assert np.array_equal(p.total_codelength(x), coded[np.arange(lanes), j])
            stack = Stack(lanes)
            p.push(stack, x)
            assert np.array_equal(alone.pop(stack), x), f"{observation.name} does not pop what it pushed"
