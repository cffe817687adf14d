/* out = table[(acc + bias) shifted and clamped], in integers: the shift rounds towards -inf, whatever the processor. */
#ifndef MCBITS_FIXED_H
#define MCBITS_FIXED_H

#include <stddef.h>

#include "clamp.h"
#include "simd.h"

/* out[j] = table[clamp((acc[j] + bias[j] + offset) >> shift, 0, last)] of first <= j < n, acc and bias integers below 2^24. */
static void fixed_lookup_plain(const float *acc, const float *bias, ptrdiff_t first, ptrdiff_t n, int32_t offset, int shift,
                               const float *table, int32_t last, float *out)
{
    for (ptrdiff_t j = first; j < n; j++)
        out[j] = table[clamp_int32(((int32_t)(acc[j] + bias[j]) + offset) >> shift, 0, last)];
}

#ifdef SIMD_X86
static SIMD_AVX2 void fixed_lookup_avx2(const float *acc, const float *bias, ptrdiff_t n, int32_t offset, int shift,
                                        const float *table, int32_t last, float *out)
{
    const __m256i offsets = _mm256_set1_epi32(offset), top = _mm256_set1_epi32(last), zero = _mm256_setzero_si256();
    const __m128i by = _mm_cvtsi32_si128(shift);
    ptrdiff_t j = 0;
    for (; j + 8 <= n; j += 8) {
        __m256i k = _mm256_cvttps_epi32(_mm256_add_ps(_mm256_loadu_ps(acc + j), _mm256_loadu_ps(bias + j)));
        k = _mm256_sra_epi32(_mm256_add_epi32(k, offsets), by);
        k = _mm256_min_epi32(_mm256_max_epi32(k, zero), top);
        _mm256_storeu_ps(out + j, _mm256_i32gather_ps(table, k, 4));
    }
    fixed_lookup_plain(acc, bias, j, n, offset, shift, table, last, out);
}
#endif

static inline void fixed_lookup_row(const float *acc, const float *bias, ptrdiff_t n, int32_t offset, int shift,
                                    const float *table, int32_t last, float *out, int wide)
{
#ifdef SIMD_X86
    if (wide) {
        fixed_lookup_avx2(acc, bias, n, offset, shift, table, last, out);
        return;
    }
#endif
    (void)wide;
    fixed_lookup_plain(acc, bias, 0, n, offset, shift, table, last, out);
}

#endif
