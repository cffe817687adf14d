/* The loops over symbols: lanes in pairs, since their stacks do not wait for each other, and their heads in
   registers. Each function codes the lanes first ... end - 1 of a Symbols, and no lane depends on another. */
#ifndef MCBITS_SYMBOLS_H
#define MCBITS_SYMBOLS_H

#include <string.h>

#include "simd.h"
#include "../_rans.h"

/* A normal over buckets between edges, see mcbits_gaussian_plain; `cells` and `normal` are guesses of which bucket holds a
   value and which value a quantile: they cost time where they are wrong, never correctness. */
typedef struct {
    const double *edges;
    ptrdiff_t K;
    double spare;
    int32_t leak;
    const double (*phi)[2];
    int32_t steps, span;
    const int32_t *cells; /* the bucket at low + (c + 1/2) / per_unit */
    ptrdiff_t num_cells;
    double low, per_unit;
    double mean_unit;         /* of fixed-point means */
    const double *inv_scales; /* of log-scales, from -limit to limit */
    int32_t limit;
    const float *normal;  /* the quantile function at (i + 1/2) / 2^log_normal */
    int log_normal;
} Gaussian;

#define SYMBOLS_LANES 2

/* What is coded, and under what: arrays are (lanes, draws R, dims M), or (lanes, M, ...) where draws share it. */
typedef struct {
    Lane *lanes;
    RansBits bits;
    ptrdiff_t R, M;
    const int32_t *symbols; /* of a push */
    int32_t *out;           /* of a pop, and of an inverse of `quantiles` */
    const uint64_t *quantiles;
    int threads;            /* at most */
    int failed, outside;    /* whether memory was wanting, or a symbol had no frequency */

    const uint32_t *cdf; /* (lanes, M, K + 1) */
    ptrdiff_t K;
    uint8_t *hints; /* (lanes, M, 2^h) */
    int h;
    uint16_t *less;          /* F - 1 modulo 2^16 in place of F, at r <= 16 */
    const RansSymbol *table; /* (lanes, M, K); of Bernoullis see symbols_logit */

    const int32_t *logits;
    const uint32_t *ones; /* frequencies by logit */
    int32_t limit;

    const Gaussian *gaussian;
    const int32_t *mean, *log_scale; /* (lanes, M) */

    int32_t *tables;               /* of each thread: (SYMBOLS_LANES, M, K + 1), and (2, M) besides */

    const int32_t *starts, *freqs; /* (lanes, R, M) */
} Symbols;

/* CODE(head, lane, l, r, m) in the order of a pop, or that of a push: ORDER is FORWARD or BACKWARD. */
#define FORWARD(i, size) for (ptrdiff_t i = 0; i < (size); i++)
#define BACKWARD(i, size) for (ptrdiff_t i = (size) - 1; i >= 0; i--)
#define CODE_LANE(i, ...)                  \
    {                                      \
        const ptrdiff_t l = l0 + i;        \
        Lane *const lane = job->lanes + l; \
        uint64_t head = head##i;           \
        __VA_ARGS__ head##i = head;        \
    }
#define EACH_SYMBOL(ORDER, ...)                                                          \
    const Symbols own = *(const Symbols *)shared; /* which no store can be taken to change */ \
    const Symbols *const job = &own;                                                     \
    const RansBits bits = job->bits;                                                     \
    const ptrdiff_t R = job->R, M = job->M;                                              \
    ptrdiff_t l0 = first;                                                                \
    (void)thread;                                                                        \
    for (; l0 + 2 <= end; l0 += 2) {                                                     \
        Lane *const group = job->lanes + l0;                                             \
        uint64_t head0 = group[0].head, head1 = group[1].head;                           \
        ORDER(r, R)                                                                      \
            ORDER(m, M) {                                                                \
                CODE_LANE(0, __VA_ARGS__)                                                \
                CODE_LANE(1, __VA_ARGS__)                                                \
            }                                                                            \
        group[0].head = head0, group[1].head = head1;                                    \
    }                                                                                    \
    for (; l0 < end; l0++) {                                                             \
        uint64_t head0 = job->lanes[l0].head;                                            \
        ORDER(r, R)                                                                      \
            ORDER(m, M)                                                                  \
                CODE_LANE(0, __VA_ARGS__)                                                \
        job->lanes[l0].head = head0;                                                     \
    }

