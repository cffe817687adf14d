/* A normal over K buckets is the integer cdf F(k) = leak k + floor(spare Phi((edge_k - mean) / scale)), F(0) = 0, F(K) = 2^r.
   Whoever evaluates it, for a table, an interval or a search, has it from gaussian_count. */
#ifndef MCBITS_GAUSSIAN_H
#define MCBITS_GAUSSIAN_H

#include <string.h>

#include "clamp.h"
#include "phi.h"
#include "simd.h"
#include "table.h"

enum {
    MEAN_BITS = 12,     /* means are integers in units of 2^-12 */
    LOG_SCALE_BITS = 8, /* and log-scales, in nats, in units of 2^-8 */
    LOG_SCALE_LIMIT = 8 << LOG_SCALE_BITS /* clamped to so much on either side */
};

/* The buckets at a precision, and the tables of what is computed once. */
typedef struct {
    const double *edges;      /* K + 1, rising; the outer ones are taken for -inf and inf */
    ptrdiff_t K;
    double spare;             /* 2^r - leak K, the counts that Phi shares out */
    int32_t leak;             /* counts that each bucket has in any case: 0 or 1 */
    int32_t whole;            /* 2^r */
    const double (*phi)[2];   /* PHI of numerics.pyx, see phi_line */
    const double *inv_scales; /* e^-s of each log-scale s, that of -LOG_SCALE_LIMIT first */
    int wide;                 /* see simd.pyx */
} Gaussian;

/* Where the search of a pop begins: guesses, which cost time where they are wrong, never correctness. */
typedef struct {
    const int32_t *cells; /* cells[c] is the bucket at low + (c + 1/2) / per_unit */
    ptrdiff_t num_cells;
    double low, per_unit;
    const float *normal;  /* the normal quantile at (i + 1/2) / 2^log_normal */
    int log_normal;
} GaussianGuess;

typedef struct {
    LanesJob common;
    Gaussian gaussian;
    const int32_t *mean, *log_scale; /* (L, M), fixed-point */
    const int32_t *symbols;          /* of a push, (L, R, M) */
    int32_t *tables; /* of a push of many draws, for each thread: (2, M) of bounds, then (LANES_TOGETHER, M, K + 1) of F */
    GaussianGuess guess;             /* of a pop */
    int32_t *out;                    /* of a pop, (L, R, M) */
} GaussianJob;

RANS_INLINE int32_t gaussian_log_scale(int32_t log_scale)
{
    return clamp_int32(log_scale, -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT);
}

RANS_INLINE double gaussian_mean(int32_t mean)
{
    return mean * (1.0 / (1 << MEAN_BITS));
}

/* Points of Phi to a unit of x: 1 / scale, times a power of two, which rounds nothing. */
RANS_INLINE double gaussian_slope(const Gaussian *g, int32_t log_scale)
{
    return g->inv_scales[LOG_SCALE_LIMIT + gaussian_log_scale(log_scale)] * PHI_STEPS;
}

/* F(k) of 0 < k < K. */
RANS_INLINE int32_t gaussian_count(const Gaussian *g, ptrdiff_t k, double mean, double slope)
{
    return g->leak * (int32_t)k + (int32_t)(g->spare * phi_line(g->phi, (g->edges[k] - mean) * slope));
}

/* F(k) of 0 <= k <= K. */
RANS_INLINE int32_t gaussian_cdf(const Gaussian *g, ptrdiff_t k, double mean, double slope)
{
    if (k == 0)
        return 0;
    if (k == g->K)
        return g->whole;
    return gaussian_count(g, k, mean, slope);
}

/* F(k) of first <= k < n. */
static void gaussian_row_plain(const Gaussian *g, ptrdiff_t first, ptrdiff_t n, double mean, double slope, int32_t *F)
{
    const Gaussian own = *g; /* which no store to F can be taken to change */
    for (ptrdiff_t k = first; k < n; k++)
        F[k] = gaussian_count(&own, k, mean, slope);
}

