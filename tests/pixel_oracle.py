"""Pixels that see their neighbours, in plain Python: one sample after another, in the order of decoding."""

from itertools import product
from math import floor

import numpy as np
from oracle import OracleLane

from mcbits.core.numerics import exp_array
from mcbits.exact.network import FrozenNetwork

STEPS, SPAN = 64, 16


def _logistic_points() -> list[float]:
    points = [0.0]
    for k in range(1, 2 * SPAN * STEPS):
        value = 1.0 / (1.0 + float(exp_array(-(k - SPAN * STEPS) / STEPS)))
        points.append(floor(value * 2.0**48) / 2.0**48)
    return [*points, 1.0, 1.0]


POINTS = _logistic_points()
POWERS = [float(exp_array(i / 256.0 * (6.93147180369123816490e-01 + 1.90821492927058770002e-10))) for i in range(256)]


def logistic(u: float) -> float:
    """Of (u - SPAN STEPS) / STEPS."""
    u = min(max(u, 0.0), 2.0 * SPAN * STEPS)
    i = floor(u)
    return POINTS[i] + (u - i) * (POINTS[i + 1] - POINTS[i])


def power(x: int) -> float:
    return POWERS[x & 255] * 2.0 ** (x >> 8)


def tree(terms: list[float]) -> float:
    """The sum of at most eight terms, those that are absent being 0."""
    t = terms + [0.0] * (8 - len(terms))
    return ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]))


def mixture_cdf(parameters: list[int], base: int, unit: int, K: int, precision: int, k: int) -> int:
    """F(k) of a mixture of logistics, as docs/format.md says."""
    if k in (0, K):
        return k and 1 << precision
    M, spare = len(parameters) // 3, (1 << precision) - K
    logits, means, scales = parameters[:M], parameters[M : 2 * M], parameters[2 * M :]
    weights = [0.0 if logit - max(logits) < -64 * 256 else power(logit - max(logits)) for logit in logits]
    share, terms = spare / tree(weights), []
    for m in range(M):
        scale = min(max(scales[m] + 256 * unit, -6 * 256), 17 * 256)
        mean, slope = base + means[m] * (2.0**unit / 256), power(-scale) * STEPS
        offset = SPAN * STEPS - (mean + 0.5) * slope
        terms.append(weights[m] * share * logistic(k * slope + offset))
    return k + floor(min(tree(terms), float(spare)))


class PixelOracle:
    """Pictures (n, h, w, C) under heads of one radius. Features are int (n, h, w, F)."""

    def __init__(self, heads: list[FrozenNetwork], *, K: int, unit: int, radius: int, precision: int):
        self.heads, self.K, self.unit, self.R, self.precision = heads, K, unit, radius, precision

    def order(self, h: int, w: int, n: int, lanes: int, lane: int) -> list[tuple[int, int, int, int]]:
        """(picture, row, column, channel) in the order in which a lane decodes them."""
        C, R = len(self.heads), self.R
        every = product(range(lane, n, lanes), range(h), range(w), range(C))
        return sorted(every, key=lambda at: (at[2] + (R + 1) * at[1], at[3], at[0], at[1]))

    def encode(self, x: np.ndarray, features: np.ndarray, oracles: list[OracleLane]) -> None:
        """Push all samples, each lane's last one first."""
        n, h, w, _ = x.shape
        for lane, oracle in enumerate(oracles):
            for at in reversed(self.order(h, w, n, len(oracles), lane)):
                start, stop = (self.cdf(x, features, at, int(x[at]) + side) for side in (0, 1))
                oracle.push(start, stop - start, self.precision)

    def cdf(self, x: np.ndarray, features: np.ndarray, at: tuple[int, int, int, int], k: int) -> int:
        row, base = self.inputs(x[at[0]], features[at[0]], *at[1:])
        (parameters,) = self.heads[at[3]].run(np.array([row], np.int32))
        return mixture_cdf(parameters[0].tolist(), base, self.unit, self.K, self.precision, k)

    def inputs(self, x: np.ndarray, features: np.ndarray, y: int, col: int, c: int) -> tuple[list[int], int]:
        """What head c reads at a pixel, and what its means are relative to."""
        (h, w, C), R = x.shape, self.R

        def sample(dy: int, dx: int, channel: int) -> int:
            row, column = y + dy, col + dx
            if row >= 0 and column >= w:
                column = w - 1
            elif column < 0:
                row, column = row - 1, 0
            return int(x[row, column, channel]) if row >= 0 else 0

        def predicted(channel: int) -> int:
            west, north, corner = sample(0, -1, channel), sample(-1, 0, channel), sample(-1, -1, channel)
            return min(max(west + north - corner, min(west, north)), max(west, north))

        def read(difference: int) -> int:
            shift = max(0, self.unit - 3)
            return min(max((difference + (1 << shift >> 1)) >> shift, -1023), 1023)

        row = [
            read(sample(dy, dx, channel) - predicted(channel))
            for dy in range(-R, 1)
            for dx in range(-R, R + 1)
            for channel in range(C)
            if dy < 0 or dx < 0
        ]
        for channel in range(C):
            row.append((predicted(channel) - self.K // 2) >> max(0, (self.K - 1).bit_length() - 8))
            pairs = [
                ((0, -1), (-1, -1)),
                ((-1, 0), (-1, -1)),
                ((-1, 0), (-1, 1)),
                ((0, -1), (0, -2)),
                ((-1, 0), (-2, 0)),
            ]
            v = 1 + sum(abs(sample(*a, channel) - sample(*b, channel)) for a, b in pairs)
            e = v.bit_length() - 1
            row.append(4 * e + ((v * 4 >> e) & 3))
        row += [(2 * y + 1) * 32 // h - 32, (2 * col + 1) * 32 // w - 32]
        row += features[y, col].tolist()
        first, here, bases = 1 - C % 2, x[y, col].tolist(), []
        for channel in range(c + 1):
            moved = here[first] - predicted(first) if channel > first else 0
            bases.append(predicted(channel) + moved)
            if channel < c:
                limit = self.K - 1
                row.append(read(min(max(here[channel] - bases[channel], -limit), limit)))
        return row, bases[c]
