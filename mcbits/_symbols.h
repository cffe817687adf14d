/* The loops over symbols: lanes innermost, since their stacks do not wait for each other, and the head of a single lane in a
   register, since it waits for itself. Arrays are (lanes L, draws R, dims M). */
#ifndef MCBITS_SYMBOLS_H
#define MCBITS_SYMBOLS_H

#include <string.h>

#include "_loops.h"
#include "_rans.h"

/* BODY(head, lane, l, r, m) over all symbols, the last one first (or the first, `FORWARD`). */
#define EACH_LANE(...)                                      \
    for (ptrdiff_t l = 0; l < L; l++) {                     \
        uint64_t head = lanes[l].head;                      \
        Lane *const lane = lanes + l;                       \
        __VA_ARGS__ lane->head = head;                      \
    }
#define BACKWARD(...)                                       \
    if (L == 1) {                                           \
        const ptrdiff_t l = 0;                              \
        Lane *const lane = lanes;                           \
        uint64_t head = lane->head;                         \
        for (ptrdiff_t r = R - 1; r >= 0; r--)              \
            for (ptrdiff_t m = M - 1; m >= 0; m--) {        \
                __VA_ARGS__                                 \
            }                                               \
        lane->head = head;                                  \
    } else {                                                \
        for (ptrdiff_t r = R - 1; r >= 0; r--)              \
            for (ptrdiff_t m = M - 1; m >= 0; m--)          \
                EACH_LANE(__VA_ARGS__)                      \
    }
#define FORWARD(...)                                        \
    if (L == 1) {                                           \
        const ptrdiff_t l = 0;                              \
        Lane *const lane = lanes;                           \
        uint64_t head = lane->head;                         \
        for (ptrdiff_t r = 0; r < R; r++)                   \
            for (ptrdiff_t m = 0; m < M; m++) {             \
                __VA_ARGS__                                 \
            }                                               \
        lane->head = head;                                  \
    } else {                                                \
        for (ptrdiff_t r = 0; r < R; r++)                   \
            for (ptrdiff_t m = 0; m < M; m++)               \
                EACH_LANE(__VA_ARGS__)                      \
    }

/* Whether all symbols are in the support; if not, what has been pushed is there to be taken back. */
static int symbols_table_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                              ptrdiff_t K, const int32_t *symbols, int *failed)
{
    int good = 1;
    BACKWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1) + symbols[(l * R + r) * M + m];
        const uint32_t f = F[1] - F[0];
        good &= f > 0;
        head = rans_push(lane, head, F[0], f + (f == 0), bits, failed);
    })
    return good;
}

/* The same where draws are many enough to make a RansSymbol of each of the K of every table. */
static int symbols_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const RansSymbol *table,
                        ptrdiff_t K, const int32_t *symbols)
{
    int failed = 0;
    BACKWARD({
        head = rans_push_symbol(lane, head, table[(l * M + m) * K + symbols[(l * R + r) * M + m]], bits, &failed);
    })
    return failed;
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

static void symbols_hint_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                             ptrdiff_t K, const uint8_t *hints, int h, int32_t *out)
{
    FORWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1);
        const uint64_t q = rans_peek(head, bits);
        ptrdiff_t k = hints[((l * M + m) << h) + (q >> (bits.r - h))];
        while (F[k + 1] <= q)
            k++;
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

/* The same at r <= 16, with F - 1 modulo 2^16 in place of F: tables of half the size stay in the nearest cache. A hint is
   never below the last symbol that starts at 0, so that F - 1 of what is compared does not wrap. */
static void symbols_short_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint16_t *less,
                              ptrdiff_t K, const uint8_t *hints, int h, int32_t *out)
{
    FORWARD({
        const uint16_t *F = less + (l * M + m) * (K + 1);
        const uint64_t q = rans_peek(head, bits);
        ptrdiff_t k = hints[((l * M + m) << h) + (q >> (bits.r - h))];
        k += F[k + 1] < q; /* the first step is hard to predict, further ones are rare */
        while (F[k + 1] < q)
            k++;
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, (uint16_t)(F[k] + 1), (uint64_t)(uint16_t)(F[k + 1] - F[k] - 1) + 1, bits);
    })
}

/* What a pop would find for quantiles that are given; (L, R, M) as the symbols. */
static void symbols_hint_inverse(ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf, ptrdiff_t K, int r,
                                 const uint8_t *hints, int h, const uint64_t *quantiles, int32_t *out)
{
    for (ptrdiff_t l = 0; l < L; l++)
        for (ptrdiff_t d = 0; d < R; d++)
            for (ptrdiff_t m = 0; m < M; m++) {
                const uint32_t *F = cdf + (l * M + m) * (K + 1);
                const uint64_t q = quantiles[(l * R + d) * M + m];
                ptrdiff_t k = hints[((l * M + m) << h) + (q >> (r - h))];
                k += F[k + 1] <= q;
                while (F[k + 1] <= q)
                    k++;
                out[(l * R + d) * M + m] = (int32_t)k;
            }
}

static void symbols_table_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                              ptrdiff_t K, int32_t *out)
{
    FORWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1);
        const ptrdiff_t k = mcbits_search((const int32_t *)F, K, (int32_t)rans_peek(head, bits));
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

/* Logits clamped to [-limit, limit) choose of `table` the symbol 0, and 2 limit further on the symbol 1. */
RANS_INLINE ptrdiff_t symbols_logit(int32_t logit, int32_t limit)
{
    logit = logit > -limit ? logit : -limit;
    logit = logit < limit - 1 ? logit : limit - 1;
    return logit + limit;
}

static int symbols_bernoulli_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const int32_t *logits,
                                  const int32_t *symbols, const RansSymbol *table, int32_t limit)
{
    int failed = 0;
    BACKWARD({
        const ptrdiff_t i = (l * R + r) * M + m;
        head = rans_push_symbol(lane, head, table[symbols_logit(logits[i], limit) + symbols[i] * 2 * limit], bits, &failed);
    })
    return failed;
}

static void symbols_bernoulli_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const int32_t *logits,
                                  const uint32_t *ones, int32_t limit, int32_t *out)
{
    FORWARD({
        const ptrdiff_t i = (l * R + r) * M + m;
        const uint64_t one = ones[symbols_logit(logits[i], limit)], zero = (UINT64_C(1) << bits.r) - one;
        const uint64_t q = rans_peek(head, bits), above = head >> bits.r;
        /* Both heads, and one is selected: a symbol is hard to predict, and a wrong guess costs more than its pop. */
        const uint64_t if_zero = zero * above + q, if_one = one * above + q - zero, is_one = -(uint64_t)(q >= zero);
        out[i] = (int32_t)(is_one & 1);
        head = rans_fill(lane, if_zero ^ ((if_zero ^ if_one) & is_one), bits);
    })
}

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

static void symbols_gaussian_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const Gaussian *g,
                                 const int32_t *mean, const int32_t *log_scale, int32_t *out)
{
    const int shift = bits.r > g->log_normal ? bits.r - g->log_normal : 0, less = g->log_normal - (bits.r - shift);
    FORWARD({
        int32_t s = log_scale[l * M + m];
        s = s > -g->limit ? s : -g->limit;
        s = s < g->limit ? s : g->limit;
        const double centre = mean[l * M + m] * g->mean_unit;
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
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, start, stop - start, bits);
    })
}

static int symbols_interval_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *starts,
                                 const uint32_t *freqs)
{
    int failed = 0;
    BACKWARD({
        const ptrdiff_t i = (l * R + r) * M + m;
        head = rans_push(lane, head, starts[i], freqs[i], bits, &failed);
    })
    return failed;
}

#endif