/* Symbols without a frequency are told of, and what has been pushed is to be taken back then. */
static void symbols_table_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    int failed = 0, outside = 0;
    EACH_SYMBOL(BACKWARD, {
        const uint32_t *F = job->cdf + (l * M + m) * (job->K + 1) + job->symbols[(l * R + r) * M + m];
        const uint32_t f = F[1] - F[0];
        const int none = (int32_t)f <= 0;
        outside |= none;
        head = rans_push(lane, head, F[0], none ? 1 : f, bits, &failed);
    })
    if (failed)
        ((Symbols *)shared)->failed = 1;
    if (outside)
        ((Symbols *)shared)->outside = 1;
}

/* The same where draws are many enough to make a RansSymbol of each of the K of every table. */
static void symbols_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    int failed = 0;
    EACH_SYMBOL(BACKWARD, {
        head = rans_push_symbol(lane, head, job->table[(l * M + m) * job->K + job->symbols[(l * R + r) * M + m]], bits, &failed);
    })
    if (failed)
        ((Symbols *)shared)->failed = 1;
}

/* hints[i] of a cdf of K <= 256 symbols is the symbol that holds the first quantile of the i-th of 2^h equal parts. */
static void symbols_hints(const uint32_t *F, ptrdiff_t K, int r, int h, uint8_t *hints)
{
    const ptrdiff_t size = (ptrdiff_t)1 << h;
    const uint32_t up = (1u << (r - h)) - 1;
    uint8_t first[(1 << 12) + 1];
    memset(first, 0, size + 1);
    for (ptrdiff_t k = 0; k < K; k++)
        first[(F[k] + up) >> (r - h)] = (uint8_t)k;
    ptrdiff_t i = 0;
    uint8_t largest = 0;
#ifdef __SSE2__
    __m128i before = _mm_setzero_si128();
    for (; i + 16 <= size; i += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(first + i));
        x = _mm_max_epu8(x, _mm_slli_si128(x, 1));
        x = _mm_max_epu8(x, _mm_slli_si128(x, 2));
        x = _mm_max_epu8(x, _mm_slli_si128(x, 4));
        x = _mm_max_epu8(_mm_max_epu8(x, _mm_slli_si128(x, 8)), before);
        _mm_storeu_si128((__m128i *)(hints + i), x);
        before = _mm_srli_si128(x, 15); /* its last byte, everywhere */
        before = _mm_unpacklo_epi8(before, before);
        before = _mm_shuffle_epi32(_mm_shufflelo_epi16(before, 0), 0);
    }
    largest = (uint8_t)_mm_cvtsi128_si32(before);
#endif
    for (; i < size; i++)
        hints[i] = largest = first[i] > largest ? first[i] : largest;
}

/* Of the tables first ... end - 1, and `less` of them if that is wanted. */
static void symbols_all_hints(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    Symbols *const job = shared;
    (void)thread;
    for (ptrdiff_t i = first; i < end; i++)
        symbols_hints(job->cdf + i * (job->K + 1), job->K, job->bits.r, job->h, job->hints + (i << job->h));
    if (job->less)
        for (ptrdiff_t k = first * (job->K + 1); k < end * (job->K + 1); k++)
            job->less[k] = (uint16_t)(job->cdf[k] - 1);
}

static void symbols_hint_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    EACH_SYMBOL(FORWARD, {
        const uint32_t *F = job->cdf + (l * M + m) * (job->K + 1);
        const uint64_t q = rans_peek(head, bits);
        ptrdiff_t k = job->hints[((l * M + m) << job->h) + (q >> (bits.r - job->h))];
        while (F[k + 1] <= q)
            k++;
        job->out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

/* The same at r <= 16 with `less`: tables of half the size stay in the nearest cache. A hint is never below the last symbol
   that starts at 0, so that F - 1 of what is compared does not wrap. */
static void symbols_short_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    EACH_SYMBOL(FORWARD, {
        const uint16_t *F = job->less + (l * M + m) * (job->K + 1);
        const uint64_t q = rans_peek(head, bits);
        ptrdiff_t k = job->hints[((l * M + m) << job->h) + (q >> (bits.r - job->h))];
        k += F[k + 1] < q; /* the first step is hard to predict, further ones are rare */
        while (F[k + 1] < q)
            k++;
        job->out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, (uint16_t)(F[k] + 1), (uint64_t)(uint16_t)(F[k + 1] - F[k] - 1) + 1, bits);
    })
}

