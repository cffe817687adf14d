/* The loops that wide registers speed up: the AVX2 form of each does the same integer and IEEE operations, without
   contraction, as the plain one beside it, so which of them runs cannot be told from the result. */
#ifndef MCBITS_LOOPS_H
#define MCBITS_LOOPS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define MCBITS_AVX2 static __attribute__((target("avx2")))
static int mcbits_wide = -1;
static inline int mcbits_has_wide(void)
{
    if (mcbits_wide < 0)
        mcbits_wide = __builtin_cpu_supports("avx2") ? 1 : 0;
    return mcbits_wide;
}
#else
static int mcbits_wide = 0;
#endif

/* F[k] = leak k + floor(spare Phi((edges[k] - mean) inv_scale)) for first <= k < n; Phi is the line between points of
   numerics.pxd: `steps` of them to the unit on [-span, span], each with its value and the rise to the next. */
static void mcbits_gaussian_plain(const double *edges, ptrdiff_t first, ptrdiff_t n, double mean, double inv_scale,
                                  double spare, int32_t leak, const double (*phi)[2], int32_t steps, int32_t span,
                                  int32_t *F)
{
    const double scale = steps, offset = (double)span * steps, top = 2.0 * span * steps;
    for (ptrdiff_t k = first; k < n; k++) {
        double u = (edges[k] - mean) * inv_scale * scale + offset;
        u = u > 0.0 ? u : 0.0;
        u = u < top ? u : top;
        int32_t i = (int32_t)u;
        F[k] = leak * (int32_t)k + (int32_t)(spare * (phi[i][0] + (u - i) * phi[i][1]));
    }
}

/* starts[i] = F[k[i]] and freqs[i] = F[k[i] + 1] - F[k[i]] of the F above, each i with its own mean; F[0] = 0, F[K] = whole.
   Returns whether all of them are positive. Gathers would be slower than these loads. */
static inline int mcbits_intervals_row(const double *edges, int32_t K, const int32_t *k, const double *mean,
                                       const double *inv_scale, ptrdiff_t n, double spare, int32_t leak, int32_t whole,
                                       const double (*phi)[2], int32_t steps, int32_t span, int32_t *starts,
                                       int32_t *freqs)
{
    const double scale = steps, offset = (double)span * steps, top = 2.0 * span * steps;
    int good = 1;
    for (ptrdiff_t i = 0; i < n; i++) {
        int32_t F[2];
        for (int j = 0; j < 2; j++) {
            double u = (edges[k[i] + j] - mean[i]) * inv_scale[i] * scale + offset;
            u = u > 0.0 ? u : 0.0;
            u = u < top ? u : top;
            const int32_t at = (int32_t)u;
            F[j] = leak * (k[i] + j) + (int32_t)(spare * (phi[at][0] + (u - at) * phi[at][1]));
        }
        F[0] = k[i] == 0 ? 0 : F[0];
        F[1] = k[i] == K - 1 ? whole : F[1];
        starts[i] = F[0];
        freqs[i] = F[1] - F[0];
        good &= F[1] > F[0];
    }
    return good;
}

/* The sum of length[clamp(logit) + limit + 2 limit x], logits clamped to [-limit, limit), over n < 1025 symbols x of 0 or 1. */
static int32_t mcbits_bernoulli_plain(const int32_t *logits, const int32_t *x, ptrdiff_t first, ptrdiff_t n,
                                      const int32_t *length, int32_t limit)
{
    int32_t total = 0;
    for (ptrdiff_t m = first; m < n; m++) {
        int32_t a = logits[m];
        a = a > -limit ? a : -limit;
        a = a < limit - 1 ? a : limit - 1;
        total += length[a + limit + x[m] * 2 * limit];
    }
    return total;
}

/* out[j] = table[clamp((acc[j] + bias[j] + offset) >> shift, 0, last)], acc and bias integers below 2^24. */
static void mcbits_lookup_plain(const float *acc, const float *bias, ptrdiff_t first, ptrdiff_t n, int32_t offset,
                                int shift, const float *table, int32_t last, float *out)
{
    for (ptrdiff_t j = first; j < n; j++) {
        int32_t k = ((int32_t)(acc[j] + bias[j]) + offset) >> shift;
        k = k > 0 ? k : 0;
        out[j] = table[k < last ? k : last];
    }
}

#ifdef MCBITS_AVX2

