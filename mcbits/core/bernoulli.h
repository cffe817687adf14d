/* A logit finds in one table of 2 LOGIT_LIMIT entries all that its Bernoulli needs: no probability is computed twice. */
#ifndef MCBITS_BERNOULLI_H
#define MCBITS_BERNOULLI_H

#include "clamp.h"
#include "lanes.h"
#include "simd.h"

enum {
    LOGIT_LIMIT = 1 << 12, /* logits in units of 2^-8 are clamped to [-LOGIT_LIMIT, LOGIT_LIMIT): to [-16, 16) */
    NUM_LOGITS = 2 * LOGIT_LIMIT
};

/* Where a table of NUM_LOGITS entries for symbols 0, and as many for symbols 1, holds that of x. */
RANS_INLINE ptrdiff_t bernoulli_entry(int32_t logit, int32_t x)
{
    return clamp_int32(logit, -LOGIT_LIMIT, LOGIT_LIMIT - 1) + LOGIT_LIMIT + x * NUM_LOGITS;
}

typedef struct {
    LanesJob common;
    const int32_t *logits;   /* (L, R, M) */
    const int32_t *symbols;  /* of a push, (L, R, M), each 0 or 1 */
    const RansSymbol *table; /* of a push, at bernoulli_entry(logit, symbol) */
    const uint32_t *ones;    /* of a pop, the frequencies of a 1 at bernoulli_entry(logit, 0) */
    int32_t *out;            /* of a pop, (L, R, M) */
} BernoulliJob;

RANS_INLINE uint64_t bernoulli_push_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const BernoulliJob *const job = own;
    const RansSymbol symbol = job->table[bernoulli_entry(job->logits[i], job->symbols[i])];
    (void)t;
    return rans_push_symbol(lane, head, symbol, job->common.bits, &faults->failed);
}

static inline void bernoulli_push_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const BernoulliJob own = *(const BernoulliJob *)shared;
    (void)thread;
    lanes_push(&own, bernoulli_push_step, first, end, shared);
}

RANS_INLINE uint64_t bernoulli_pop_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const BernoulliJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint64_t one = job->ones[bernoulli_entry(job->logits[i], 0)], zero = (UINT64_C(1) << bits.r) - one;
    const uint64_t q = rans_peek(head, bits), above = head >> bits.r;
    /* Both heads, and one is selected: a symbol is hard to predict, and a wrong guess costs more than its pop. */
    const uint64_t if_zero = zero * above + q, if_one = one * above + q - zero, is_one = -(uint64_t)(q >= zero);
    (void)t, (void)faults;
    job->out[i] = (int32_t)(is_one & 1);
    return rans_fill(lane, if_zero ^ ((if_zero ^ if_one) & is_one), bits);
}

static inline void bernoulli_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const BernoulliJob own = *(const BernoulliJob *)shared;
    (void)thread;
    lanes_pop(&own, bernoulli_pop_step, first, end);
}

/* The sum of lengths[bernoulli_entry(logit, x)] of the symbols first ... n - 1, which fits in 32 bits. */
static int32_t bernoulli_sum_plain(const int32_t *logits, const int32_t *x, ptrdiff_t first, ptrdiff_t n, const int32_t *lengths)
{
    int32_t total = 0;
    for (ptrdiff_t m = first; m < n; m++)
        total += lengths[bernoulli_entry(logits[m], x[m])];
    return total;
}

#ifdef SIMD_X86
static SIMD_AVX2 int32_t bernoulli_sum_avx2(const int32_t *logits, const int32_t *x, ptrdiff_t n, const int32_t *lengths)
{
    const __m256i low = _mm256_set1_epi32(-LOGIT_LIMIT), high = _mm256_set1_epi32(LOGIT_LIMIT - 1);
    const __m256i middle = _mm256_set1_epi32(LOGIT_LIMIT), ones = _mm256_set1_epi32(NUM_LOGITS);
    __m256i sum = _mm256_setzero_si256();
    ptrdiff_t m = 0;
    for (; m + 8 <= n; m += 8) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(logits + m));
        a = _mm256_add_epi32(_mm256_min_epi32(_mm256_max_epi32(a, low), high), middle);
        a = _mm256_add_epi32(a, _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(x + m)), ones));
        sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32(lengths, a, 4));
    }
    int32_t parts[8], total = bernoulli_sum_plain(logits, x, m, n, lengths);
    _mm256_storeu_si256((__m256i *)parts, sum);
    for (int i = 0; i < 8; i++)
        total += parts[i];
    return total;
}
#endif

static inline int32_t bernoulli_sum(const int32_t *logits, const int32_t *x, ptrdiff_t n, const int32_t *lengths, int wide)
{
#ifdef SIMD_X86
    if (wide)
        return bernoulli_sum_avx2(logits, x, n, lengths);
#endif
    (void)wide;
    return bernoulli_sum_plain(logits, x, 0, n, lengths);
}

#endif
