"""A frozen network returns the same bits everywhere: each of its products is exact in any order of summation.

Theorem. Let a and w be integers held in floating point with a p-bit significand (24 bits in float32, 53 in
float64). Let sum_j |a_j| |w_j| < 2^p. Then every product a_j w_j and every partial sum of them is an integer
below 2^p in magnitude. This holds in any order, grouping or blocking, with or without fused multiply-add. Such an
integer is representable, so it is computed without rounding. Therefore every BLAS, thread count, batch size and
device that adds and multiplies by IEEE 754 returns the same integers.

Premise. max|a| is proven layer by layer, starting at the network's inputs. The sum is taken over the stored
integers. Both are checked when a network is frozen (`mcbits.exact.freeze`) and again when it is loaded.
`mcbits.exact.backends` tests that the platform adds and multiplies by IEEE 754 (no TF32, no bfloat16) before a
network runs.
"""

from mcbits.exact.fixed import FixedPoint
from mcbits.exact.model_io import dumps, load, save
from mcbits.exact.network import FrozenNetwork, Output

__all__ = ["FixedPoint", "FrozenNetwork", "Output", "dumps", "load", "save"]
