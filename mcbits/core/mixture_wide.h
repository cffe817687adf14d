/* Mixtures of logistics in wide registers: the sums are those of mixture.h, operation for operation; guesses need not be. */
#ifndef MCBITS_MIXTURE_WIDE_H
#define MCBITS_MIXTURE_WIDE_H

#include "mixture.h"

#ifdef SIMD_X86

/* Four pairs of neighbours in a table, or rather their halves: what lies at i, and what lies after it. A gather instruction takes
   longer than these loads. */
RANS_INLINE SIMD_AVX2 __m256d mixture_load256(const double *table, __m128i i, __m256d *next)
{
    const uint64_t low = (uint64_t)_mm_cvtsi128_si64(i), high = (uint64_t)_mm_extract_epi64(i, 1);
    const __m128d a = _mm_loadu_pd(table + (uint32_t)low), b = _mm_loadu_pd(table + (low >> 32));
    const __m128d c = _mm_loadu_pd(table + (uint32_t)high), d = _mm_loadu_pd(table + (high >> 32));
    const __m256d even = _mm256_insertf128_pd(_mm256_castpd128_pd256(a), c, 1);
    const __m256d odd = _mm256_insertf128_pd(_mm256_castpd128_pd256(b), d, 1);
    *next = _mm256_unpackhi_pd(even, odd);
    return _mm256_unpacklo_pd(even, odd);
}

/* family_power of four, times 2^more. The table has one entry more than it needs. */
RANS_INLINE SIMD_AVX2 __m256d mixture_power256(const FamilySpec *f, __m128i x, int more)
{
    __m256d next;
    const __m256d power = mixture_load256(f->power, _mm_and_si128(x, _mm_set1_epi32((1 << PARAMETER_BITS) - 1)), &next);
    const __m128i exponent = _mm_add_epi32(_mm_srai_epi32(x, PARAMETER_BITS), _mm_set1_epi32(more));
    const __m256i shifted = _mm256_slli_epi64(_mm256_cvtepi32_epi64(exponent), 52);
    return _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(power), shifted));
}

/* mixture_pixel. Lanes beyond M have weight 0. */
RANS_INLINE SIMD_AVX2 void mixture_pixel_avx2(const FamilySpec *f, const int32_t *parameters, int32_t base, Pixel *pixel)
{
    const int32_t *mean = parameters + f->M, *log_scale = mean + f->M;
    const int32_t shift = f->unit * (1 << PARAMETER_BITS), least = 64 << PARAMETER_BITS;
    const double unit = family_power(f, shift) * (1.0 / (1 << PARAMETER_BITS));
    const __m256i there = _mm256_cmpgt_epi32(_mm256_set1_epi32(f->M), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256i logit = _mm256_blendv_epi8(_mm256_set1_epi32(INT32_MIN), _mm256_maskload_epi32(parameters, there), there);
    __m256i largest = _mm256_max_epi32(logit, _mm256_permute2x128_si256(logit, logit, 1));
    largest = _mm256_max_epi32(largest, _mm256_shuffle_epi32(largest, 0x4E));
    largest = _mm256_max_epi32(largest, _mm256_shuffle_epi32(largest, 0xB1));
    const int best = __builtin_ctz((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(logit, largest))));
    /* What is as small as `lowest` has a weight; no difference below is beyond 32 bits. */
    const __m256i lowest = _mm256_sub_epi32(_mm256_max_epi32(largest, _mm256_set1_epi32(INT32_MIN + least)), _mm256_set1_epi32(least));
    const __m256i some = _mm256_andnot_si256(_mm256_cmpgt_epi32(lowest, logit), there);
    const __m256i d = _mm256_sub_epi32(_mm256_max_epi32(logit, lowest), largest);
    __m256i s = _mm256_max_epi32(_mm256_maskload_epi32(log_scale, there), _mm256_set1_epi32(LOG2_SCALE_LEAST - shift));
    s = _mm256_min_epi32(s, _mm256_set1_epi32(LOG2_SCALE_MOST - shift));
    s = _mm256_sub_epi32(_mm256_set1_epi32(-shift), s);
    const __m256i means = _mm256_maskload_epi32(mean, there);
    const __m128i halves[3][2] = {{_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1)},
                                  {_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1)},
                                  {_mm256_castsi256_si128(means), _mm256_extracti128_si256(means, 1)}};
    __m256d weight[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
        if (4 * h >= f->M)
            break;
        const __m128i own = h ? _mm256_extracti128_si256(some, 1) : _mm256_castsi256_si128(some);
        weight[h] = _mm256_and_pd(mixture_power256(f, halves[0][h], 0), _mm256_castsi256_pd(_mm256_cvtepi32_epi64(own)));
        const __m256d slope = mixture_power256(f, halves[1][h], LOGISTIC_LOG2_STEPS);
        __m256d at = _mm256_add_pd(_mm256_set1_pd(base), _mm256_mul_pd(_mm256_cvtepi32_pd(halves[2][h]), _mm256_set1_pd(unit)));
        at = _mm256_mul_pd(_mm256_add_pd(at, _mm256_set1_pd(0.5)), slope);
        _mm256_storeu_pd(pixel->slope + 4 * h, slope);
        _mm256_storeu_pd(pixel->offset + 4 * h, _mm256_sub_pd(_mm256_set1_pd(LOGISTIC_SPAN * LOGISTIC_STEPS), at));
    }
    __m256d sum = _mm256_add_pd(weight[0], weight[1]);
    sum = _mm256_add_pd(sum, _mm256_permute_pd(sum, 5));
    sum = _mm256_add_pd(sum, _mm256_permute2f128_pd(sum, sum, 1));
    const __m256d share = _mm256_set1_pd(f->spare / _mm256_cvtsd_f64(sum));
    _mm256_storeu_pd(pixel->weight, _mm256_mul_pd(weight[0], share));
    _mm256_storeu_pd(pixel->weight + 4, _mm256_mul_pd(weight[1], share));
    mixture_begin(f, base + mean[best] * unit, log_scale[best], pixel);
}

