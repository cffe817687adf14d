"""A Bernoulli is a fixed-point logit, and a table made once for a precision says the frequency of each.

Logits are int32 in units of 2^-8, clamped to [-16, 16). A symbol 0 lies below a symbol 1.
Shapes: L lanes, R draws with logits of their own, M dimensions.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

import numpy as np

from mcbits._rans cimport RansSymbol, Stack, rans_symbol
from mcbits.core.lanes cimport SYMBOLS_PER_THREAD, LanesJob, begin, check_dims, check_symbols, each_lane, push_all
from mcbits.core.numerics cimport CODELENGTH_FRAC, exp, log2_fixed
from mcbits.core.simd cimport wide
from mcbits.core.threads cimport share, threads
from mcbits.errors import DataError

cdef extern from "bernoulli.h" nogil:
    enum:
        LOGIT_LIMIT
        NUM_LOGITS
    ctypedef struct BernoulliJob:
        LanesJob common
        const int32_t *logits
        const int32_t *symbols
        const RansSymbol *table
        const uint32_t *ones
        int32_t *out
    Py_ssize_t bernoulli_entry(int32_t logit, int32_t x)
    void bernoulli_push_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void bernoulli_pop_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    int32_t bernoulli_sum(const int32_t *logits, const int32_t *x, Py_ssize_t n, const int32_t *lengths, int wide)

cdef double LOGIT_UNITS = <double>(1 << 8)  # to a nat

cdef enum:
    SUMMED_TOGETHER = 1 << 10  # a codelength is at most 31 * 2^16, so that the sum of so many fits in 32 bits


def bernoulli_table(int precision):
    """Return frequencies (8192,) uint32 of a 1 and codelengths (16384,) int32, in units of 2^-16 bits, of a 0, then of a 1.

    Entries are for each logit from -16 in steps of 2^-8, with 1 <= frequency < 2^precision.
    """
    freq = np.empty(NUM_LOGITS, np.uint32)
    length = np.empty(2 * NUM_LOGITS, np.int32)
    cdef uint32_t[::1] f = freq
    cdef int32_t[::1] cl = length
    cdef uint64_t whole = <uint64_t>1 << precision, one
    cdef Py_ssize_t i
    for i in range(NUM_LOGITS):
        one = 1 + <uint64_t>((whole - 2) * (1.0 / (1.0 + exp((LOGIT_LIMIT - i) / LOGIT_UNITS))))
        f[i] = <uint32_t>one
        cl[i] = <int32_t>((<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(whole - one))
        cl[NUM_LOGITS + i] = <int32_t>((<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(one))
    return freq, length


def bernoulli_freqs(const int32_t[::1] logits, const uint32_t[::1] freq):
    """Return the frequency of a 1 for each of the logits (n,) int32, (n,) uint64; `freq` is of bernoulli_table."""
    result = np.empty(logits.shape[0], np.uint64)
    cdef uint64_t[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(logits.shape[0]):
            out[i] = freq[bernoulli_entry(logits[i], 0)]
    return result


cdef class BernoulliSymbols:
    """BernoulliSymbols(freq, precision): what pushes need of both symbols under every logit, at one precision.

    `freq` is the frequencies of bernoulli_table(precision), (8192,) uint32.
    """

    cdef RansSymbol table[2 * NUM_LOGITS]
    cdef int precision

    def __cinit__(self, const uint32_t[::1] freq, int precision):
        cdef Py_ssize_t i
        cdef uint64_t whole = <uint64_t>1 << precision
        self.precision = precision
        for i in range(NUM_LOGITS):
            self.table[i] = rans_symbol(0, whole - freq[i], precision)
            self.table[NUM_LOGITS + i] = rans_symbol(whole - freq[i], freq[i], precision)


def bernoulli_push(Stack stack, const int32_t[:, :, ::1] logits, const int32_t[:, :, ::1] symbols, BernoulliSymbols both):
    """Push symbols (L, R, M) int32 under logits (L, R, M) int32, the last one of a lane first, at the precision of `both`.

    Raises DataError, leaving the stack as it was, for a symbol that is neither 0 nor 1, or for shapes that do not fit;
    StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2]
    cdef BernoulliJob job
    begin(&job.common, stack, both.precision, L, R, M)
    if logits.shape[1] != R:
        raise DataError(f"{R} draws meet a distribution over {logits.shape[1]}")
    check_dims(logits.shape[0], logits.shape[2], L, M)
    check_symbols(symbols, 2)
    if L * R * M == 0:
        return
    job.logits, job.symbols, job.table, job.ones, job.out = &logits[0, 0, 0], &symbols[0, 0, 0], both.table, NULL, NULL
    push_all(stack, L, bernoulli_push_lanes, &job.common)


