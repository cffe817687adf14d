# The state of a lane and the two steps of rANS, for the kernels that loop over symbols; see _rans.pyi.
from libc.stdint cimport uint64_t

ctypedef struct Lane:
    uint64_t head
    uint64_t *tail
    size_t size
    size_t capacity
    uint64_t initial_words
    uint64_t key
    uint64_t start
    uint64_t pad_key

cdef int grow(Lane *lane) noexcept nogil
cdef uint64_t initial_word(Lane *lane) noexcept nogil

# A symbol of frequency f at precision r lies in [start, start + f) of [0, 2^r).
#   push: head -> (head // f) * 2^r + start + head % f, after words have gone to the tail until head < f * 2^(l + b - r)
#   pop:  head -> (head // 2^r) * f + head % 2^r - start, then words come from the tail until head >= 2^l
# Comparing head >> (l + b - r) with f, rather than head with f << (l + b - r), is right for f = 2^r too.

cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    # The finaliser of splitmix64 (Steele, Lea and Flood 2014).
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)

# What the word above the top of the tail is XORed with while it lies there: nothing before the first step() of a stack.
# Initial words count as if they had lain below the bottom, so that a decoder, which puts them there, finds the same levels.
cdef inline uint64_t pad(const Lane *lane, int bits) noexcept nogil:
    cdef uint64_t level = <uint64_t>lane.size - lane.initial_words
    if lane.pad_key == 0:
        return 0
    return mix(lane.pad_key + level * <uint64_t>0x9E3779B97F4A7C15) >> (64 - bits)

cdef inline int push_one(Lane *lane, uint64_t start, uint64_t freq, int precision, int lprec, int bprec) noexcept nogil:
    cdef int room = lprec + bprec - precision
    cdef uint64_t head = lane.head
    while head >> room >= freq:
        if lane.size == lane.capacity and grow(lane) != 0:
            return -1
        lane.tail[lane.size] = (head & (((<uint64_t>1) << bprec) - 1)) ^ pad(lane, bprec)
        lane.size += 1
        head >>= bprec
    lane.head = ((head // freq) << precision) + head % freq + start
    return 0

cdef inline uint64_t peek(const Lane *lane, int precision) noexcept nogil:
    return lane.head & (((<uint64_t>1) << precision) - 1)

cdef inline void pop_one(Lane *lane, uint64_t start, uint64_t freq, int precision, int lprec, int bprec) noexcept nogil:
    cdef uint64_t head = freq * (lane.head >> precision) + peek(lane, precision) - start
    while head >> lprec == 0:
        if lane.size > 0:
            lane.size -= 1
            head = (head << bprec) | (lane.tail[lane.size] ^ pad(lane, bprec))
        else:
            head = (head << bprec) | (initial_word(lane) >> (64 - bprec))
    lane.head = head

cdef class Stack:
    cdef Lane *_lanes
    cdef Stack _owner
    cdef readonly int lanes
    cdef readonly int lprec
    cdef readonly int bprec
    cdef int check(self, int precision, Py_ssize_t rows) except -1
