"""A Gaussian over K buckets is an integer cdf that never falls: F(k) = leak k + floor((2^r - leak K) Phi((edge_k - mean) / scale)).

Shapes: L lanes, R draws under the same parameters, M dimensions. Means are int32 (L, M) in units of 2^-12, log-scales int32 (L, M) in
nats and units of 2^-8, clamped to +-8. Edges are float64 (K + 1,) and rise; the outer ones are taken for -inf and inf. leak is the
count that every bucket has in any case: 0 or 1. Precisions r are at most 30.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from mcbits._rans cimport Stack
from mcbits.core.lanes cimport (
    TABLES_PER_THREAD, LanesJob, begin, check_dims, check_symbols, each_lane, push_all, raise_outside_support
)
from mcbits.core.numerics cimport PHI, exp, ndtri
from mcbits.core.simd cimport wide
from mcbits.core.threads cimport share, threads
from mcbits.errors import DataError

cdef extern from "gaussian.h" nogil:
    enum:
        LANES_TOGETHER
        MEAN_BITS
        LOG_SCALE_BITS
        LOG_SCALE_LIMIT
    ctypedef struct Gaussian:
        const double *edges
        Py_ssize_t K
        double spare
        int32_t leak, whole
        const double[2] *phi
        const double *inv_scales
        int wide
    ctypedef struct GaussianGuess:
        const int32_t *cells
        Py_ssize_t num_cells
        double low, per_unit
        const float *normal
        int log_normal
    ctypedef struct GaussianJob:
        LanesJob common
        Gaussian gaussian
        const int32_t *mean
        const int32_t *log_scale
        const int32_t *symbols
        int32_t *tables
        GaussianGuess guess
        int32_t *out
    double gaussian_mean(int32_t mean)
    double gaussian_slope(const Gaussian *g, int32_t log_scale)
    bint gaussian_intervals_row(const Gaussian *g, const int32_t *k, const double *mean, const double *slope, Py_ssize_t n,
                                int32_t *starts, int32_t *freqs)
    void gaussian_fill(const Gaussian *g, int32_t mean, int32_t log_scale, Py_ssize_t low, Py_ssize_t high, int32_t *F)
    void gaussian_push_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void gaussian_push_few_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void gaussian_pop_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept

cdef enum:
    TABLES_FROM_DRAWS = 8  # fewer draws of a Gaussian do not pay for a table of it
    CHUNK = 256            # symbols whose parameters are made ready at a time
    LOG_NORMAL = 12        # log2 of the quantiles in NORMAL
    CELLS_PER_BUCKET = 16
    MAX_CELLS = 1 << 16

MEAN_FRAC, LOG_SCALE_FRAC = MEAN_BITS, LOG_SCALE_BITS
TABLE_DRAWS = TABLES_FROM_DRAWS

cdef double[2 * LOG_SCALE_LIMIT + 1] INV_SCALE  # e^-s of each log-scale s
cdef float[1 << LOG_NORMAL] NORMAL              # the normal quantile at (i + 1/2) / 2^LOG_NORMAL


cdef void fill_tables() noexcept nogil:
    cdef int i
    for i in range(-LOG_SCALE_LIMIT, LOG_SCALE_LIMIT + 1):
        INV_SCALE[i + LOG_SCALE_LIMIT] = exp(i * (-1.0 / (1 << LOG_SCALE_BITS)))
    for i in range(1 << LOG_NORMAL):
        NORMAL[i] = <float>ndtri((i + 0.5) / (1 << LOG_NORMAL))

fill_tables()


cdef Gaussian gaussian_of(const double[::1] edges, int leak, int precision) noexcept:
    cdef Gaussian g
    g.edges, g.K, g.leak, g.whole = &edges[0], edges.shape[0] - 1, leak, <int32_t>1 << precision
    g.spare = <double>(<int64_t>((<uint64_t>1 << precision) - leak * g.K))
    g.phi, g.inv_scales, g.wide = PHI, INV_SCALE, wide
    return g


cdef struct RowsJob:
    Gaussian gaussian
    const int32_t *mean       # (L, M)
    const int32_t *log_scale  # (L, M)
    int32_t *F                # (L, M, K + 1)


cdef void fill_rows(void *shared, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil:
    cdef RowsJob *job = <RowsJob *>shared
    cdef Py_ssize_t t, K = job.gaussian.K
    for t in range(first, end):
        gaussian_fill(&job.gaussian, job.mean[t], job.log_scale[t], 0, K - 1, job.F + t * (K + 1))


def gaussian_table(const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale, const double[::1] edges, int leak, int precision):
    """Return the table of all cdfs, (L, M, K + 1) uint32, which the functions of table.pyx take."""
    cdef Py_ssize_t L = mean.shape[0], M = mean.shape[1]
    cdef RowsJob job
    result = np.empty((L, M, edges.shape[0]), np.uint32)
    cdef uint32_t[:, :, ::1] F = result
    if L * M == 0:
        return result
    job.gaussian = gaussian_of(edges, leak, precision)
    job.mean, job.log_scale, job.F = &mean[0, 0], &log_scale[0, 0], <int32_t *>&F[0, 0, 0]
    with nogil:
        share(threads(), L * M, TABLES_PER_THREAD, fill_rows, &job)
    return result


def gaussian_intervals(const int32_t[:, :, ::1] symbols, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale,
                       const double[::1] edges, int leak, int precision):
    """Return where symbols (L, R, M) int32 start and their frequencies, both (L, R, M) uint32.

    Raises DataError for a symbol that is no bucket or has no frequency, or for shapes that do not fit.
    """
    cdef Py_ssize_t l, r, m, i, n, L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2]
    cdef double[CHUNK] means, slopes
    cdef Gaussian g = gaussian_of(edges, leak, precision)
    check_dims(mean.shape[0], mean.shape[1], L, M)
    check_symbols(symbols, g.K)
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
                    means[i], slopes[i] = gaussian_mean(mean[l, m + i]), gaussian_slope(&g, log_scale[l, m + i])
                for r in range(R):
                    good &= gaussian_intervals_row(&g, &symbols[l, r, m], means, slopes, n, <int32_t *>&start[l, r, m],
                                                   <int32_t *>&freq[l, r, m])
                m += n
    if not good:
        raise_outside_support()
    return starts, freqs


def gaussian_push(Stack stack, const int32_t[:, :, ::1] symbols, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale,
                  const double[::1] edges, int leak, int precision):
    """Push symbols (L, R, M) int32, the last one of a lane first.

    Raises DataError, leaving the stack as it was, for a symbol that is no bucket or has no frequency, or for shapes that do not fit;
    StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t L = symbols.shape[0], R = symbols.shape[1], M = symbols.shape[2], K = edges.shape[0] - 1
    cdef GaussianJob job
    memset(&job, 0, sizeof(GaussianJob))
    begin(&job.common, stack, precision, L, R, M)
    check_dims(mean.shape[0], mean.shape[1], L, M)
    if L * R * M == 0:
        return
    job.gaussian = gaussian_of(edges, leak, precision)
    job.symbols, job.mean, job.log_scale = &symbols[0, 0, 0], &mean[0, 0], &log_scale[0, 0]
    if R < TABLES_FROM_DRAWS:
        check_symbols(symbols, K)
        push_all(stack, L, gaussian_push_few_lanes, &job.common)
        return
    # No part of `each_lane` is smaller than four lanes, and each thread needs memory of its own.
    job.common.threads = <int>min(<Py_ssize_t>job.common.threads, (L + 3) // 4)
    job.tables = <int32_t *>malloc(job.common.threads * (LANES_TOGETHER * (K + 1) + 2) * M * sizeof(int32_t))
    if job.tables == NULL:
        raise MemoryError
    try:
        push_all(stack, L, gaussian_push_lanes, &job.common)
    except DataError:
        check_symbols(symbols, K)  # which says more of those that are no bucket at all
        raise
    finally:
        free(job.tables)


cdef class Buckets:
    """Buckets(edges): which bucket holds a value, but for values near an edge; the search of a pop begins there."""

    cdef const double[::1] edges
    cdef const int32_t[::1] cells
    cdef double low, per_unit

    def __cinit__(self, const double[::1] edges):
        cdef Py_ssize_t K = edges.shape[0] - 1
        cdef Py_ssize_t num_cells = min(max(CELLS_PER_BUCKET * K, <Py_ssize_t>CELLS_PER_BUCKET), <Py_ssize_t>MAX_CELLS)
        cdef double high = edges[K - 1] if K > 2 else 1.0
        self.edges = edges
        self.low = edges[1] if K > 2 else 0.0
        self.per_unit = num_cells / (high - self.low)
        middles = self.low + (np.arange(num_cells) + 0.5) / self.per_unit
        self.cells = np.clip(np.searchsorted(edges, middles) - 1, 0, K - 1).astype(np.int32)


def gaussian_pop(Stack stack, Py_ssize_t draws, const int32_t[:, ::1] mean, const int32_t[:, ::1] log_scale, Buckets buckets,
                 int leak, int precision):
    """Pop and return symbols (L, draws, M) int32 over the edges of `buckets`, the first one of a lane first.

    Raises StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t L = mean.shape[0], M = mean.shape[1]
    cdef GaussianJob job
    memset(&job, 0, sizeof(GaussianJob))
    begin(&job.common, stack, precision, L, draws, M)
    result = np.empty((L, draws, M), np.int32)
    if result.size == 0:
        return result
    cdef int32_t[:, :, ::1] out = result
    job.gaussian = gaussian_of(buckets.edges, leak, precision)
    job.out, job.mean, job.log_scale = &out[0, 0, 0], &mean[0, 0], &log_scale[0, 0]
    job.guess.cells, job.guess.num_cells = &buckets.cells[0], buckets.cells.shape[0]
    job.guess.low, job.guess.per_unit = buckets.low, buckets.per_unit
    job.guess.normal, job.guess.log_normal = NORMAL, LOG_NORMAL
    with nogil:
        each_lane(L, gaussian_pop_lanes, &job.common)
    return result
