"""A lane's message is one unbounded integer M = head 2^(bprec n) + tail, whose top digits are the head."""

from collections.abc import Callable, Sequence
from math import log2


class OracleLane:
    """One lane of a rANS stack, as plain arithmetic on M (Duda 2013; Townsend et al. 2019, appendix A).

    M >= 2^lprec fixes the number n of tail words, so nothing but M is kept. `draw(k)` is the k-th initial
    word; the last word of the tail is its top.
    """

    def __init__(self, lprec: int, bprec: int, draw: Callable[[int], int], head: int, tail: Sequence[int] = ()):
        self.lprec, self.bprec, self.draw = lprec, bprec, draw
        self.message = head
        for word in reversed(tail):
            self.message = self.message << bprec | word
        self.initial_words = 0

    @property
    def num_words(self) -> int:
        return (self.message.bit_length() - 1 - self.lprec) // self.bprec

    @property
    def head(self) -> int:
        return self.message >> self.bprec * self.num_words

    @property
    def tail(self) -> list[int]:
        mask = (1 << self.bprec) - 1
        return [self.message >> self.bprec * k & mask for k in range(self.num_words)]

    @property
    def bits(self) -> float:
        return log2(self.head) - self.lprec + self.bprec * self.num_words

    def push(self, start: int, freq: int, precision: int) -> None:
        """Multiplies the fewest top digits by 2^precision / freq that leave a head of at least 2^lprec."""
        above = self.message // (freq << self.lprec - precision)
        low_bits = self.bprec * ((above.bit_length() - 1) // self.bprec)
        top, low = self.message >> low_bits, self.message & ((1 << low_bits) - 1)
        top = (top // freq << precision) + top % freq + start
        self.message = top << low_bits | low

    def peek(self, precision: int) -> int:
        """The quantile, in [0, 2^precision), of the symbol that the next pop returns."""
        return self.head & ((1 << precision) - 1)

    def pop(self, start: int, freq: int, precision: int) -> None:
        """Commits to the symbol found at the quantile: the exact inverse of push(start, freq, precision)."""
        low_bits = self.bprec * self.num_words
        top, low = self.message >> low_bits, self.message & ((1 << low_bits) - 1)
        top = freq * (top >> precision) + (top & ((1 << precision) - 1)) - start
        self.message = top << low_bits | low
        while self.message < 1 << self.lprec:
            self.message = self.message << self.bprec | self.draw(self.initial_words)
            self.initial_words += 1