def bernoulli_pop(Stack stack, const int32_t[:, :, ::1] logits, const uint32_t[::1] freq, int precision):
    """Pop and return symbols (L, R, M) int32 under logits (L, R, M) int32, the first one of a lane first.

    `freq` is the frequencies of bernoulli_table(precision). Raises StackError for a precision or a number of lanes that the stack
    does not have.
    """
    cdef Py_ssize_t L = logits.shape[0], R = logits.shape[1], M = logits.shape[2]
    cdef BernoulliJob job
    begin(&job.common, stack, precision, L, R, M)
    result = np.empty((L, R, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    job.logits, job.symbols, job.table, job.ones, job.out = &logits[0, 0, 0], NULL, NULL, &freq[0], &out[0, 0, 0]
    with nogil:
        each_lane(L, bernoulli_pop_lanes, &job.common)
    return result


cdef struct TotalJob:
    const int32_t *logits   # (L, R, M)
    const int32_t *symbols  # (L, R, M), or (L, 1, M) where `one`
    Py_ssize_t R, M
    bint one                # whether all draws of a lane share the symbols
    const int32_t *lengths  # of bernoulli_table
    int64_t *out            # (L, R)


cdef void total_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef TotalJob *job = <TotalJob *>shared
    cdef Py_ssize_t i, m, M = job.M
    cdef const int32_t *a
    cdef const int32_t *x
    cdef int64_t total
    for i in range(first, end):
        total, a, x = 0, job.logits + i * M, job.symbols + (i // job.R if job.one else i) * M
        m = 0
        while m < M:
            total += bernoulli_sum(a + m, x + m, min(<Py_ssize_t>SUMMED_TOGETHER, M - m), job.lengths, wide)
            m += SUMMED_TOGETHER
        job.out[i] = total


def bernoulli_total(const int32_t[:, :, ::1] logits, const int32_t[:, :, ::1] symbols, const int32_t[::1] length):
    """Return the codelengths of symbols under logits (L, R, M) int32, summed over dimensions, (L, R) int64 in units of 2^-16 bits.

    Symbols are (L, R, M) int32, or (L, 1, M), which all draws share; `length` is the codelengths of bernoulli_table. Raises DataError
    for a symbol that is neither 0 nor 1, or for shapes that do not fit.
    """
    cdef Py_ssize_t L = logits.shape[0], R = logits.shape[1], M = logits.shape[2]
    cdef TotalJob job
    if symbols.shape[1] != 1 and symbols.shape[1] != R:
        raise DataError(f"{symbols.shape[1]} draws meet a distribution over {R}")
    check_dims(L, M, symbols.shape[0], symbols.shape[2])
    check_symbols(symbols, 2)
    result = np.zeros((L, R), np.int64)
    cdef int64_t[:, ::1] out = result
    if L * R * M == 0:
        return result
    job.logits, job.symbols, job.lengths, job.out = &logits[0, 0, 0], &symbols[0, 0, 0], &length[0], &out[0, 0]
    job.R, job.M, job.one = R, M, symbols.shape[1] == 1
    with nogil:
        share(threads(), L * R, 8 * SYMBOLS_PER_THREAD // M + 1, total_rows, &job)
    return result
