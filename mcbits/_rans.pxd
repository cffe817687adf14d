# The state of a lane and the two steps of rANS, for the loops over symbols; see _rans.pyx and _rans.h.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "_rans.h" nogil:
    ctypedef struct Lane:
        uint64_t head
        uint64_t *tail
        size_t size
        size_t capacity
        uint64_t initial_words
        uint64_t key
        uint64_t start
        uint64_t pad_key
        uint64_t head_before
        size_t size_before
    ctypedef struct RansBits:
        int r, l, b
    ctypedef struct RansSymbol:
        uint32_t start, freq
    uint64_t mix "rans_mix"(uint64_t x)
    uint64_t rans_push(Lane *lane, uint64_t head, uint64_t start, uint64_t f, RansBits bits, int *failed)
    uint64_t rans_pop(Lane *lane, uint64_t head, uint64_t start, uint64_t f, RansBits bits)
    uint64_t rans_peek(uint64_t head, RansBits bits)
    RansSymbol rans_symbol(uint64_t start, uint64_t f, int r)

cdef class Stack:
    cdef Lane *_lanes
    cdef Stack _owner
    cdef readonly int lanes
    cdef readonly int lprec
    cdef readonly int bprec
    # The three widths at this precision, as the steps take them.
    cdef RansBits widths(self, int precision) noexcept nogil
    # Remember where the stack stands, and go back there after pushes: nothing may have been popped meanwhile.
    cdef void remember(self) noexcept nogil
    cdef void recall(self) noexcept nogil
    # Raise StackError for a precision that the stack cannot have, or for symbols of another number of lanes.
    cdef int check(self, int precision, Py_ssize_t rows) except -1