static void symbols_table_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    EACH_SYMBOL(FORWARD, {
        const uint32_t *F = job->cdf + (l * M + m) * (job->K + 1);
        const ptrdiff_t k = mcbits_search((const int32_t *)F, job->K, (int32_t)rans_peek(head, bits));
        job->out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

/* What a pop would find for quantiles that are given, without a stack. */
static void symbols_inverse(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    Symbols *const job = shared;
    const ptrdiff_t R = job->R, M = job->M, K = job->K;
    (void)thread;
    for (ptrdiff_t i = first * R; i < end * R; i++)
        for (ptrdiff_t m = 0; m < M; m++) {
            const ptrdiff_t t = i / R * M + m;
            const uint32_t *F = job->cdf + t * (K + 1);
            const uint64_t q = job->quantiles[i * M + m];
            ptrdiff_t k;
            if (job->hints) {
                k = job->hints[(t << job->h) + (q >> (job->bits.r - job->h))];
                k += F[k + 1] <= q;
                while (F[k + 1] <= q)
                    k++;
            } else
                k = mcbits_search((const int32_t *)F, K, (int32_t)q);
            job->out[i * M + m] = (int32_t)k;
        }
}

/* Logits clamped to [-limit, limit) choose of `table` the symbol 0, and 2 limit further on the symbol 1. */
RANS_INLINE ptrdiff_t symbols_logit(int32_t logit, int32_t limit)
{
    logit = logit > -limit ? logit : -limit;
    logit = logit < limit - 1 ? logit : limit - 1;
    return logit + limit;
}

static void symbols_bernoulli_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    int failed = 0;
    EACH_SYMBOL(BACKWARD, {
        const ptrdiff_t i = (l * R + r) * M + m;
        const ptrdiff_t which = symbols_logit(job->logits[i], job->limit) + job->symbols[i] * 2 * job->limit;
        head = rans_push_symbol(lane, head, job->table[which], bits, &failed);
    })
    if (failed)
        ((Symbols *)shared)->failed = 1;
}

static void symbols_bernoulli_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    EACH_SYMBOL(FORWARD, {
        const ptrdiff_t i = (l * R + r) * M + m;
        const uint64_t one = job->ones[symbols_logit(job->logits[i], job->limit)], zero = (UINT64_C(1) << bits.r) - one;
        const uint64_t q = rans_peek(head, bits), above = head >> bits.r;
        /* Both heads, and one is selected: a symbol is hard to predict, and a wrong guess costs more than its pop. */
        const uint64_t if_zero = zero * above + q, if_one = one * above + q - zero, is_one = -(uint64_t)(q >= zero);
        job->out[i] = (int32_t)(is_one & 1);
        head = rans_fill(lane, if_zero ^ ((if_zero ^ if_one) & is_one), bits);
    })
}

RANS_INLINE uint64_t gaussian_cdf(const Gaussian *g, ptrdiff_t k, double mean, double slope, RansBits bits)
{
    /* slope is inv_scale times `steps`, a power of two, so that the product is rounded as it is in two steps. */
    double u = (g->edges[k] - mean) * slope + (double)g->span * g->steps;
    const double top = 2.0 * g->span * g->steps;
    if (k == 0)
        return 0;
    if (k == g->K)
        return UINT64_C(1) << bits.r;
    u = u > 0.0 ? u : 0.0;
    u = u < top ? u : top;
    const int32_t i = (int32_t)u;
    return (uint64_t)g->leak * k + (uint64_t)(int64_t)(g->spare * (g->phi[i][0] + (u - i) * g->phi[i][1]));
}

RANS_INLINE int32_t gaussian_scale(const Gaussian *g, int32_t log_scale)
{
    log_scale = log_scale > -g->limit ? log_scale : -g->limit;
    return log_scale < g->limit ? log_scale : g->limit;
}

static void symbols_gaussian_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const Gaussian *const g = ((Symbols *)shared)->gaussian;
    const int r_ = ((Symbols *)shared)->bits.r;
    const int shift = r_ > g->log_normal ? r_ - g->log_normal : 0, less = g->log_normal - (r_ - shift);
    EACH_SYMBOL(FORWARD, {
        const int32_t s = gaussian_scale(g, job->log_scale[l * M + m]);
        const double centre = job->mean[l * M + m] * g->mean_unit;
        const double slope = g->inv_scales[g->limit + s] * g->steps;
        const double scale = g->per_unit * g->inv_scales[g->limit - s];
        const double offset = (centre - g->low) * g->per_unit;
        const uint64_t q = rans_peek(head, bits);
        double cell = g->normal[q >> shift << less] * scale + offset;
        cell = cell > 0.0 ? cell : 0.0;
        cell = cell < g->num_cells - 1 ? cell : g->num_cells - 1;
        ptrdiff_t k = g->cells[(ptrdiff_t)cell];
        uint64_t start = gaussian_cdf(g, k, centre, slope, bits), stop = gaussian_cdf(g, k + 1, centre, slope, bits);
        while (stop <= q) {
            start = stop;
            k++;
            stop = gaussian_cdf(g, k + 1, centre, slope, bits);
        }
        while (start > q) {
            stop = start;
            k--;
            start = gaussian_cdf(g, k, centre, slope, bits);
        }
        job->out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, start, stop - start, bits);
    })
}

