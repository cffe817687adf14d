"""A million symbols through one stack, on sixteen lanes and on one, against other entropy coders for Python; each side
gives them back unchanged."""

from collections.abc import Callable, Mapping
from typing import Any

import constriction
import numpy as np
import simple_ans
from measure import alternate, clock, compare, publish, repetitions

from mcbits._rans import Stack
from mcbits.distributions import Bernoulli, Categorical, Distribution, GaussianBuckets
from mcbits.distributions.gaussian import LOG_SCALE_FRAC, MEAN_FRAC

COUNT = 1_000_000
LANES = (16, 1)  # sixteen cost 1,000 bits more than one: the other coders have no such thing
PRECISION = 24  # as constriction's AnsCoder, whose models have 24 bits
DRAWS, LATENTS = 50, 50
Side = Callable[[], Mapping[str, float]]

CONSTRICTION = "constriction AnsCoder"
model, AnsCoder = constriction.stream.model, constriction.stream.stack.AnsCoder
generator = np.random.default_rng(0)


def ours(distribution: Callable[[], Distribution], x: np.ndarray) -> Side:
    """Making the distribution from its parameters counts, twice: a decoder does not have the encoder's."""

    def side() -> Mapping[str, float]:
        stack = Stack(len(x))
        push, _ = clock(lambda: distribution().push(stack, x))
        pop, back = clock(lambda: distribution().pop(stack))
        assert np.array_equal(back, x)
        return {"push": push, "pop": pop}

    return side


def theirs(family: Any, x: np.ndarray, *parameters: np.ndarray) -> Side:
    """constriction with one set of parameters a symbol, or, without any, one model for all of them."""

    def side() -> Mapping[str, float]:
        coder = AnsCoder()
        push, _ = clock(lambda: coder.encode_reverse(x, family, *parameters))
        pop, back = clock(lambda: coder.decode(family, *parameters or (len(x),)))
        assert np.array_equal(back, x)
        return {"push": push, "pop": pop}

    return side


def tabled(x: np.ndarray) -> Side:
    """simple_ans, which counts the symbols and makes its tables at each call."""

    def side() -> Mapping[str, float]:
        push, encoded = clock(lambda: simple_ans.ans_encode(x))
        pop, back = clock(lambda: simple_ans.ans_decode(encoded))
        assert np.array_equal(back, x)
        return {"push": push, "pop": pop}

    return side


def settled(sides: Mapping[str, Side]) -> dict[str, Side]:
    """Each side's second run: milliseconds after the processor has slept say more of it than of the side."""

    def second(side: Side) -> Side:
        return lambda: [side(), side()][1]

    return {name: second(side) for name, side in sides.items()}


def bernoulli(lanes: int) -> tuple[Side, Side]:
    logits = np.clip(generator.normal(0, 3, COUNT), -15, 15)
    fixed = np.round(logits * 256).astype(np.int32)
    p = 1 / (1 + np.exp(-fixed / 256))
    x = (generator.random(COUNT) < p).astype(np.int32)
    own = fixed.reshape(lanes, -1)
    return ours(lambda: Bernoulli(own, PRECISION), x.reshape(lanes, -1)), theirs(model.Bernoulli(perfect=False), x, p)


def gaussian(lanes: int, draws: int) -> tuple[Side, Side]:
    """256 buckets a side: ours of equal mass under N(0, 1), theirs of equal width over +-4 of its standard deviations.

    Several draws are laid out as a coder's particles are: 50 latents of one image after another, an image a lane.
    """
    steps = 1 if draws == 1 else COUNT // (draws * LATENTS * lanes)
    shape = (steps, lanes, COUNT // (steps * lanes * draws))
    mean, log_scale = generator.normal(0, 0.8, shape), generator.uniform(-2.5, -0.3, shape)
    fixed_mean = np.round(mean * 2**MEAN_FRAC).astype(np.int32)
    fixed_scale = np.round(log_scale * 2**LOG_SCALE_FRAC).astype(np.int32)

    def one(step: int) -> Distribution:
        part = GaussianBuckets(fixed_mean[step], fixed_scale[step], 8, PRECISION)
        return part if draws == 1 else part.expand(draws)

    # A fresh stack yields random bits, and popping those draws the symbols.
    source = Stack(lanes, seed=1)
    x = [one(step).pop(source) for step in range(steps)]

    def side() -> Mapping[str, float]:
        stack = Stack(lanes)
        push, _ = clock(lambda: [one(step).push(stack, x[step]) for step in range(steps)])
        pop, back = clock(lambda: [one(step).pop(stack) for step in reversed(range(steps))])
        assert all(np.array_equal(each, given) for each, given in zip(reversed(back), x, strict=True))
        return {"push": push, "pop": pop}

    def flat(parameter: np.ndarray) -> np.ndarray:
        return np.repeat(parameter[:, :, None], draws, axis=2).reshape(-1)

    m, s = flat(mean) * 32 + 127.5, flat(np.exp(log_scale)) * 32
    their_x = np.clip(np.round(generator.normal(m, s)), 0, 255).astype(np.int32)
    return side, theirs(model.QuantizedGaussian(0, 255), their_x, m, s)


def categorical(lanes: int) -> dict[str, Side]:
    w = (generator.gamma(0.5, size=256) * 2**20).astype(np.int64) + 1
    x = generator.choice(256, COUNT, p=w / w.sum()).astype(np.int32)
    of_each_lane, draws = np.broadcast_to(w, (lanes, 1, 256)), COUNT // lanes
    return {
        "ours": ours(lambda: Categorical(of_each_lane, 16).expand(draws), x.reshape(lanes, draws, 1)),
        CONSTRICTION: theirs(model.Categorical(w / w.sum(), perfect=False), x),
        "simple_ans": tabled(x.astype(np.uint8)),
    }


def main() -> None:
    n = 3 * repetitions()  # of milliseconds each
    rows = []
    for lanes in LANES:
        layout = f"{lanes} lanes" if lanes > 1 else "one lane"
        pairs = (
            ("Bernoulli, own logits", "Bernoulli(perfect=False)", bernoulli(lanes), 1 / 8, 1 / 8),
            ("Gaussian, own means and scales", "QuantizedGaussian", gaussian(lanes, 1), 1 / 2, 1 / 4),
            (f"Gaussian, {DRAWS} draws of each", "QuantizedGaussian", gaussian(lanes, DRAWS), 1 / 8, 1 / 8),
        )
        for what, family, (us, them), push, pop in pairs:
            found = alternate(settled({"ours": us, "theirs": them}), n)
            for way, target in (("push", push), ("pop", pop)):
                mine, other = found["ours"][way], found["theirs"][way]
                against = f"{CONSTRICTION}, {family}"
                rows.append(compare(f"{way} {what}, {layout}", against, mine, other, target, 1e9 / COUNT, "ns"))
        found = alternate(settled(categorical(lanes)), n)
        for way in ("push", "pop"):
            faster = min((CONSTRICTION, "simple_ans"), key=lambda name: np.median(found[name][way]))
            mine, other = found["ours"][way], found[faster][way]
            rows.append(compare(f"{way} Categorical(256), {layout}", faster, mine, other, 0.8, 1e9 / COUNT, "ns"))
    publish("symbols", rows)


if __name__ == "__main__":
    main()
