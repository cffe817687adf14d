"""A message is a stack: whatever is pushed last is popped first, and a pop undoes a push bit for bit, as a push does a pop.

It is rANS (Duda 2013; the stack of Townsend et al. 2019). Each lane has a head in [2^lprec, 2^(lprec+bprec)) and a tail of words of
bprec bits. Three constraints make push and pop inverse to each other: lprec + bprec <= 64, precision <= lprec, and every frequency
at least 1. An empty tail yields *initial bits* from a counter-based generator, one sequence a lane.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import numpy as np

from mcbits.core import numerics
from mcbits.errors import StackError


cdef inline uint64_t _fresh_head(uint64_t key, int lprec) noexcept nogil:
    # Random low bits: were they zero, the first symbol popped would always be the first of its distribution.
    return (<uint64_t>1 << lprec) | (mix(key) >> (64 - lprec))


cdef inline uint64_t _head_pad(uint64_t key, int lprec) noexcept nogil:
    # Of the head only the low lprec - 8 bits: it stays where it may lie, and its size, which is what is paid for, hardly changes.
    return 0 if key == 0 or lprec <= 8 else mix(key) >> (72 - lprec)


def _words(values, int ndim):
    try:
        given = np.asarray(values)
        array = np.ascontiguousarray(values, np.uint64)
        exact = given.dtype.kind in "iu" or np.array_equal(array, given)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise StackError("the stack takes arrays of unsigned integers")
    if array.ndim != ndim:
        raise StackError(f"an array of {array.ndim} dimensions stands where {ndim} are needed")
    return array


cdef class Stack:
    """Stack(lanes=1, lprec=32, bprec=32, seed=0): `lanes` independent stacks that step together.

    lanes, lprec and bprec can be read again as attributes.
    Initial bits are a function of the seed, any integer modulo 2^64, and of the lane. Raises StackError for lanes outside 1 ... 2^20,
    and where lprec or bprec is below 1 or their sum above 64.
    """

    def __cinit__(self, lanes=1, lprec=32, bprec=32, seed=0):
        cdef int k
        if not 1 <= lanes <= 1 << 20:
            raise StackError(f"a stack has 1 to 2^20 lanes, not {lanes}")
        if not (1 <= lprec and 1 <= bprec and lprec + bprec <= 64):
            raise StackError(f"lprec {lprec} and bprec {bprec} must be at least 1 and together at most 64")
        self.lanes = lanes
        self.lprec = lprec
        self.bprec = bprec
        self._owner = None
        self._lanes = <Lane *>calloc(lanes, sizeof(Lane))
        if self._lanes == NULL:
            raise MemoryError
        for k in range(lanes):
            self._lanes[k].key = mix(mix(<uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)) + k)
            self._lanes[k].start = _fresh_head(self._lanes[k].key, lprec)
            self._lanes[k].head = self._lanes[k].start

    def __dealloc__(self):
        cdef int k
        if self._owner is None and self._lanes != NULL:
            for k in range(self.lanes):
                free(self._lanes[k].tail)
            free(self._lanes)

    cdef RansBits widths(self, int precision) noexcept nogil:
        cdef RansBits bits
        bits.r, bits.l, bits.b = precision, self.lprec, self.bprec
        return bits

    cdef void remember(self) noexcept nogil:
        cdef int k
        for k in range(self.lanes):
            self._lanes[k].head_before, self._lanes[k].size_before = self._lanes[k].head, self._lanes[k].size

    cdef void recall(self) noexcept nogil:
        # Pushes since `remember` have written above the tail only.
        cdef int k
        for k in range(self.lanes):
            self._lanes[k].head, self._lanes[k].size = self._lanes[k].head_before, self._lanes[k].size_before

    cdef int check(self, int precision, Py_ssize_t rows) except -1:
        if not 1 <= precision <= self.lprec:
            raise StackError(f"precision {precision} must be between 1 and lprec, which is {self.lprec}")
        if rows != self.lanes:
            raise StackError(f"symbols for {rows} lanes meet a stack of {self.lanes}")
        return 0

    def select(self, int start, int stop):
        """Return lanes start to stop - 1 as a stack that shares the state of this one. Raises StackError where it lacks one of them."""
        cdef Stack view
        if not 0 <= start < stop <= self.lanes:
            raise StackError(f"lanes {start} to {stop} are not in a stack of {self.lanes}")
        view = Stack(1, self.lprec, self.bprec)
        free(view._lanes)
        view._lanes = self._lanes + start
        view._owner = self
        view.lanes = stop - start
        return view

    def step(self, number):
        """Begin step `number` = 0, 1, ... of a message; None ends the last one.

        What step t leaves on the stack, step t + 1 pops under another pad: words XORed with splitmix64 of step and level. So it finds
        random bits however those were pushed, and bits-back coders sample from what they pop. Decoding step t begins with step(t)
        too. Raises StackError for a number below 0, or of 2^62 or more.
        """
        cdef int k
        cdef uint64_t key = 0
        if number is not None:
            if not 0 <= number < 1 << 62:
                raise StackError(f"steps are numbered from 0, not {number}")
            key = mix(<uint64_t>number + 1)
        for k in range(self.lanes):
            self._lanes[k].head ^= _head_pad(self._lanes[k].pad_key, self.lprec) ^ _head_pad(key, self.lprec)
            self._lanes[k].pad_key = key

    def noise(self):
        """Return a fresh stack whose initial bits, lane by lane, are a function of this one's: a source of reproducible samples."""
        cdef int k
        cdef Stack fresh = Stack(self.lanes, self.lprec, self.bprec)
        for k in range(self.lanes):
            fresh._lanes[k].key = mix(self._lanes[k].key ^ mix(self._lanes[k].head))
            fresh._lanes[k].head = _fresh_head(fresh._lanes[k].key, self.lprec)
        return fresh

    def push(self, starts, freqs, int precision):
        """Push intervals [start, start + freq) of [0, 2^precision), integers (lanes, D), the last column first.

        Raises StackError, leaving the stack as it was, for a zero frequency, an interval outside, or a wrong shape.
        """
        cdef const uint64_t[:, ::1] start = _words(starts, 2)
        cdef const uint64_t[:, ::1] freq = _words(freqs, 2)
        cdef Py_ssize_t k, i
        cdef uint64_t whole
        cdef bint good = True
        cdef int failed = 0
        cdef Lane *lane
        cdef RansBits bits = self.widths(precision)
        self.check(precision, start.shape[0])
        whole = <uint64_t>1 << precision
        if start.shape[0] != freq.shape[0] or start.shape[1] != freq.shape[1]:
            raise StackError("starts and frequencies have different shapes")
        with nogil:
            for k in range(start.shape[0]):
                for i in range(start.shape[1]):
                    good = good and 0 < freq[k, i] <= whole and start[k, i] <= whole - freq[k, i]
            if good:
                self.remember()
                for k in range(start.shape[0]):
                    lane = &self._lanes[k]
                    for i in range(start.shape[1] - 1, -1, -1):
                        lane.head = rans_push(lane, lane.head, start[k, i], freq[k, i], bits, &failed)
        if not good:
            raise StackError(f"a frequency is zero, or an interval leaves [0, 2^{precision})")
        if failed:
            self.recall()
            raise MemoryError

    def pop(self, cdf, int precision):
        """Pop and return one symbol, (lanes, D) int32, under each cdf, integers (lanes, D, K + 1), the first column first.

        Raises StackError, leaving the stack as it was, for a cdf that does not rise strictly from 0 to 2^precision.
        """
        cdef const uint64_t[:, :, ::1] table = _words(cdf, 3)
        cdef Py_ssize_t k, i, low, high, middle
        cdef uint64_t quantile, whole
        cdef bint good = True
        cdef Lane *lane
        cdef RansBits bits = self.widths(precision)
        self.check(precision, table.shape[0])
        if table.shape[2] < 2:
            raise StackError("a cdf has at least two entries")
        whole = <uint64_t>1 << precision
        symbols = np.empty((table.shape[0], table.shape[1]), np.int32)
        cdef int[:, ::1] out = symbols
        with nogil:
            for k in range(table.shape[0]):
                for i in range(table.shape[1]):
                    good = good and table[k, i, 0] == 0 and table[k, i, table.shape[2] - 1] == whole
                    for low in range(table.shape[2] - 1):
                        good = good and table[k, i, low] < table[k, i, low + 1]
            if good:
                for k in range(table.shape[0]):
                    lane = &self._lanes[k]
                    for i in range(table.shape[1]):
                        quantile = rans_peek(lane.head, bits)
                        low = 0
                        high = table.shape[2] - 1
                        while high - low > 1:
                            middle = (low + high) // 2
                            if table[k, i, middle] <= quantile:
                                low = middle
                            else:
                                high = middle
                        out[k, i] = <int>low
                        lane.head = rans_pop(lane, lane.head, table[k, i, low], table[k, i, low + 1] - table[k, i, low], bits)
        if not good:
            raise StackError(f"a cdf does not rise from 0 to 2^{precision} by at least 1 a symbol")
        return symbols

    @property
    def heads(self):
        """A copy of the heads, (lanes,) uint64."""
        return np.array([self._lanes[k].head for k in range(self.lanes)], np.uint64)

    def tail(self, int lane):
        """Return a copy of one lane's tail, words uint64, its top last. Raises StackError for a lane that is not there."""
        if not 0 <= lane < self.lanes:
            raise StackError(f"lane {lane} is not in a stack of {self.lanes}")
        words = np.empty(self._lanes[lane].size, np.uint64)
        cdef uint64_t[::1] out = words
        if words.size:
            memcpy(&out[0], self._lanes[lane].tail, words.size * sizeof(uint64_t))
        return words

    @property
    def initial_words(self):
        """Words drawn from the generator so far, (lanes,) uint64."""
        return np.array([self._lanes[k].initial_words for k in range(self.lanes)], np.uint64)

    @property
    def drawn(self):
        """The sum of `initial_words` over lanes."""
        cdef int k
        cdef uint64_t words = 0
        for k in range(self.lanes):
            words += self._lanes[k].initial_words
        return words

    def bits(self):
        """Return the bits held, log2(head) - lprec + bprec * len(tail), (lanes,) float64; below 1 for a fresh stack."""
        sizes = np.array([self._lanes[k].size for k in range(self.lanes)], np.float64)
        return numerics.log2_array(self.heads.astype(np.float64)) - self.lprec + self.bprec * sizes

    def initial_bits(self):
        """Return the bits of the first head, log2(head) - lprec, and of the words drawn from the generator, (lanes,) float64."""
        start = np.array([self._lanes[k].start for k in range(self.lanes)], np.uint64)
        return numerics.log2_array(start.astype(np.float64)) - self.lprec + self.bprec * self.initial_words

    def net_bits(self):
        """Return bits() - initial_bits(), which is what the pushes have cost, (lanes,) float64."""
        return self.bits() - self.initial_bits()

    @classmethod
    def from_words(cls, heads, tails, int lprec=32, int bprec=32, seed=0, initial_words=None):
        """Return the stack with these heads (lanes,), tails (one array of words a lane) and numbers of initial words drawn (lanes,).

        The last are needed by steps, and 0 by default. Raises StackError for a head, a word or a shape that is out of range.
        """
        head = _words(heads, 1)
        words = [_words(each, 1) for each in tails]
        drawn = _words(np.zeros(len(head)) if initial_words is None else initial_words, 1)
        if len(head) == 0 or len(head) != len(words) or len(head) != len(drawn):
            raise StackError(f"{len(head)} heads meet {len(words)} tails and {len(drawn)} counts of initial words")
        cdef Stack stack = cls(len(head), lprec, bprec, seed)
        cdef const uint64_t[::1] tail
        cdef Py_ssize_t k
        for k in range(len(head)):
            if int(head[k]) >> lprec == 0 or int(head[k]) >> (lprec + bprec):
                raise StackError(f"the head of lane {k} is outside [2^{lprec}, 2^{lprec + bprec})")
            tail = words[k]
            if tail.shape[0]:
                if int(words[k].max()) >> bprec:
                    raise StackError(f"a tail word of lane {k} has more than {bprec} bits")
                stack._lanes[k].tail = <uint64_t *>malloc(tail.shape[0] * sizeof(uint64_t))
                if stack._lanes[k].tail == NULL:
                    raise MemoryError
                memcpy(stack._lanes[k].tail, &tail[0], tail.shape[0] * sizeof(uint64_t))
                stack._lanes[k].size = stack._lanes[k].capacity = tail.shape[0]
            stack._lanes[k].head = stack._lanes[k].start = head[k]
            stack._lanes[k].initial_words = drawn[k]
        return stack
