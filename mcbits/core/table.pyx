"""Every distribution that has its cdf in a table is coded here: what a push, a pop and an inverse find is what the table says.

Shapes: L lanes, R draws under the same table, M dimensions, K symbols. A table is uint32 (L, M, K + 1); each of its rows F does not
fall, F[0] = 0 and F[K] = 2^precision, with precision <= 30.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from mcbits._rans cimport RansSymbol, Stack, rans_symbol
from mcbits.core.lanes cimport (
    SYMBOLS_PER_THREAD, TABLES_PER_THREAD, LanesJob, begin, check_dims, check_symbols, each_lane, push_all, raise_outside_support
)
from mcbits.core.numerics cimport CODELENGTH_FRAC, log2_fixed
from mcbits.core.threads cimport share, threads
from mcbits.errors import DataError

cdef extern from "table.h" nogil:
    ctypedef struct TableJob:
        LanesJob common
        const uint32_t *cdf
        Py_ssize_t K
        const int32_t *symbols
        const RansSymbol *reciprocals
        const uint64_t *quantiles
        int32_t *out
        uint8_t *hints
        int log_hints
        uint16_t *less
    void table_push_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_push_many_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_hints_rows(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_pop_hinted_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_pop_less_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_pop_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void table_inverse_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept

cdef enum:
    HINTS_FROM_DRAWS = 32          # fewer draws from a table do not pay for its hints
    RECIPROCALS_FROM_DRAWS = 8     # of each symbol: fewer do not pay for its reciprocal
    LARGEST_HINTED = 256           # a hint is a byte

cdef double WEIGHTS_BELOW = <double>(<int64_t>1 << 53)  # sums below it are exact


def leaky_cdf(const uint64_t[:, ::1] weights, int precision):
    """Return a row of a table, (n, K + 1) uint32, for each row of weights (n, K) uint64.

    F(k) = k + floor((2^r - K) * (w_0 + ... + w_{k-1}) / (w_0 + ... + w_{K-1})), now and then one less, since the division rounds.
    Every symbol has a frequency of 1 at least. Raises DataError where the weights of a row add up to 0, or to 2^53 or more.
    """
    cdef Py_ssize_t i, k, K = weights.shape[1]
    cdef double total, scale, spare = <double>(<int64_t>((<uint64_t>1 << precision) - K))
    result = np.empty((weights.shape[0], K + 1), np.uint32)
    cdef uint32_t[:, ::1] F = result
    cdef bint good = True
    with nogil:
        for i in range(weights.shape[0]):
            total = 0.0
            for k in range(K):
                total += weights[i, k]
            good = good and 0.0 < total < WEIGHTS_BELOW
            scale = spare / total
            total = 0.0
            for k in range(K):
                F[i, k] = <uint32_t>(k + <uint64_t>(total * scale))
                total += weights[i, k]
            F[i, K] = <uint32_t>(<uint64_t>1 << precision)
    if not good:
        raise DataError("weights of a categorical distribution must add up to more than 0 and less than 2^53")
    return result


def table_intervals(const uint32_t[:, :, ::1] cdf, const int32_t[:, :, ::1] symbols):
    """Return where symbols (L, R, M) int32 start and their frequencies, both (L, R, M) uint64.

    Raises DataError for a symbol that the table does not have or gives no frequency, or for shapes that do not fit.
    """
    cdef Py_ssize_t l, r, m
    cdef const uint32_t *F
    check_dims(cdf.shape[0], cdf.shape[1], symbols.shape[0], symbols.shape[2])
    check_symbols(symbols, cdf.shape[2] - 1)
    starts = np.empty((symbols.shape[0], symbols.shape[1], symbols.shape[2]), np.uint64)
    freqs = np.empty_like(starts)
    cdef uint64_t[:, :, ::1] start = starts
    cdef uint64_t[:, :, ::1] freq = freqs
    cdef bint good = True
    with nogil:
        for l in range(symbols.shape[0]):
            for r in range(symbols.shape[1]):
                for m in range(symbols.shape[2]):
                    F = &cdf[l, m, symbols[l, r, m]]
                    start[l, r, m] = F[0]
                    freq[l, r, m] = F[1] - F[0]
                    good = good and F[1] > F[0]
    if not good:
        raise_outside_support()
    return starts, freqs


cdef struct TotalJob:
    const uint32_t *cdf      # (L, M, K + 1)
    const int32_t *symbols   # (L, R, M)
    Py_ssize_t R, M, K
    int32_t whole            # log2 of 2^precision
    const int32_t *lengths   # of each symbol of each table, (L, M, K), or NULL
    int64_t *out             # (L, R)
    bint outside             # whether a symbol has no frequency


cdef inline int32_t length_of(uint32_t freq, int32_t whole) noexcept nogil:
    return whole - <int32_t>log2_fixed(freq) if freq else -1


cdef void total_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef TotalJob *job = <TotalJob *>shared
    cdef Py_ssize_t i, m, l, M = job.M, K = job.K
    cdef const uint32_t *F
    cdef const int32_t *symbols
    cdef int64_t total
    cdef int32_t length, least = 0
    for i in range(first, end):
        l, symbols, total = i // job.R, job.symbols + i * M, 0
        for m in range(M):
            if job.lengths != NULL:
                length = job.lengths[(l * M + m) * K + symbols[m]]
            else:
                F = job.cdf + (l * M + m) * (K + 1) + symbols[m]
                length = length_of(F[1] - F[0], job.whole)
            least |= length
            total += length
        job.out[i] = total
    if least < 0:
        job.outside = True


def table_total(const uint32_t[:, :, ::1] cdf, const int32_t[:, :, ::1] symbols, int precision):
    """Return the codelengths of symbols (L, R, M) int32 summed over dimensions, (L, R) int64 in units of 2^-16 bits.

    Raises DataError for a symbol that the table does not have or gives no frequency, or for shapes that do not fit.
    """
    cdef Py_ssize_t i, k, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = cdf.shape[2] - 1
    cdef const uint32_t *F
    cdef int32_t *lengths = NULL
    cdef TotalJob job
    check_dims(cdf.shape[0], cdf.shape[1], L, M)
    check_symbols(symbols, K)
    result = np.zeros((L, R), np.int64)
    cdef int64_t[:, ::1] out = result
    if L * R * M == 0:
        return result
    job.cdf, job.symbols, job.out = &cdf[0, 0, 0], &symbols[0, 0, 0], &out[0, 0]
    job.R, job.M, job.K, job.whole, job.outside = R, M, K, precision << CODELENGTH_FRAC, False
    if R > 2 * K:
        lengths = <int32_t *>malloc(L * M * K * sizeof(int32_t))
    with nogil:
        if lengths != NULL:
            for i in range(L * M):
                F = job.cdf + i * (K + 1)
                for k in range(K):
                    lengths[i * K + k] = length_of(F[k + 1] - F[k], job.whole)
        job.lengths = lengths
        share(threads(), L * R, SYMBOLS_PER_THREAD // M + 1, total_rows, &job)
        free(lengths)
    if job.outside:
        raise_outside_support()
    return result


cdef int make_hints(TableJob *job, Py_ssize_t L, bint less) except -1:
    """Make hints of all tables, and `less` if wanted, to be freed; none where so few draws do not pay for them."""
    cdef Py_ssize_t tables = L * job.common.M, R = job.common.R
    if job.K > LARGEST_HINTED or R < HINTS_FROM_DRAWS:
        return 0
    # As many parts as draws pay for, and as the nearest cache holds of a lane.
    job.log_hints = 8 if R < 1 << 10 else 10 if R < 1 << 14 else 12
    while job.log_hints > 8 and job.common.M << job.log_hints > 1 << 14:
        job.log_hints -= 1
    job.log_hints = min(job.log_hints, job.common.bits.r)
    job.hints = <uint8_t *>malloc(tables << job.log_hints)
    if less:
        job.less = <uint16_t *>malloc(tables * (job.K + 1) * sizeof(uint16_t))
    if job.hints == NULL or less and job.less == NULL:
        free(job.hints)
        free(job.less)
        raise MemoryError
    with nogil:
        share(job.common.threads, tables, TABLES_PER_THREAD, table_hints_rows, job)
    return 0


def table_inverse(const uint32_t[:, :, ::1] cdf, const uint64_t[:, :, ::1] quantiles, int precision):
    """Return the symbol that holds each quantile (L, R, M) uint64, in (L, R, M) int32.

    Raises DataError for a quantile of 2^precision or more, or for shapes that do not fit.
    """
    cdef Py_ssize_t i, L = cdf.shape[0], R = quantiles.shape[1], M = cdf.shape[1]
    cdef TableJob job
    cdef uint64_t bad = 0
    if quantiles.shape[0] != L or quantiles.shape[2] != M:
        raise DataError(f"quantiles {quantiles.shape[0]} x {quantiles.shape[2]} meet a distribution over {L} x {M}")
    result = np.empty((L, R, M), np.int32)
    cdef int32_t[:, :, ::1] out = result
    if L * R * M == 0:
        return result
    memset(&job, 0, sizeof(TableJob))
    job.common.R, job.common.M, job.common.bits.r, job.common.threads = R, M, precision, threads()
    job.cdf, job.K, job.quantiles, job.out = &cdf[0, 0, 0], cdf.shape[2] - 1, &quantiles[0, 0, 0], &out[0, 0, 0]
    with nogil:
        for i in range(L * R * M):
            bad |= job.quantiles[i] >> precision
    if bad:
        raise DataError("a quantile is not below 2^precision")
    make_hints(&job, L, False)
    with nogil:
        each_lane(L, table_inverse_lanes, &job.common)
        free(job.hints)
    return result


cdef bint rises(const uint32_t *cdf, Py_ssize_t rows, Py_ssize_t K) noexcept nogil:
    cdef Py_ssize_t i, k
    cdef bint good = True
    for i in range(rows):
        for k in range(K):
            good &= cdf[i * (K + 1) + k] < cdf[i * (K + 1) + k + 1]
    return good


def table_push(Stack stack, const uint32_t[:, :, ::1] cdf, const int32_t[:, :, ::1] symbols, int precision):
    """Push symbols (L, R, M) int32, the last one of a lane first.

    Raises DataError, leaving the stack as it was, for a symbol that the table does not have or gives no frequency, or for shapes that
    do not fit; StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t i, k, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = cdf.shape[2] - 1
    cdef TableJob job
    memset(&job, 0, sizeof(TableJob))
    begin(&job.common, stack, precision, L, R, M)
    cdef const uint32_t *F
    cdef RansSymbol *reciprocals = NULL
    check_dims(cdf.shape[0], cdf.shape[1], L, M)
    check_symbols(symbols, K)
    if L * R * M == 0:
        return
    job.cdf, job.K, job.symbols = &cdf[0, 0, 0], K, &symbols[0, 0, 0]
    if R < RECIPROCALS_FROM_DRAWS * K or not rises(job.cdf, L * M, K):
        push_all(stack, L, table_push_lanes, &job.common)
        return
    reciprocals = <RansSymbol *>malloc(L * M * K * sizeof(RansSymbol))
    if reciprocals == NULL:
        raise MemoryError
    with nogil:
        for i in range(L * M):
            F = job.cdf + i * (K + 1)
            for k in range(K):
                reciprocals[i * K + k] = rans_symbol(F[k], F[k + 1] - F[k], precision)
    job.reciprocals = reciprocals
    try:
        push_all(stack, L, table_push_many_lanes, &job.common)
    finally:
        free(reciprocals)


def table_pop(Stack stack, const uint32_t[:, :, ::1] cdf, Py_ssize_t draws, int precision):
    """Pop and return symbols (L, draws, M) int32, the first one of a lane first.

    Raises StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t L = cdf.shape[0], M = cdf.shape[1]
    cdef TableJob job
    memset(&job, 0, sizeof(TableJob))
    begin(&job.common, stack, precision, L, draws, M)
    result = np.empty((L, draws, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    job.cdf, job.K, job.out = &cdf[0, 0, 0], cdf.shape[2] - 1, &out[0, 0, 0]
    make_hints(&job, L, precision <= 16)
    with nogil:
        if job.hints == NULL:
            each_lane(L, table_pop_lanes, &job.common)
        elif job.less == NULL:
            each_lane(L, table_pop_hinted_lanes, &job.common)
        else:
            each_lane(L, table_pop_less_lanes, &job.common)
        free(job.hints)
        free(job.less)
    return result