/* Terms of the logistics 2 g and 2 g + 1, at the two symbols of k: (k, k, k + 1, k + 1). */
RANS_INLINE SIMD_AVX2 __m256d mixture_terms256(const double *logistic, const Pixel *pixel, int g, __m256d k)
{
    const __m256d slope = _mm256_broadcast_pd((const __m128d *)pixel->slope + g);
    const __m256d offset = _mm256_broadcast_pd((const __m128d *)pixel->offset + g);
    const __m256d weight = _mm256_broadcast_pd((const __m128d *)pixel->weight + g);
    __m256d u = _mm256_add_pd(_mm256_mul_pd(k, slope), offset);
    u = _mm256_min_pd(_mm256_max_pd(u, _mm256_setzero_pd()), _mm256_set1_pd(LOGISTIC_SIZE));
    const __m128i i = _mm256_cvttpd_epi32(u);
    __m256d next;
    const __m256d value = mixture_load256(logistic, i, &next);
    const __m256d rest = _mm256_sub_pd(u, _mm256_cvtepi32_pd(i));
    return _mm256_mul_pd(weight, _mm256_add_pd(value, _mm256_mul_pd(rest, _mm256_sub_pd(next, value))));
}

RANS_INLINE SIMD_AVX2 void mixture_pair_avx2(const FamilySpec *f, const Pixel *pixel, ptrdiff_t k, int32_t *start, int32_t *stop)
{
    const __m256d at = _mm256_cvtepi32_pd(_mm_add_epi32(_mm_set1_epi32((int32_t)k), _mm_setr_epi32(0, 0, 1, 1)));
    /* The rows of mixture_tree: terms 0, 1, 4 and 5, and terms 2, 3, 6 and 7. */
    __m256d a = mixture_terms256(f->logistic, pixel, 0, at), b = _mm256_setzero_pd();
    if (f->M > 2)
        b = mixture_terms256(f->logistic, pixel, 1, at);
    if (f->M > 4)
        a = _mm256_add_pd(a, mixture_terms256(f->logistic, pixel, 2, at));
    if (f->M > 6)
        b = _mm256_add_pd(b, mixture_terms256(f->logistic, pixel, 3, at));
    const __m256d halves = _mm256_hadd_pd(a, b);
    const __m256d total = _mm256_add_pd(halves, _mm256_permute_pd(halves, 5));
    const __m128i count = _mm256_cvttpd_epi32(_mm256_min_pd(total, _mm256_set1_pd(f->spare)));
    const int32_t below = (int32_t)k + _mm_cvtsi128_si32(count), above = (int32_t)k + 1 + _mm_extract_epi32(count, 2);
    *start = k == 0 ? 0 : below;
    *stop = k == f->K - 1 ? f->whole : above;
}

