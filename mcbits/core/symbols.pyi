"""The discretizers' loops over symbols: integer cdfs in, rANS steps out, no Python object and no GIL per symbol.

Shapes: L lanes, R draws (particles) under the same parameters, M dimensions. A cdf row F holds K + 1 entries as uint32
with F[0] = 0 and F[K] = 2^r, r <= 30. Quantiles, starts and frequencies are uint64, symbols int32 (uniform ones
int64), codelengths int64 in 2^-16 bits. DataError for a symbol of frequency 0. Pushes go from the last symbol of a
lane to the first, pops from the first to the last. DataError for symbols out of range or of the wrong shape,
StackError for a precision or number of lanes that the stack does not have.
"""

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]

def codelengths(freqs: U64, precision: int) -> I64: ...
def uniform_inverse(quantiles: U64, sizes: I64, precision: int) -> I64: ...
def uniform_push(stack: Stack, symbols: I64, sizes: I64, precision: int) -> None: ...
def uniform_pop(stack: Stack, sizes: I64, precision: int) -> I64: ...
def table_intervals(cdf: U32, symbols: I32) -> tuple[U64, U64]: ...
def table_total(cdf: U32, symbols: I32, precision: int) -> I64:
    """Codelengths summed over dimensions, (L, R)."""

def table_inverse(cdf: U32, quantiles: U64, precision: int) -> I32: ...
def table_push(stack: Stack, cdf: U32, symbols: I32, precision: int) -> None: ...
def table_pop(stack: Stack, cdf: U32, draws: int, precision: int) -> I32: ...
def leaky_cdf(weights: U64, precision: int) -> U32:
    """F(k) = k + floor((2^r - K) * (w_0 + ... + w_{k-1}) / (w_0 + ... + w_{K-1})), the sums exact below 2^53."""

def log2_mean(log_w: I64) -> I64:
    """log2 of the mean of the weights 2^log_w of each row, (L, N) to (L,), in units of 2^-16 bits."""

def weights_from_log2(log_w: I64) -> U64:
    """Integer weights floor(2^30 * 2^(log_w - max)), log_w in units of 2^-16 bits."""

def bernoulli_table(precision: int) -> tuple[U32, I32]:
    """Frequency of a 1 for each logit from -16 in steps of 2^-8, and the codelengths of all 0s, then of all 1s."""

def bernoulli_freqs(logits: I32, freq: U32) -> U64: ...

class BernoulliSymbols:
    """What pushes need of both symbols under every logit, at one precision."""

    def __init__(self, freq: U32, precision: int) -> None: ...

def bernoulli_push(stack: Stack, logits: I32, symbols: I32, both: BernoulliSymbols) -> None: ...
def bernoulli_pop(stack: Stack, logits: I32, freq: U32, precision: int) -> I32: ...
def bernoulli_total(logits: I32, symbols: I32, length: I32) -> I64:
    """Codelengths summed over dimensions, (L, R); symbols (L, 1, M) are shared by all draws."""

MEAN_FRAC: int
LOG_SCALE_FRAC: int
"""Fractional bits of fixed-point means and of log-scales (nats; clamped to +-8)."""
TABLE_DRAWS: int
"""From so many draws on, a table of all buckets of a Gaussian is cheaper than evaluating the cdf for each symbol."""

def gaussian_table(mean: I32, log_scale: I32, edges: F64, leak: int, precision: int) -> U32: ...
def gaussian_intervals(
    symbols: I32, mean: I32, log_scale: I32, edges: F64, leak: int, precision: int
) -> tuple[U32, U32]: ...
def gaussian_push(
    stack: Stack, symbols: I32, mean: I32, log_scale: I32, edges: F64, leak: int, precision: int
) -> None: ...

class Buckets:
    """Which bucket holds a value, but for values near an edge: where the search of a pop begins."""

    def __init__(self, edges: F64) -> None: ...

def gaussian_pop(
    stack: Stack, draws: int, mean: I32, log_scale: I32, buckets: Buckets, leak: int, precision: int
) -> I32: ...
def set_wide(wide: int) -> None:
    """Use AVX2 (1), the plain loops (0), or what the processor has (-1): for tests, the results being equal."""
