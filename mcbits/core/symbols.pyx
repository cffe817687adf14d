"""The discretizers' loops over symbols: integer cdfs in, rANS steps out, no Python object and no GIL per symbol.

Lanes are coded in pairs, since their stacks do not wait for each other, and large calls are shared among threads.

Shapes: L lanes, R draws (particles) under the same parameters, M dimensions. A cdf row F holds K + 1 entries as
uint32 with F[0] = 0 and F[K] = 2^r, r <= 30.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from mcbits.core.numerics cimport CODELENGTH_FRAC, PHI, PHI_SPAN, PHI_STEPS, exp, log2, log2_fixed, ndtri
from mcbits._rans cimport Lane, RansBits, Stack, rans_peek, rans_pop, rans_push
from mcbits.core.threads cimport Work, share, threads
from mcbits.errors import DataError

cdef extern from "simd.h" nogil:
    int mcbits_wide
    bint mcbits_intervals_row(const double *edges, int32_t K, const int32_t *k, const double *mean, const double *inv_scale,
                              Py_ssize_t n, double spare, int32_t leak, int32_t whole, const double[2] *phi, int32_t steps,
                              int32_t span, int32_t *starts, int32_t *freqs)
    int32_t mcbits_bernoulli_row(const int32_t *logits, const int32_t *x, Py_ssize_t n, const int32_t *length, int32_t limit)
    Py_ssize_t mcbits_search(const int32_t *F, Py_ssize_t n, int32_t q)

cdef extern from "symbols.h" nogil:
    enum:
        LANES "SYMBOLS_LANES"
    ctypedef struct RansSymbol:
        uint32_t start, freq
    RansSymbol rans_symbol(uint64_t start, uint64_t f, int r)
    ctypedef struct Gaussian:
        const double *edges
        Py_ssize_t K
        double spare
        int32_t leak
        const double[2] *phi
        int32_t steps, span
        const int32_t *cells
        Py_ssize_t num_cells
        double low, per_unit
        double mean_unit
        const double *inv_scales
        int32_t limit
        const float *normal
        int log_normal
    ctypedef struct Symbols:
        Lane *lanes
        RansBits bits
        Py_ssize_t R, M
        const int32_t *symbols
        int32_t *out
        const uint64_t *quantiles
        int threads, failed, outside
        const uint32_t *cdf
        Py_ssize_t K
        uint8_t *hints
        int h
        uint16_t *less
        const RansSymbol *table
        const int32_t *logits
        const uint32_t *ones
        int32_t limit
        const Gaussian *gaussian
        const int32_t *mean
        const int32_t *log_scale
        int32_t *tables
    void symbols_table_push(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_push(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_all_hints(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_hint_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_short_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_table_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_inverse(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_bernoulli_push(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_bernoulli_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    Py_ssize_t symbols_logit(int32_t logit, int32_t limit)
    int32_t gaussian_scale(const Gaussian *g, int32_t log_scale)
    void gaussian_fill(const Gaussian *g, int32_t mean, int32_t log_scale, Py_ssize_t low, Py_ssize_t high, int r, int32_t *F)
    void symbols_gaussian_push_few(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_gaussian_push(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void symbols_gaussian_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept

cdef double LN2 = 6.93147180559945309417e-01

cdef enum:
    LOGIT_LIMIT = 4096  # logits are clamped to [-16, 16) in steps of 2^-8
    BERNOULLI_SIZE = 2 * LOGIT_LIMIT
    FEW_OF_A_TABLE = 8  # fewer draws of a Gaussian do not pay for one
    FEW_DRAWS = 32   # fewer from one table do not pay for hints
    MANY_DRAWS = 8   # so many for each of its symbols pay for their reciprocals
    WORTH = 4096     # so many symbols pay for another thread
    TABLES = 100     # so many tables do


def set_wide(int wide):
    """Use AVX2 (1), the plain loops (0), or what the processor has (-1): for tests, the results being equal."""
    global mcbits_wide
    mcbits_wide = wide


cdef check_symbols(const int32_t[:, :, ::1] symbols, Py_ssize_t num_symbols):
    cdef Py_ssize_t i, n = symbols.shape[0] * symbols.shape[1] * symbols.shape[2]
    cdef const int32_t *s
    cdef int32_t bad = 0, last = <int32_t>(num_symbols - 1)
    if n == 0:
        return
    s = &symbols[0, 0, 0]
    with nogil:
        for i in range(n):
            bad |= s[i] | (last - s[i])  # one of them is negative; a difference that overflows belongs to a negative s
    if bad < 0:
        low, high = np.min(symbols), np.max(symbols)
        raise DataError(f"symbol {low if low < 0 else high} is outside 0 ... {num_symbols - 1}")


cdef check_dims(Py_ssize_t lanes, Py_ssize_t dims, const int32_t[:, :, ::1] symbols):
    if symbols.shape[0] != lanes or symbols.shape[2] != dims:
        raise DataError(f"symbols {symbols.shape[0]} x {symbols.shape[2]} meet a distribution over {lanes} x {dims}")


cdef raise_outside_support():
    raise DataError("a symbol is outside the support of a distribution: its frequency is 0")


cdef int begin(Symbols *job, Stack stack, int precision, Py_ssize_t L, Py_ssize_t R, Py_ssize_t M) except -1:
    """What all loops over the L lanes of a stack need to know."""
    stack.check(precision, L)
    memset(job, 0, sizeof(Symbols))
    job.lanes, job.bits, job.R, job.M, job.threads = stack._lanes, stack.widths(precision), R, M, threads()
    return 0


cdef void each_lane(Py_ssize_t L, Work work, Symbols *job) noexcept nogil:
    if L * job.R * job.M > 0:
        # Two pairs of lanes at least.
        share(job.threads, L, (2 * WORTH // (job.R * job.M) + 4) // 4 * 4, work, job)


cdef int push_all(Stack stack, Py_ssize_t L, Work work, Symbols *job) except -1:
    """All or nothing."""
    stack.remember()
    with nogil:
        each_lane(L, work, job)
    if job.outside or job.failed:
        stack.recall()
    if job.outside:
        raise_outside_support()
    if job.failed:
        raise MemoryError
    return 0


def codelengths(const uint64_t[::1] freqs, int precision):
    result = np.empty(freqs.shape[0], np.int64)
    cdef int64_t[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(freqs.shape[0]):
            out[i] = (<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(freqs[i])
    return result


# Uniform: F(k) = floor(k 2^r / n), whose inverse is exact in 64 bits.

def uniform_inverse(const uint64_t[::1] quantiles, const int64_t[::1] sizes, int precision):
    result = np.empty(quantiles.shape[0], np.int64)
    cdef int64_t[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(quantiles.shape[0]):
            out[i] = <int64_t>(((quantiles[i] + 1) * <uint64_t>sizes[i] - 1) >> precision)
    return result


def uniform_push(Stack stack, const int64_t[:, :, ::1] symbols, const int64_t[:, ::1] sizes, int precision):
    cdef Py_ssize_t l, r, m
    cdef uint64_t n, start
    cdef int64_t k
    cdef int failed = 0
    cdef bint good = True
    cdef Lane *lane
    cdef RansBits bits = stack.widths(precision)
    stack.check(precision, sizes.shape[0])
    if symbols.shape[0] != sizes.shape[0] or symbols.shape[2] != sizes.shape[1]:
        raise DataError(f"symbols {symbols.shape[0]} x {symbols.shape[2]} meet a distribution over {sizes.shape[0]} x {sizes.shape[1]}")
    with nogil:
        for l in range(symbols.shape[0]):
            for r in range(symbols.shape[1]):
                for m in range(symbols.shape[2]):
                    good = good and 0 <= symbols[l, r, m] < sizes[l, m]
        if good:
            stack.remember()
            for r in range(symbols.shape[1] - 1, -1, -1):
                for m in range(symbols.shape[2] - 1, -1, -1):
                    for l in range(symbols.shape[0]):
                        k, n = symbols[l, r, m], sizes[l, m]
                        start = (<uint64_t>k << precision) // n
                        lane = &stack._lanes[l]
                        lane.head = rans_push(lane, lane.head, start, ((<uint64_t>k + 1) << precision) // n - start, bits, &failed)
    if not good:
        raise DataError("a symbol is outside the support of the uniform distribution")
    if failed:
        stack.recall()
        raise MemoryError


def uniform_pop(Stack stack, const int64_t[:, ::1] sizes, int precision):
    cdef Py_ssize_t l, m
    cdef uint64_t n, k, start
    cdef Lane *lane
    cdef RansBits bits = stack.widths(precision)
    stack.check(precision, sizes.shape[0])
    result = np.empty((sizes.shape[0], sizes.shape[1]), np.int64)
    cdef int64_t[:, ::1] out = result
    with nogil:
        for m in range(sizes.shape[1]):
            for l in range(sizes.shape[0]):
                n = sizes[l, m]
                lane = &stack._lanes[l]
                k = ((rans_peek(lane.head, bits) + 1) * n - 1) >> precision
                start = (k << precision) // n
                out[l, m] = k
                lane.head = rans_pop(lane, lane.head, start, ((k + 1) << precision) // n - start, bits)
    return result


# Categorical and everything else that has its cdf in a table (L, M, K + 1).

def table_intervals(const uint32_t[:, :, ::1] cdf, const int32_t[:, :, ::1] symbols):
    cdef Py_ssize_t l, r, m
    cdef const uint32_t *F
    check_dims(cdf.shape[0], cdf.shape[1], symbols)
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


cdef struct TableTotal:
    const uint32_t *cdf
    const int32_t *symbols
    Py_ssize_t R, M, K
    int32_t whole
    const int32_t *lengths  # of each symbol of each table, or NULL
    int64_t *out
    bint outside


cdef inline int32_t length_of(uint32_t freq, int32_t whole) noexcept nogil:
    return whole - <int32_t>log2_fixed(freq) if freq else -1


cdef void total_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef TableTotal *job = <TableTotal *>shared
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
    """Codelengths summed over dimensions, (L, R)."""
    cdef Py_ssize_t i, k, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = cdf.shape[2] - 1
    cdef const uint32_t *F
    cdef int32_t *lengths = NULL
    cdef TableTotal job
    check_dims(cdf.shape[0], cdf.shape[1], symbols)
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
        share(threads(), L * R, WORTH // M + 1, total_rows, &job)
        free(lengths)
    if job.outside:
        raise_outside_support()
    return result


cdef int make_hints(Symbols *job, Py_ssize_t L, bint less) except -1:
    """Hints of all tables, and `less` if wanted, to be freed; none where so few draws do not pay for them."""
    cdef Py_ssize_t tables = L * job.M
    if job.K > 256 or job.R < FEW_DRAWS:
        return 0
    # As many parts as draws pay for, and as the nearest cache holds of a lane.
    job.h = 8 if job.R < 1024 else 10 if job.R < 16384 else 12
    while job.h > 8 and job.M << job.h > 1 << 14:
        job.h -= 1
    job.h = min(job.h, job.bits.r)
    job.hints = <uint8_t *>malloc(tables << job.h)
    if less:
        job.less = <uint16_t *>malloc(tables * (job.K + 1) * sizeof(uint16_t))
    if job.hints == NULL or less and job.less == NULL:
        free(job.hints)
        free(job.less)
        raise MemoryError
    with nogil:
        share(job.threads, tables, TABLES, symbols_all_hints, job)
    return 0


def table_inverse(const uint32_t[:, :, ::1] cdf, const uint64_t[:, :, ::1] quantiles, int precision):
    cdef Py_ssize_t i, L = cdf.shape[0], R = quantiles.shape[1], M = cdf.shape[1]
    cdef Symbols job
    cdef uint64_t bad = 0
    if quantiles.shape[0] != L or quantiles.shape[2] != M:
        raise DataError(f"quantiles {quantiles.shape[0]} x {quantiles.shape[2]} meet a distribution over {L} x {M}")
    result = np.empty((L, R, M), np.int32)
    cdef int32_t[:, :, ::1] out = result
    if L * R * M == 0:
        return result
    memset(&job, 0, sizeof(Symbols))
    job.R, job.M, job.cdf, job.K, job.bits.r, job.threads = R, M, &cdf[0, 0, 0], cdf.shape[2] - 1, precision, threads()
    job.quantiles, job.out = &quantiles[0, 0, 0], &out[0, 0, 0]
    with nogil:
        for i in range(L * R * M):
            bad |= job.quantiles[i] >> precision
    if bad:
        raise DataError("a quantile is not below 2^precision")
    make_hints(&job, L, False)
    with nogil:
        each_lane(L, symbols_inverse, &job)
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
    cdef Py_ssize_t i, k, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = cdf.shape[2] - 1
    cdef Symbols job
    begin(&job, stack, precision, L, R, M)
    cdef const uint32_t *F
    cdef RansSymbol *table = NULL
    check_dims(cdf.shape[0], cdf.shape[1], symbols)
    check_symbols(symbols, K)
    if L * R * M == 0:
        return
    job.cdf, job.K, job.symbols = &cdf[0, 0, 0], K, &symbols[0, 0, 0]
    if R < MANY_DRAWS * K or not rises(job.cdf, L * M, K):
        push_all(stack, L, symbols_table_push, &job)
        return
    table = <RansSymbol *>malloc(L * M * K * sizeof(RansSymbol))
    if table == NULL:
        raise MemoryError
    with nogil:
        for i in range(L * M):
            F = job.cdf + i * (K + 1)
            for k in range(K):
                table[i * K + k] = rans_symbol(F[k], F[k + 1] - F[k], precision)
    job.table = table
    try:
        push_all(stack, L, symbols_push, &job)
    finally:
        free(table)


def table_pop(Stack stack, const uint32_t[:, :, ::1] cdf, Py_ssize_t draws, int precision):
    cdef Py_ssize_t L = cdf.shape[0], M = cdf.shape[1]
    cdef Symbols job
    begin(&job, stack, precision, L, draws, M)
    result = np.empty((L, draws, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    job.cdf, job.K, job.out = &cdf[0, 0, 0], cdf.shape[2] - 1, &out[0, 0, 0]
    make_hints(&job, L, precision <= 16)
    with nogil:
        if job.hints == NULL:
            each_lane(L, symbols_table_pop, &job)
        elif job.less == NULL:
            each_lane(L, symbols_hint_pop, &job)
        else:
            each_lane(L, symbols_short_pop, &job)
        free(job.hints)
        free(job.less)
    return result


def leaky_cdf(const uint64_t[:, ::1] weights, int precision):
    """F(k) = k + floor((2^r - K) * (w_0 + ... + w_{k-1}) / (w_0 + ... + w_{K-1})), the sums exact below 2^53."""
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
            good = good and 0.0 < total < 9007199254740992.0
            scale = spare / total
            total = 0.0
            for k in range(K):
                F[i, k] = <uint32_t>(k + <uint64_t>(total * scale))
                total += weights[i, k]
            F[i, K] = <uint32_t>(<uint64_t>1 << precision)
    if not good:
        raise DataError("weights of a categorical distribution must add up to more than 0 and less than 2^53")
    return result


def weights_from_log2(const int64_t[:, ::1] log_w):
    """Integer weights floor(2^30 * 2^(log_w - max)), log_w in units of 2^-16 bits."""
    cdef Py_ssize_t i, k
    cdef int64_t largest
    if log_w.shape[1] < 1:
        raise DataError("there are no weights")
    result = np.empty((log_w.shape[0], log_w.shape[1]), np.uint64)
    cdef uint64_t[:, ::1] w = result
    with nogil:
        for i in range(log_w.shape[0]):
            largest = log_w[i, 0]
            for k in range(1, log_w.shape[1]):
                largest = log_w[i, k] if log_w[i, k] > largest else largest
            for k in range(log_w.shape[1]):
                w[i, k] = <uint64_t>(1073741824.0 * exp((log_w[i, k] - largest) * (LN2 / 65536.0)))
    return result


def log2_mean(const int64_t[:, ::1] log_w):
    cdef Py_ssize_t i, k
    cdef int64_t largest
    cdef double total
    if log_w.shape[1] < 1:
        raise DataError("there are no weights")
    result = np.empty(log_w.shape[0], np.int64)
    cdef int64_t[::1] out = result
    with nogil:
        for i in range(log_w.shape[0]):
            largest = log_w[i, 0]
            for k in range(1, log_w.shape[1]):
                largest = log_w[i, k] if log_w[i, k] > largest else largest
            total = 0.0
            for k in range(log_w.shape[1]):
                total += exp((log_w[i, k] - largest) * (LN2 / 65536.0))
            out[i] = largest + <int64_t>(65536.0 * log2(total / log_w.shape[1]) - 0.5)
    return result


# Bernoulli: one table from clamped logits to the frequency of a 1; a 0 lies below it.

def bernoulli_table(int precision):
    freq = np.empty(BERNOULLI_SIZE, np.uint32)
    length = np.empty(2 * BERNOULLI_SIZE, np.int32)
    cdef uint32_t[::1] f = freq
    cdef int32_t[::1] cl = length
    cdef uint64_t whole = <uint64_t>1 << precision, one
    cdef Py_ssize_t i
    for i in range(BERNOULLI_SIZE):
        one = 1 + <uint64_t>((whole - 2) * (1.0 / (1.0 + exp((LOGIT_LIMIT - i) / 256.0))))
        f[i] = <uint32_t>one
        cl[i] = <int32_t>((<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(whole - one))
        cl[BERNOULLI_SIZE + i] = <int32_t>((<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(one))
    return freq, length


def bernoulli_freqs(const int32_t[::1] logits, const uint32_t[::1] freq):
    result = np.empty(logits.shape[0], np.uint64)
    cdef uint64_t[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(logits.shape[0]):
            out[i] = freq[symbols_logit(logits[i], LOGIT_LIMIT)]
    return result


cdef class BernoulliSymbols:
    """What pushes need of both symbols under every logit, at one precision."""

    cdef RansSymbol table[2 * BERNOULLI_SIZE]
    cdef int precision

    def __cinit__(self, const uint32_t[::1] freq, int precision):
        cdef Py_ssize_t i
        cdef uint64_t whole = <uint64_t>1 << precision
        self.precision = precision
        for i in range(BERNOULLI_SIZE):
            self.table[i] = rans_symbol(0, whole - freq[i], precision)
            self.table[BERNOULLI_SIZE + i] = rans_symbol(whole - freq[i], freq[i], precision)


def bernoulli_push(Stack stack, const int32_t[:, :, ::1] logits, const int32_t[:, :, ::1] symbols,
                   BernoulliSymbols both):
    cdef Py_ssize_t L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2]
    cdef Symbols job
    begin(&job, stack, both.precision, L, R, M)
    if logits.shape[1] != R:
        raise DataError(f"{R} draws meet a distribution over {logits.shape[1]}")
    check_dims(logits.shape[0], logits.shape[2], symbols)
    check_symbols(symbols, 2)
    if L * R * M == 0:
        return
    job.logits, job.symbols, job.table, job.limit = &logits[0, 0, 0], &symbols[0, 0, 0], both.table, LOGIT_LIMIT
    push_all(stack, L, symbols_bernoulli_push, &job)


def bernoulli_pop(Stack stack, const int32_t[:, :, ::1] logits, const uint32_t[::1] freq, int precision):
    cdef Py_ssize_t L = logits.shape[0], R = logits.shape[1], M = logits.shape[2]
    cdef Symbols job
    begin(&job, stack, precision, L, R, M)
    result = np.empty((L, R, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    job.logits, job.ones, job.limit, job.out = &logits[0, 0, 0], &freq[0], LOGIT_LIMIT, &out[0, 0, 0]
    with nogil:
        each_lane(L, symbols_bernoulli_pop, &job)
    return result


cdef struct BernoulliTotal:
    const int32_t *logits
    const int32_t *symbols
    Py_ssize_t R, M
    bint one  # of a symbol for all draws of a lane
    const int32_t *length
    int64_t *out


cdef void bernoulli_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef BernoulliTotal *job = <BernoulliTotal *>shared
    cdef Py_ssize_t i, m, M = job.M
    cdef const int32_t *a
    cdef const int32_t *x
    cdef int64_t total
    for i in range(first, end):
        total, a, x = 0, job.logits + i * M, job.symbols + (i // job.R if job.one else i) * M
        # At most 31 * 2^16 a symbol: a thousand of them fit in 32 bits.
        for m in range(0, M, 1024):
            total += mcbits_bernoulli_row(a + m, x + m, min(<Py_ssize_t>1024, M - m), job.length, LOGIT_LIMIT)
        job.out[i] = total


def bernoulli_total(const int32_t[:, :, ::1] logits, const int32_t[:, :, ::1] symbols, const int32_t[::1] length):
    """Codelengths summed over dimensions, (L, R); symbols (L, 1, M) are shared by all draws."""
    cdef Py_ssize_t L = logits.shape[0], R = logits.shape[1], M = logits.shape[2]
    cdef BernoulliTotal job
    if symbols.shape[1] != 1 and symbols.shape[1] != R:
        raise DataError(f"{symbols.shape[1]} draws meet a distribution over {R}")
    check_dims(L, M, symbols)
    check_symbols(symbols, 2)
    result = np.zeros((L, R), np.int64)
    cdef int64_t[:, ::1] out = result
    if L * R * M == 0:
        return result
    job.logits, job.symbols, job.length, job.out = &logits[0, 0, 0], &symbols[0, 0, 0], &length[0], &out[0, 0]
    job.R, job.M, job.one = R, M, symbols.shape[1] == 1
    with nogil:
        share(threads(), L * R, (8 * WORTH) // M + 1, bernoulli_rows, &job)
    return result


# Gaussian over K buckets between given edges (edge 0 and K at -inf and inf): F(k) = leak k + floor((2^r - leak K) Phi(t_k)).

cdef enum:
    MEAN_BITS = 12
    LOG_SCALE_BITS = 8
    LOG_SCALE_LIMIT = 8 << LOG_SCALE_BITS
    CHUNK = 256  # symbols whose parameters are made ready at a time

MEAN_FRAC, LOG_SCALE_FRAC = MEAN_BITS, LOG_SCALE_BITS
TABLE_DRAWS = FEW_OF_A_TABLE

cdef double[2 * LOG_SCALE_LIMIT + 1] INV_SCALE  # e^-s of each log-scale s

cdef void fill_inv_scale() noexcept nogil:
    cdef int s
    for s in range(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT + 1):
        INV_SCALE[s + LOG_SCALE_LIMIT] = exp(s * (-1.0 / (1 << LOG_SCALE_BITS)))

fill_inv_scale()


cdef Gaussian gaussian_of(const double[::1] edges, int leak, int precision) noexcept:
    cdef Gaussian g
    memset(&g, 0, sizeof(Gaussian))
    g.edges, g.K, g.leak = &edges[0], edges.shape[0] - 1, leak
    g.spare = <double>(<int64_t>((<uint64_t>1 << precision) - leak * g.K))
    g.phi, g.steps, g.span = PHI, PHI_STEPS, PHI_SPAN
    g.mean_unit, g.inv_scales, g.limit = 1.0 / (1 << MEAN_BITS), INV_SCALE, LOG_SCALE_LIMIT
    return g


cdef struct GaussianTable:
    Gaussian g
    const int32_t *mean
    const int32_t *log_scale
    int precision
    int32_t *F


cdef void gaussian_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef GaussianTable *job = <GaussianTable *>shared
    cdef Py_ssize_t i
    for i in range(first, end):
        gaussian_fill(&job.g, job.mean[i], job.log_scale[i], 0, job.g.K - 1, job.precision, job.F + i * (job.g.K + 1))


def gaussian_table(const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale, const double[::1] edges, int leak, int precision):
    cdef Py_ssize_t L = mean.shape[0], M = mean.shape[1]
    cdef GaussianTable job
    result = np.empty((L, M, edges.shape[0]), np.uint32)
    cdef uint32_t[:, :, ::1] F = result
    if L * M == 0:
        return result
    job.g, job.precision = gaussian_of(edges, leak, precision), precision
    job.mean, job.log_scale, job.F = &mean[0, 0], &log_scale[0, 0], <int32_t *>&F[0, 0, 0]
    with nogil:
        share(threads(), L * M, TABLES, gaussian_rows, &job)
    return result


def gaussian_intervals(const int32_t[:, :, ::1] symbols, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale,
                       const double[::1] edges, int leak, int precision):
    cdef Py_ssize_t l, r, m, i, n, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = edges.shape[0] - 1
    cdef double[CHUNK] means, inv_scales
    cdef Gaussian g = gaussian_of(edges, leak, precision)
    check_dims(mean.shape[0], mean.shape[1], symbols)
    check_symbols(symbols, K)
    starts = np.empty((L, R, M), np.uint32)
    freqs = np.empty((L, R, M), np.uint32)
    cdef uint32_t[:, :, ::1] start = starts
    cdef uint32_t[:, :, ::1] freq = freqs
    cdef bint good = True
    with nogil:
        for l in range(L):
            m = 0
            while m < M:
                n = min(<Py_ssize_t>CHUNK, M - m)
                for i in range(n):
                    means[i] = mean[l, m + i] * g.mean_unit
                    inv_scales[i] = g.inv_scales[g.limit + gaussian_scale(&g, log_scale[l, m + i])]
                for r in range(R):
                    good &= mcbits_intervals_row(g.edges, <int32_t>K, &symbols[l, r, m], means, inv_scales, n, g.spare, leak,
                                                 <int32_t>1 << precision, g.phi, g.steps, g.span,
                                                 <int32_t *>&start[l, r, m], <int32_t *>&freq[l, r, m])
                m += n
    if not good:
        raise_outside_support()
    return starts, freqs


def gaussian_push(Stack stack, const int32_t[:, :, ::1] symbols, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale,
                  const double[::1] edges, int leak, int precision):
    cdef Py_ssize_t L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2]
    cdef Symbols job
    begin(&job, stack, precision, L, R, M)
    cdef Gaussian g = gaussian_of(edges, leak, precision)
    check_dims(mean.shape[0], mean.shape[1], symbols)
    if L * R * M == 0:
        return
    job.gaussian, job.symbols, job.mean, job.log_scale = &g, &symbols[0, 0, 0], &mean[0, 0], &log_scale[0, 0]
    if R < FEW_OF_A_TABLE:
        check_symbols(symbols, g.K)
        push_all(stack, L, symbols_gaussian_push_few, &job)
        return
    job.threads = <int>min(<Py_ssize_t>job.threads, (L + 3) // 4)  # since no part of `each_lane` is smaller
    job.tables = <int32_t *>malloc(job.threads * (LANES * (g.K + 1) + 2) * M * sizeof(int32_t))
    if job.tables == NULL:
        raise MemoryError
    try:
        push_all(stack, L, symbols_gaussian_push, &job)
    except DataError:
        check_symbols(symbols, g.K)  # which says more of those that are no bucket at all
        raise
    finally:
        free(job.tables)


cdef enum:
    LOG_NORMAL = 12

cdef float[1 << LOG_NORMAL] NORMAL

cdef void fill_normal() noexcept nogil:
    cdef Py_ssize_t i
    for i in range(1 << LOG_NORMAL):
        NORMAL[i] = <float>ndtri((i + 0.5) / (1 << LOG_NORMAL))

fill_normal()


cdef class Buckets:
    """Which bucket holds a value, but for values near an edge: where the search of a pop begins."""

    cdef const double[::1] edges
    cdef const int32_t[::1] cells
    cdef double low, per_unit

    def __cinit__(self, const double[::1] edges):
        cdef Py_ssize_t num_buckets = edges.shape[0] - 1, num_cells = min(max(16 * num_buckets, <Py_ssize_t>16), <Py_ssize_t>1 << 16)
        cdef double high = edges[num_buckets - 1] if num_buckets > 2 else 1.0
        self.edges = edges
        self.low = edges[1] if num_buckets > 2 else 0.0
        self.per_unit = num_cells / (high - self.low)
        middles = self.low + (np.arange(num_cells) + 0.5) / self.per_unit
        self.cells = np.clip(np.searchsorted(edges, middles) - 1, 0, num_buckets - 1).astype(np.int32)


def gaussian_pop(Stack stack, Py_ssize_t draws, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale, Buckets buckets,
                 int leak, int precision):
    cdef Py_ssize_t L = mean.shape[0], M = mean.shape[1]
    cdef Symbols job
    begin(&job, stack, precision, L, draws, M)
    cdef Gaussian g = gaussian_of(buckets.edges, leak, precision)
    result = np.empty((L, draws, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    g.cells, g.num_cells, g.low, g.per_unit = &buckets.cells[0], buckets.cells.shape[0], buckets.low, buckets.per_unit
    g.normal, g.log_normal = NORMAL, LOG_NORMAL
    job.gaussian, job.out, job.mean, job.log_scale = &g, &out[0, 0, 0], &mean[0, 0], &log_scale[0, 0]
    with nogil:
        each_lane(L, symbols_gaussian_pop, &job)
    return result