static void symbols_interval_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    int failed = 0;
    EACH_SYMBOL(BACKWARD, {
        const ptrdiff_t i = (l * R + r) * M + m;
        head = rans_push(lane, head, (uint64_t)job->starts[i], (uint64_t)job->freqs[i], bits, &failed);
    })
    if (failed)
        ((Symbols *)shared)->failed = 1;
}

/* F of the buckets low ... high, and both ends. */
RANS_INLINE void gaussian_fill(const Gaussian *g, int32_t mean, int32_t log_scale, ptrdiff_t low, ptrdiff_t high, int r,
                               int32_t *F)
{
    F[0] = 0;
    mcbits_gaussian_row(g->edges, low > 0 ? low : 1, high + 2 < g->K ? high + 2 : g->K, mean * g->mean_unit,
                        g->inv_scales[g->limit + gaussian_scale(g, log_scale)], g->spare, g->leak, g->phi, g->steps, g->span, F);
    F[g->K] = (int32_t)1 << r;
}

/* Where draws are many, tables of the buckets between their least and their greatest. */
static void symbols_gaussian_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    Symbols *const job = shared;
    const Gaussian *const g = job->gaussian;
    const ptrdiff_t R = job->R, M = job->M, K = g->K;
    int32_t *const low = job->tables + thread * (SYMBOLS_LANES * (K + 1) + 2) * M, *const high = low + M;
    int32_t *const tables = high + M;
    for (ptrdiff_t l0 = first; l0 < end; l0 += SYMBOLS_LANES) {
        const ptrdiff_t count = end - l0 < SYMBOLS_LANES ? end - l0 : SYMBOLS_LANES;
        Symbols part = *job;
        part.lanes += l0, part.symbols += l0 * R * M, part.cdf = (const uint32_t *)tables, part.K = K;
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
                if (low[m] < 0 || high[m] >= K) {
                    job->outside = 1;
                    return;
                }
                gaussian_fill(g, job->mean[(l0 + i) * M + m], job->log_scale[(l0 + i) * M + m], low[m], high[m], job->bits.r,
                              tables + (i * M + m) * (K + 1));
            }
        }
        symbols_table_push(&part, 0, count, thread);
        if (part.failed)
            job->failed = 1;
        if (part.outside)
            job->outside = 1;
    }
}

/* Where they are few, intervals, so many at a time that they stay in the nearest cache until they are pushed. */
static void symbols_gaussian_push_few(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    enum { CHUNK = 128 };
    Symbols *const job = shared;
    const Gaussian *const g = job->gaussian;
    const ptrdiff_t R = job->R, M = job->M;
    double mean[SYMBOLS_LANES * CHUNK], inv_scale[SYMBOLS_LANES * CHUNK];
    int32_t starts[SYMBOLS_LANES * CHUNK], freqs[SYMBOLS_LANES * CHUNK];
    for (ptrdiff_t l0 = first; l0 < end; l0 += SYMBOLS_LANES) {
        const ptrdiff_t count = end - l0 < SYMBOLS_LANES ? end - l0 : SYMBOLS_LANES;
        BACKWARD(r, R)
            BACKWARD(c, (M + CHUNK - 1) / CHUNK) {
                const ptrdiff_t m0 = c * CHUNK, n = M - m0 < CHUNK ? M - m0 : CHUNK;
                Symbols part = {.lanes = job->lanes + l0, .bits = job->bits, .R = 1, .M = n, .starts = starts, .freqs = freqs};
                int good = 1;
                for (ptrdiff_t i = 0; i < count; i++) {
                    const ptrdiff_t at = (l0 + i) * M + m0;
                    for (ptrdiff_t m = 0; m < n; m++) {
                        mean[i * n + m] = job->mean[at + m] * g->mean_unit;
                        inv_scale[i * n + m] = g->inv_scales[g->limit + gaussian_scale(g, job->log_scale[at + m])];
                    }
                    good &= mcbits_intervals_row(g->edges, (int32_t)g->K, job->symbols + ((l0 + i) * R + r) * M + m0, mean + i * n,
                                                 inv_scale + i * n, n, g->spare, g->leak, (int32_t)1 << job->bits.r, g->phi,
                                                 g->steps, g->span, starts + i * n, freqs + i * n);
                }
                if (good)
                    symbols_interval_push(&part, 0, count, thread);
                if (!good)
                    job->outside = 1;
                if (part.failed)
                    job->failed = 1;
                if (!good || part.failed)
                    return;
            }
    }
}

#endif
