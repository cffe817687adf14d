"""A frozen network returns the same bits everywhere: each of its products is exact in any order of summation.

Theorem. Let a and w be integers held in floating point with a p-bit significand (24 bits in float32, 53 in
float64). If sum_j |a_j| |w_j| < 2^p, then every product a_j w_j and every partial sum of them, in any order,
grouping or blocking, with or without fused multiply-add, is an integer below 2^p in magnitude, hence
representable, hence computed without rounding. So every BLAS, thread count, batch size and device that adds
and multiplies as IEEE 754 says returns the same integers.

Premise. max|a| is proven layer by layer from the network's inputs on, and the sum is taken over the stored
integers: when a network is frozen (`mcbits.exact.freeze`), and again when it is loaded. That the platform
does add and multiply so (no TF32, no bfloat16) is what `mcbits.exact.backends` tests before a network runs.
"""

from mcbits.exact.fixed import FixedPoint
from mcbits.exact.model_io import dumps, load, save
from mcbits.exact.network import FrozenNetwork, Output

__all__ = ["FixedPoint", "FrozenNetwork", "Output", "dumps", "load", "save"]