#ifdef SIMD_X86
static SIMD_AVX2 void gaussian_row_avx2(const Gaussian *g, ptrdiff_t first, ptrdiff_t n, double mean, double slope, int32_t *F)
{
    const __m256d m = _mm256_set1_pd(mean), s = _mm256_set1_pd(slope);
    const __m256d offset = _mm256_set1_pd(PHI_SPAN * PHI_STEPS), top = _mm256_set1_pd(PHI_SIZE);
    const __m256d spare = _mm256_set1_pd(g->spare), zero = _mm256_setzero_pd();
    const __m128i ahead = _mm_setr_epi32(0, 1, 2, 3), leaks = _mm_set1_epi32(g->leak);
    const double *const edges = g->edges, *const phi = g->phi[0];
    ptrdiff_t k = first;
    for (; k + 4 <= n; k += 4) {
        __m256d u = _mm256_mul_pd(_mm256_sub_pd(_mm256_loadu_pd(edges + k), m), s);
        u = _mm256_min_pd(_mm256_max_pd(_mm256_add_pd(u, offset), zero), top);
        __m128i i = _mm256_cvttpd_epi32(u), at = _mm_slli_epi32(i, 1);
        __m256d value = _mm256_i32gather_pd(phi, at, 8);
        __m256d rise = _mm256_i32gather_pd(phi + 1, at, 8);
        __m256d line = _mm256_add_pd(value, _mm256_mul_pd(_mm256_sub_pd(u, _mm256_cvtepi32_pd(i)), rise));
        __m128i count = _mm_mullo_epi32(_mm_add_epi32(_mm_set1_epi32((int32_t)k), ahead), leaks);
        count = _mm_add_epi32(count, _mm256_cvttpd_epi32(_mm256_mul_pd(spare, line)));
        _mm_storeu_si128((__m128i *)(F + k), count);
    }
    gaussian_row_plain(g, k, n, mean, slope, F);
}
#endif

/* F of the buckets low ... high, and both ends. */
RANS_INLINE void gaussian_fill(const Gaussian *g, int32_t mean, int32_t log_scale, ptrdiff_t low, ptrdiff_t high, int32_t *F)
{
    const ptrdiff_t first = low > 0 ? low : 1, n = high + 2 < g->K ? high + 2 : g->K;
    const double centre = gaussian_mean(mean), slope = gaussian_slope(g, log_scale);
    F[0] = 0;
#ifdef SIMD_X86
    if (g->wide)
        gaussian_row_avx2(g, first, n, centre, slope, F);
    else
#endif
        gaussian_row_plain(g, first, n, centre, slope, F);
    F[g->K] = g->whole;
}

/* starts[i] = F(k[i]) and freqs[i] = F(k[i] + 1) - F(k[i]), each i with a mean and a slope of its own. Returns whether all
   frequencies are positive. There is no wide form: gathers would be slower than these loads. */
static inline int gaussian_intervals_row(const Gaussian *g, const int32_t *k, const double *mean, const double *slope, ptrdiff_t n,
                                         int32_t *starts, int32_t *freqs)
{
    const Gaussian own = *g; /* which no store can be taken to change */
    int good = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        /* Both ends are computed and then put right: a selection costs less than a branch here. */
        int32_t start = gaussian_count(&own, k[i], mean[i], slope[i]), stop = gaussian_count(&own, k[i] + 1, mean[i], slope[i]);
        start = k[i] == 0 ? 0 : start;
        stop = k[i] == own.K - 1 ? own.whole : stop;
        starts[i] = start;
        freqs[i] = stop - start;
        good &= stop > start;
    }
    return good;
}

RANS_INLINE uint64_t gaussian_pop_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const GaussianJob *const job = own;
    const Gaussian *const g = &job->gaussian;
    const GaussianGuess *const guess = &job->guess;
    const RansBits bits = job->common.bits;
    const int shift = bits.r > guess->log_normal ? bits.r - guess->log_normal : 0, less = guess->log_normal - (bits.r - shift);
    const int32_t s = gaussian_log_scale(job->log_scale[t]);
    const double mean = gaussian_mean(job->mean[t]), slope = g->inv_scales[LOG_SCALE_LIMIT + s] * PHI_STEPS;
    const double scale = guess->per_unit * g->inv_scales[LOG_SCALE_LIMIT - s];
    const int32_t q = (int32_t)rans_peek(head, bits);
    const double cell = guess->normal[q >> shift << less] * scale + (mean - guess->low) * guess->per_unit;
    ptrdiff_t k = guess->cells[(ptrdiff_t)clamp_double(cell, 0.0, (double)(guess->num_cells - 1))];
    int32_t start = gaussian_cdf(g, k, mean, slope), stop = gaussian_cdf(g, k + 1, mean, slope);
    (void)faults;
    while (stop <= q) {
        start = stop;
        k++;
        stop = gaussian_cdf(g, k + 1, mean, slope);
    }
    while (start > q) {
        stop = start;
        k--;
        start = gaussian_cdf(g, k, mean, slope);
    }
    job->out[i] = (int32_t)k;
    return rans_pop(lane, head, (uint64_t)start, (uint64_t)(stop - start), bits);
}

