"""A message is a stack: whatever is pushed last is popped first, and a pop undoes a push bit for bit, as a push does
a pop.

rANS (Duda 2013; the stack of Townsend et al. 2019). Each lane has a head in [2^lprec, 2^(lprec+bprec)) and a tail of
words of bprec bits. Three constraints make push and pop inverse to each other: lprec + bprec <= 64, precision <=
lprec, and every frequency at least 1. An empty tail yields *initial bits* from a counter-based generator, one sequence
a lane.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

class Stack:
    """`lanes` independent stacks that step together.

    Raises StackError when lprec or bprec is below 1 or their sum above 64.
    """

    lanes: int
    lprec: int
    bprec: int
    def __init__(self, lanes: int = 1, lprec: int = 32, bprec: int = 32, seed: int = 0) -> None: ...
    def select(self, start: int, stop: int) -> Stack:
        """Lanes start to stop - 1, sharing this stack's state."""
    def step(self, number: int | None) -> None:
        """Begin step `number` = 0, 1, ... of a message; None ends the last one.

        What step t leaves on the stack, step t + 1 pops under another pad (words XORed with splitmix64 of step and
        level), so that it finds random bits however those were pushed: bits-back coders sample from what they pop.
        Decoding step t begins with step(t) too. Raises StackError for a number below 0.
        """
    def noise(self) -> Stack:
        """A fresh stack whose initial bits, lane by lane, are a function of this one's: a source of reproducible
        samples."""
    def push(self, starts: ArrayLike, freqs: ArrayLike, precision: int) -> None:
        """Push intervals [start, start + freq) of [0, 2^precision), arrays (lanes, D), the last column first.

        Raises StackError, leaving the stack as it was, for a zero frequency, an interval outside, or a wrong shape.
        """
    def pop(self, cdf: ArrayLike, precision: int) -> NDArray[np.int32]:
        """Pop one symbol (lanes, D) under each cdf table (lanes, D, K + 1), the first column first.

        Raises StackError, leaving the stack as it was, for a table that does not rise strictly from 0 to 2^precision.
        """
    @property
    def heads(self) -> NDArray[np.uint64]:
        """A copy of the heads, (lanes,)."""
    def tail(self, lane: int) -> NDArray[np.uint64]:
        """A copy of one lane's tail, its top last."""
    @property
    def initial_words(self) -> NDArray[np.uint64]:
        """Words drawn from the generator so far, (lanes,)."""
    @property
    def drawn(self) -> int:
        """Their sum over lanes."""
    def bits(self) -> NDArray[np.float64]:
        """Information held, log2(head) - lprec + bprec * len(tail), (lanes,); below 1 for a fresh stack."""
    def initial_bits(self) -> NDArray[np.float64]:
        """Bits of the first head, log2(head) - lprec, and of the words drawn from the generator, (lanes,)."""
    def net_bits(self) -> NDArray[np.float64]:
        """bits() - initial_bits(): what the pushes have cost, (lanes,)."""
    @classmethod
    def from_words(
        cls,
        heads: ArrayLike,
        tails: Sequence[ArrayLike],
        lprec: int = 32,
        bprec: int = 32,
        seed: int = 0,
        initial_words: ArrayLike | None = None,
    ) -> Stack:
        """The stack with these heads, tails and numbers of initial words drawn (which steps need; default 0).

        Raises StackError when one is out of range.
        """