/* About F at 16 symbols, pixel->step apart and its mean in their middle, by short series; then the line between two of them. */
RANS_INLINE SIMD_AVX512 ptrdiff_t mixture_guess_avx512(const FamilySpec *f, const Pixel *pixel, int32_t q)
{
    const double to_log2 = -1.44269504088896341 / LOGISTIC_STEPS;
    const ptrdiff_t first = pixel->guess - 7 * pixel->step;
    float weight[MIXTURE_MOST], slope[MIXTURE_MOST], offset[MIXTURE_MOST], F[16], per_count[16];
    const __m512d slopes = _mm512_mul_pd(_mm512_loadu_pd(pixel->slope), _mm512_set1_pd(to_log2));
    const __m512d offsets = _mm512_sub_pd(_mm512_loadu_pd(pixel->offset), _mm512_set1_pd(LOGISTIC_SPAN * LOGISTIC_STEPS));
    _mm256_storeu_ps(weight, _mm512_cvtpd_ps(_mm512_loadu_pd(pixel->weight)));
    _mm256_storeu_ps(slope, _mm512_cvtpd_ps(_mm512_mul_pd(slopes, _mm512_set1_pd((double)pixel->step))));
    _mm256_storeu_ps(offset, _mm512_cvtpd_ps(_mm512_fmadd_pd(slopes, _mm512_set1_pd((double)first),
                                                            _mm512_mul_pd(offsets, _mm512_set1_pd(to_log2)))));
    const __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i k = _mm512_add_epi32(_mm512_set1_epi32((int32_t)first),
                                       _mm512_mullo_epi32(index, _mm512_set1_epi32((int32_t)pixel->step)));
    const __m512 j = _mm512_cvtepi32_ps(index), one = _mm512_set1_ps(1.0f);
    __m512 total = _mm512_cvtepi32_ps(k);
    for (int m = 0; m < f->M; m++) {
        /* 1 / (1 + 2^t), the power by a square of its fraction. */
        const __m512 t = _mm512_fmadd_ps(j, _mm512_set1_ps(slope[m]), _mm512_set1_ps(offset[m]));
        const __m512 r = _mm512_sub_ps(t, _mm512_roundscale_ps(t, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC));
        const __m512 square = _mm512_fmadd_ps(r, _mm512_set1_ps(0.3435f), _mm512_set1_ps(0.6565f));
        const __m512 power = _mm512_scalef_ps(_mm512_fmadd_ps(r, square, one), t);
        total = _mm512_fmadd_ps(_mm512_set1_ps(weight[m]), _mm512_rcp14_ps(_mm512_add_ps(one, power)), total);
    }
    const __m512 next = _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_setzero_si512(), _mm512_castps_si512(total), 1));
    _mm512_storeu_ps(F, total);
    _mm512_storeu_ps(per_count, _mm512_mul_ps(_mm512_rcp14_ps(_mm512_sub_ps(next, total)), _mm512_set1_ps((float)pixel->step)));
    __mmask16 below = _mm512_cmple_epi32_mask(_mm512_cvtps_epi32(total), _mm512_set1_epi32(q));
    below |= _mm512_cmple_epi32_mask(k, _mm512_setzero_si512());
    below &= _mm512_cmplt_epi32_mask(k, _mm512_set1_epi32(f->K));
    const int last = _mm_popcnt_u32(below) - 1, at = last < 0 ? 0 : last;
    ptrdiff_t guess = first + last * pixel->step;
    if (pixel->step > 1 && last < 15)
        guess += (ptrdiff_t)(((float)q - F[at]) * per_count[at]);
    return guess < 0 ? 0 : guess < f->K ? guess : f->K - 1;
}

#endif
#endif
