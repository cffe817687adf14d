/* What is coded under a table of cdfs: the symbol that a pop finds is searched for in the row F, with or without a hint, so that a
   hint costs time where it is wrong, never correctness. */
#ifndef MCBITS_TABLE_H
#define MCBITS_TABLE_H

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "lanes.h"

typedef struct {
    LanesJob common;
    const uint32_t *cdf;       /* (L, M, K + 1) */
    ptrdiff_t K;
    const int32_t *symbols;    /* of a push, (L, R, M) */
    const RansSymbol *reciprocals; /* of a push of many draws, (L, M, K) */
    const uint64_t *quantiles; /* of an inverse, (L, R, M) */
    int32_t *out;              /* of a pop or an inverse, (L, R, M) */
    uint8_t *hints;            /* see table_hints, (L, M, 2^log_hints); NULL where there are none */
    int log_hints;
    uint16_t *less;            /* F - 1 modulo 2^16, in place of F, for a pop at r <= 16 with hints */
} TableJob;

/* Symbols without a frequency are told of, and what has been pushed is to be taken back then. */
RANS_INLINE uint64_t table_push_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const TableJob *const job = own;
    const uint32_t *F = job->cdf + t * (job->K + 1) + job->symbols[i];
    const uint32_t f = F[1] - F[0];
    const int none = (int32_t)f <= 0;
    faults->outside |= none;
    return rans_push(lane, head, F[0], none ? 1 : f, job->common.bits, &faults->failed);
}

static inline void table_push_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    (void)thread;
    lanes_push(&own, table_push_step, first, end, shared);
}

/* The same where draws are so many that a RansSymbol of each of the K of every table pays. */
RANS_INLINE uint64_t table_push_many_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const TableJob *const job = own;
    return rans_push_symbol(lane, head, job->reciprocals[t * job->K + job->symbols[i]], job->common.bits, &faults->failed);
}

static inline void table_push_many_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    (void)thread;
    lanes_push(&own, table_push_many_step, first, end, shared);
}

/* How many of 16 values are at most q: no branch to mispredict, one or two wide registers. */
static inline int32_t table_count16(const int32_t *F, int32_t q)
{
    int32_t count = 0;
    for (int k = 0; k < 16; k++)
        count += F[k] <= q;
    return count;
}

/* The last of n rising values that is at most q, the first of them being so. */
static inline ptrdiff_t table_search(const int32_t *F, ptrdiff_t n, int32_t q)
{
    ptrdiff_t low = 0;
    while (n > 16) {
        ptrdiff_t half = n >> 1;
        low = F[low + half] <= q ? low + half : low;
        n -= half;
    }
    if (n == 16)
        return low + table_count16(F + low, q) - 1;
    int32_t count = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        count += F[low + k] <= q;
    return low + count - 1;
}

/* hints[i] of a cdf of K <= 256 symbols is the symbol that holds the first quantile of the i-th of 2^h equal parts. */
static inline void table_hints(const uint32_t *F, ptrdiff_t K, int r, int h, uint8_t *hints)
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
static inline void table_hints_rows(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    TableJob *const job = shared;
    (void)thread;
    for (ptrdiff_t t = first; t < end; t++)
        table_hints(job->cdf + t * (job->K + 1), job->K, job->common.bits.r, job->log_hints, job->hints + (t << job->log_hints));
    if (job->less)
        for (ptrdiff_t k = first * (job->K + 1); k < end * (job->K + 1); k++)
            job->less[k] = (uint16_t)(job->cdf[k] - 1);
}

RANS_INLINE ptrdiff_t table_hint(const TableJob *job, ptrdiff_t t, uint64_t q)
{
    return job->hints[(t << job->log_hints) + (ptrdiff_t)(q >> (job->common.bits.r - job->log_hints))];
}

RANS_INLINE uint64_t table_pop_hinted_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const TableJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint32_t *F = job->cdf + t * (job->K + 1);
    const uint64_t q = rans_peek(head, bits);
    ptrdiff_t k = table_hint(job, t, q);
    (void)faults;
    while (F[k + 1] <= q)
        k++;
    job->out[i] = (int32_t)k;
    return rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
}

static inline void table_pop_hinted_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    (void)thread;
    lanes_pop(&own, table_pop_hinted_step, first, end);
}

/* The same with `less`: tables of half the size stay in the nearest cache. A hint is never below the last symbol that starts at 0,
   so that F - 1 of what is compared does not wrap. */
RANS_INLINE uint64_t table_pop_less_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const TableJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint16_t *F = job->less + t * (job->K + 1);
    const uint64_t q = rans_peek(head, bits);
    ptrdiff_t k = table_hint(job, t, q);
    (void)faults;
    k += F[k + 1] < q; /* the first step is hard to predict, further ones are rare */
    while (F[k + 1] < q)
        k++;
    job->out[i] = (int32_t)k;
    return rans_pop(lane, head, (uint16_t)(F[k] + 1), (uint64_t)(uint16_t)(F[k + 1] - F[k] - 1) + 1, bits);
}

static inline void table_pop_less_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    (void)thread;
    lanes_pop(&own, table_pop_less_step, first, end);
}

RANS_INLINE uint64_t table_pop_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const TableJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint32_t *F = job->cdf + t * (job->K + 1);
    const ptrdiff_t k = table_search((const int32_t *)F, job->K, (int32_t)rans_peek(head, bits));
    (void)faults;
    job->out[i] = (int32_t)k;
    return rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
}

static inline void table_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    (void)thread;
    lanes_pop(&own, table_pop_step, first, end);
}

/* What a pop would find for quantiles that are given, without a stack. */
static inline void table_inverse_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const TableJob own = *(const TableJob *)shared;
    const ptrdiff_t R = own.common.R, M = own.common.M, K = own.K;
    (void)thread;
    for (ptrdiff_t i = first * R; i < end * R; i++)
        for (ptrdiff_t m = 0; m < M; m++) {
            const ptrdiff_t t = i / R * M + m;
            const uint32_t *F = own.cdf + t * (K + 1);
            const uint64_t q = own.quantiles[i * M + m];
            ptrdiff_t k;
            if (own.hints) {
                k = table_hint(&own, t, q);
                k += F[k + 1] <= q;
                while (F[k + 1] <= q)
                    k++;
            } else
                k = table_search((const int32_t *)F, K, (int32_t)q);
            own.out[i * M + m] = (int32_t)k;
        }
}

#endif