static inline void gaussian_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const GaussianJob own = *(const GaussianJob *)shared;
    (void)thread;
    lanes_pop(&own, gaussian_pop_step, first, end);
}

/* Where draws are many, tables of the buckets between their least and their greatest. */
static inline void gaussian_push_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    GaussianJob *const job = shared;
    const Gaussian *const g = &job->gaussian;
    const ptrdiff_t R = job->common.R, M = job->common.M, K = g->K;
    int32_t *const low = job->tables + thread * (LANES_TOGETHER * (K + 1) + 2) * M, *const high = low + M;
    int32_t *const tables = high + M;
    for (ptrdiff_t l = first; l < end; l += LANES_TOGETHER) {
        const ptrdiff_t count = end - l < LANES_TOGETHER ? end - l : LANES_TOGETHER;
        TableJob part = {.common = job->common, .cdf = (const uint32_t *)tables, .K = K, .symbols = job->symbols + l * R * M};
        part.common.lanes += l;
        for (ptrdiff_t i = 0; i < count; i++) {
            const int32_t *x = part.symbols + i * R * M;
            memcpy(low, x, M * sizeof *low);
            memcpy(high, x, M * sizeof *high);
            for (ptrdiff_t r = 1; r < R; r++) {
                x += M;
                for (ptrdiff_t m = 0; m < M; m++) {
                    low[m] = x[m] < low[m] ? x[m] : low[m];
                    high[m] = x[m] > high[m] ? x[m] : high[m];
                }
            }
            for (ptrdiff_t m = 0; m < M; m++) {
                const ptrdiff_t t = (l + i) * M + m;
                if (low[m] < 0 || high[m] >= K) {
                    job->common.outside = 1;
                    return;
                }
                gaussian_fill(g, job->mean[t], job->log_scale[t], low[m], high[m], tables + (i * M + m) * (K + 1));
            }
        }
        table_push_lanes(&part, 0, count, thread);
        if (part.common.failed)
            job->common.failed = 1;
        if (part.common.outside)
            job->common.outside = 1;
    }
}

typedef struct {
    LanesJob common;
    const int32_t *starts, *freqs; /* (L, R, M) */
} IntervalJob;

RANS_INLINE uint64_t interval_push_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const IntervalJob *const job = own;
    (void)t;
    return rans_push(lane, head, (uint64_t)job->starts[i], (uint64_t)job->freqs[i], job->common.bits, &faults->failed);
}

/* Where draws are few, intervals, so many at a time that they stay in the nearest cache until they are pushed. */
static inline void gaussian_push_few_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    enum { CHUNK = 128 };
    GaussianJob *const job = shared;
    const Gaussian *const g = &job->gaussian;
    const ptrdiff_t R = job->common.R, M = job->common.M, chunks = (M + CHUNK - 1) / CHUNK;
    double mean[LANES_TOGETHER * CHUNK], slope[LANES_TOGETHER * CHUNK];
    int32_t starts[LANES_TOGETHER * CHUNK], freqs[LANES_TOGETHER * CHUNK];
    (void)thread;
    for (ptrdiff_t l = first; l < end; l += LANES_TOGETHER) {
        const ptrdiff_t count = end - l < LANES_TOGETHER ? end - l : LANES_TOGETHER;
        for (ptrdiff_t r = R - 1; r >= 0; r--)
            for (ptrdiff_t c = chunks - 1; c >= 0; c--) {
                const ptrdiff_t m0 = c * CHUNK, n = M - m0 < CHUNK ? M - m0 : CHUNK;
                IntervalJob part = {.common = job->common, .starts = starts, .freqs = freqs};
                int good = 1;
                part.common.lanes += l, part.common.R = 1, part.common.M = n;
                for (ptrdiff_t i = 0; i < count; i++) {
                    const ptrdiff_t t = (l + i) * M + m0;
                    const int32_t *x = job->symbols + ((l + i) * R + r) * M + m0;
                    for (ptrdiff_t m = 0; m < n; m++) {
                        mean[i * n + m] = gaussian_mean(job->mean[t + m]);
                        slope[i * n + m] = gaussian_slope(g, job->log_scale[t + m]);
                    }
                    good &= gaussian_intervals_row(g, x, mean + i * n, slope + i * n, n, starts + i * n, freqs + i * n);
                }
                if (!good) {
                    job->common.outside = 1;
                    return;
                }
                const IntervalJob own = part;
                lanes_push(&own, interval_push_step, 0, count, &part.common);
                if (part.common.failed) {
                    job->common.failed = 1;
                    return;
                }
            }
    }
}

#endif