MCBITS_AVX2 void mcbits_gaussian_avx2(const double *edges, ptrdiff_t first, ptrdiff_t n, double mean, double inv_scale,
                                      double spare, int32_t leak, const double (*phi)[2], int32_t steps, int32_t span,
                                      int32_t *F)
{
    const __m256d m = _mm256_set1_pd(mean), s = _mm256_set1_pd(inv_scale), scale = _mm256_set1_pd(steps);
    const __m256d offset = _mm256_set1_pd((double)span * steps), top = _mm256_set1_pd(2.0 * span * steps);
    const __m256d room = _mm256_set1_pd(spare), zero = _mm256_setzero_pd();
    const __m128i ahead = _mm_setr_epi32(0, 1, 2, 3), leaks = _mm_set1_epi32(leak);
    ptrdiff_t k = first;
    for (; k + 4 <= n; k += 4) {
        __m256d u = _mm256_mul_pd(_mm256_mul_pd(_mm256_sub_pd(_mm256_loadu_pd(edges + k), m), s), scale);
        u = _mm256_min_pd(_mm256_max_pd(_mm256_add_pd(u, offset), zero), top);
        __m128i i = _mm256_cvttpd_epi32(u), at = _mm_slli_epi32(i, 1);
        __m256d value = _mm256_i32gather_pd((const double *)phi, at, 8);
        __m256d rise = _mm256_i32gather_pd((const double *)phi + 1, at, 8);
        __m256d line = _mm256_add_pd(value, _mm256_mul_pd(_mm256_sub_pd(u, _mm256_cvtepi32_pd(i)), rise));
        __m128i count = _mm_mullo_epi32(_mm_add_epi32(_mm_set1_epi32((int32_t)k), ahead), leaks);
        count = _mm_add_epi32(count, _mm256_cvttpd_epi32(_mm256_mul_pd(room, line)));
        _mm_storeu_si128((__m128i *)(F + k), count);
    }
    mcbits_gaussian_plain(edges, k, n, mean, inv_scale, spare, leak, phi, steps, span, F);
}

MCBITS_AVX2 int32_t mcbits_bernoulli_avx2(const int32_t *logits, const int32_t *x, ptrdiff_t n, const int32_t *length,
                                          int32_t limit)
{
    const __m256i low = _mm256_set1_epi32(-limit), high = _mm256_set1_epi32(limit - 1);
    const __m256i middle = _mm256_set1_epi32(limit), ones = _mm256_set1_epi32(2 * limit);
    __m256i sum = _mm256_setzero_si256();
    ptrdiff_t m = 0;
    for (; m + 8 <= n; m += 8) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(logits + m));
        a = _mm256_add_epi32(_mm256_min_epi32(_mm256_max_epi32(a, low), high), middle);
        a = _mm256_add_epi32(a, _mm256_mullo_epi32(_mm256_loadu_si256((const __m256i *)(x + m)), ones));
        sum = _mm256_add_epi32(sum, _mm256_i32gather_epi32(length, a, 4));
    }
    int32_t parts[8], total = mcbits_bernoulli_plain(logits, x, m, n, length, limit);
    _mm256_storeu_si256((__m256i *)parts, sum);
    for (int i = 0; i < 8; i++)
        total += parts[i];
    return total;
}

MCBITS_AVX2 void mcbits_lookup_avx2(const float *acc, const float *bias, ptrdiff_t n, int32_t offset, int shift,
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
    mcbits_lookup_plain(acc, bias, j, n, offset, shift, table, last, out);
}

#endif

static inline void mcbits_gaussian_row(const double *edges, ptrdiff_t first, ptrdiff_t n, double mean, double inv_scale,
                                       double spare, int32_t leak, const double (*phi)[2], int32_t steps, int32_t span,
                                       int32_t *F)
{
#ifdef MCBITS_AVX2
    if (mcbits_has_wide()) {
        mcbits_gaussian_avx2(edges, first, n, mean, inv_scale, spare, leak, phi, steps, span, F);
        return;
    }
#endif
    mcbits_gaussian_plain(edges, first, n, mean, inv_scale, spare, leak, phi, steps, span, F);
}

static inline int32_t mcbits_bernoulli_row(const int32_t *logits, const int32_t *x, ptrdiff_t n, const int32_t *length,
                                           int32_t limit)
{
#ifdef MCBITS_AVX2
    if (mcbits_has_wide())
        return mcbits_bernoulli_avx2(logits, x, n, length, limit);
#endif
    return mcbits_bernoulli_plain(logits, x, 0, n, length, limit);
}

static inline void mcbits_lookup_row(const float *acc, const float *bias, ptrdiff_t n, int32_t offset, int shift,
                                     const float *table, int32_t last, float *out)
{
#ifdef MCBITS_AVX2
    if (mcbits_has_wide()) {
        mcbits_lookup_avx2(acc, bias, n, offset, shift, table, last, out);
        return;
    }
#endif
    mcbits_lookup_plain(acc, bias, 0, n, offset, shift, table, last, out);
}

/* How many of 16 values are at most q: no branch to mispredict, one or two wide registers. */
static inline int32_t mcbits_count16(const int32_t *F, int32_t q)
{
    int32_t count = 0;
    for (int k = 0; k < 16; k++)
        count += F[k] <= q;
    return count;
}

/* The last of n rising values that is at most q, the first of them being so. */
static inline ptrdiff_t mcbits_search(const int32_t *F, ptrdiff_t n, int32_t q)
{
    ptrdiff_t low = 0;
    while (n > 16) {
        ptrdiff_t half = n >> 1;
        low = F[low + half] <= q ? low + half : low;
        n -= half;
    }
    if (n == 16)
        return low + mcbits_count16(F + low, q) - 1;
    int32_t count = 0;
    for (ptrdiff_t k = 0; k < n; k++)
        count += F[low + k] <= q;
    return low + count - 1;
}

#endif
