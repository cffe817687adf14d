/* out = pass(a W + bias) for integers of 16 bits whose every sum stays below 2^31, so that its order is free: the AVX2 and
   AVX-512 forms of the product do the additions of the plain one in another order, and cannot be told from it. */
#ifndef MCBITS_DENSE_H
#define MCBITS_DENSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "clamp.h"
#include "simd.h"

#define DENSE_PANEL 16 /* columns of W that lie together, the two of each pair of rows side by side: w[pair][column][2] */
#define DENSE_ROWS 7   /* of a at most that are multiplied at a time, by DENSE_WIDTH panels: more, and gcc spills */
#define DENSE_WIDTH 2
#define DENSE_SPARSE_PAIRS (1 << 12) /* rows of more are not searched for zeros: a list of what is no zero lies on the stack */

typedef struct {
    ptrdiff_t source;      /* which value it reads: 0 is the input, s + 1 the result of stage s */
    ptrdiff_t pairs;       /* of rows of W, the last of them padded with zeros */
    ptrdiff_t width;       /* columns of W */
    ptrdiff_t panels;      /* ceil(width / DENSE_PANEL) */
    const int16_t *weight; /* [panels][pairs][DENSE_PANEL][2] */
    const int32_t *bias;   /* [panels * DENSE_PANEL], with what rounds half up, and what moves the first index to 0 */
    const int32_t *shift;  /* [panels * DENSE_PANEL], 0 ... 31 */
    int32_t low, high;     /* clamp of (sum + bias) >> shift */
    const int16_t *table;  /* indexed by the clamped value, one entry longer than that; NULL for the value itself */
    int32_t *out;          /* [rows][width] of an output of the network; NULL where the result is a value of 16 bits */
} DenseStage;

static inline int32_t dense_pass(const DenseStage *s, ptrdiff_t column, int32_t sum)
{
    const int32_t v = clamp_int32(sum >> s->shift[column], s->low, s->high);
    return s->table ? s->table[v] : v;
}

static void dense_plain(const DenseStage *s, const int16_t *a, ptrdiff_t stride, ptrdiff_t rows, int16_t *value, int32_t *out)
{
    for (ptrdiff_t p = 0; p < s->panels; p++) {
        const ptrdiff_t left = s->width - p * DENSE_PANEL, n = left < DENSE_PANEL ? left : DENSE_PANEL;
        for (ptrdiff_t r = 0; r < rows; r++) {
            const int16_t *w = s->weight + p * s->pairs * 2 * DENSE_PANEL, *x = a + r * stride;
            int32_t sum[DENSE_PANEL];
            memcpy(sum, s->bias + p * DENSE_PANEL, sizeof sum);
            for (ptrdiff_t k = 0; k < s->pairs; k++, w += 2 * DENSE_PANEL)
                for (int c = 0; c < DENSE_PANEL; c++)
                    sum[c] += x[2 * k] * w[2 * c] + x[2 * k + 1] * w[2 * c + 1];
            for (ptrdiff_t c = 0; c < n; c++)
                if (s->out)
                    out[r * s->width + p * DENSE_PANEL + c] = dense_pass(s, p * DENSE_PANEL + c, sum[c]);
                else
                    value[(r * s->panels + p) * DENSE_PANEL + c] = (int16_t)dense_pass(s, p * DENSE_PANEL + c, sum[c]);
        }
    }
}

#ifdef SIMD_X86
#define DENSE_INLINE static inline __attribute__((always_inline))

static inline int32_t dense_pair(const int16_t *x)
{
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return pair;
}

DENSE_INLINE SIMD_AVX2 __m256i dense_pass256(const DenseStage *s, ptrdiff_t column, __m256i v)
{
    v = _mm256_srav_epi32(v, _mm256_loadu_si256((const __m256i *)(s->shift + column)));
    v = _mm256_min_epi32(_mm256_max_epi32(v, _mm256_set1_epi32(s->low)), _mm256_set1_epi32(s->high));
    if (s->table) {
        v = _mm256_i32gather_epi32((const int *)s->table, v, 2);
        v = _mm256_srai_epi32(_mm256_slli_epi32(v, 16), 16);
    }
    return v;
}

/* `rows` and the loops over it are unrolled: the accumulators are registers. */
DENSE_INLINE SIMD_AVX2 void dense_tile256(const int rows, const DenseStage *s, ptrdiff_t p, ptrdiff_t first,
                                           const int16_t *a, ptrdiff_t stride, int16_t *value, int32_t *out)
{
    a += first * stride;
    const int16_t *w = s->weight + p * s->pairs * 2 * DENSE_PANEL;
    const __m256i *bias = (const __m256i *)(s->bias + p * DENSE_PANEL);
    const ptrdiff_t pitch = s->panels * DENSE_PANEL;
    __m256i sum[6][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        sum[r][0] = _mm256_loadu_si256(bias);
        sum[r][1] = _mm256_loadu_si256(bias + 1);
    }
    for (ptrdiff_t k = 0; k < s->pairs; k++, w += 2 * DENSE_PANEL) {
        const __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)w + 1);
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            const __m256i x = _mm256_set1_epi32(dense_pair(a + r * stride + 2 * k));
            sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(x, w0));
            sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(x, w1));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        const __m256i v0 = dense_pass256(s, p * DENSE_PANEL, sum[r][0]);
        const __m256i v1 = dense_pass256(s, p * DENSE_PANEL + DENSE_PANEL / 2, sum[r][1]);
        if (!s->out) {
            const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi32(v0, v1), 0xD8);
            _mm256_storeu_si256((__m256i *)(value + (first + r) * pitch + p * DENSE_PANEL), packed);
        } else {
            int32_t both[DENSE_PANEL];
            const ptrdiff_t left = s->width - p * DENSE_PANEL, n = left < DENSE_PANEL ? left : DENSE_PANEL;
            _mm256_storeu_si256((__m256i *)both, v0);
            _mm256_storeu_si256((__m256i *)both + 1, v1);
            memcpy(out + (first + r) * s->width + p * DENSE_PANEL, both, n * sizeof(int32_t));
        }
    }
}

static SIMD_AVX2 void dense_avx2(const DenseStage *s, const int16_t *a, ptrdiff_t stride, ptrdiff_t rows, int16_t *value,
                                  int32_t *out)
{
    for (ptrdiff_t p = 0; p < s->panels; p++) {
        ptrdiff_t r = 0;
        for (; r + 6 <= rows; r += 6)
            dense_tile256(6, s, p, r, a, stride, value, out);
        switch (rows - r) {
        case 1: dense_tile256(1, s, p, r, a, stride, value, out); break;
        case 2: dense_tile256(2, s, p, r, a, stride, value, out); break;
        case 3: dense_tile256(3, s, p, r, a, stride, value, out); break;
        case 4: dense_tile256(4, s, p, r, a, stride, value, out); break;
        case 5: dense_tile256(5, s, p, r, a, stride, value, out); break;
        }
    }
}

DENSE_INLINE SIMD_AVX512 void dense_store512(const DenseStage *s, __m512i v, ptrdiff_t p, int16_t *value, int32_t *out)
{
    const ptrdiff_t left = s->width - p * DENSE_PANEL;
    v = _mm512_srav_epi32(v, _mm512_loadu_si512(s->shift + p * DENSE_PANEL));
    v = _mm512_min_epi32(_mm512_max_epi32(v, _mm512_set1_epi32(s->low)), _mm512_set1_epi32(s->high));
    if (s->table) {
        v = _mm512_i32gather_epi32(v, (const int *)s->table, 2);
        v = _mm512_srai_epi32(_mm512_slli_epi32(v, 16), 16);
    }
    if (s->out)
        _mm512_mask_storeu_epi32(out + p * DENSE_PANEL, left < DENSE_PANEL ? (1 << left) - 1 : 0xFFFF, v);
    else
        _mm256_storeu_si256((__m256i *)(value + p * DENSE_PANEL), _mm512_cvtepi32_epi16(v));
}

DENSE_INLINE SIMD_AVX512 void dense_tile512(const int rows, const int panels, const DenseStage *s, ptrdiff_t p,
                                             ptrdiff_t first, const int16_t *a, ptrdiff_t stride, int16_t *value,
                                             int32_t *out)
{
    a += first * stride;
    const ptrdiff_t size = s->pairs * 2 * DENSE_PANEL;
    const int16_t *w = s->weight + p * size;
    __m512i sum[DENSE_ROWS][8];
#pragma GCC unroll 7
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < panels; c++)
            sum[r][c] = _mm512_loadu_si512(s->bias + (p + c) * DENSE_PANEL);
    for (ptrdiff_t k = 0; k < s->pairs; k++, w += 2 * DENSE_PANEL) {
        __m512i each[8];
#pragma GCC unroll 8
        for (int c = 0; c < panels; c++)
            each[c] = _mm512_loadu_si512(w + c * size);
#pragma GCC unroll 7
        for (int r = 0; r < rows; r++) {
            const __m512i x = _mm512_set1_epi32(dense_pair(a + r * stride + 2 * k));
#pragma GCC unroll 8
            for (int c = 0; c < panels; c++)
                sum[r][c] = _mm512_dpwssd_epi32(sum[r][c], x, each[c]);
        }
    }
#pragma GCC unroll 7
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
        for (int c = 0; c < panels; c++)
            dense_store512(s, sum[r][c], p + c, value + (first + r) * s->panels * DENSE_PANEL,
                           out + (first + r) * s->width);
}

/* The pairs of inputs that are not both 0, of one row. */
static SIMD_AVX512 ptrdiff_t dense_nonzero(const int16_t *a, ptrdiff_t pairs, int32_t *which)
{
    ptrdiff_t found = 0;
    __m512i k = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (ptrdiff_t i = 0; i < pairs; i += 16) {
        const __mmask16 there = pairs - i < 16 ? (1 << (pairs - i)) - 1 : 0xFFFF;
        const __m512i x = _mm512_maskz_loadu_epi32(there, a + 2 * i);
        const __mmask16 some = _mm512_test_epi32_mask(x, x);
        _mm512_mask_compressstoreu_epi32(which + found, some, k);
        found += __builtin_popcount(some);
        k = _mm512_add_epi32(k, _mm512_set1_epi32(16));
    }
    return found;
}

DENSE_INLINE SIMD_AVX512 void dense_sparse512(const int panels, const DenseStage *s, ptrdiff_t p, const int16_t *a,
                                               const int32_t *which, ptrdiff_t found, int16_t *value, int32_t *out)
{
    const ptrdiff_t size = s->pairs * 2 * DENSE_PANEL;
    const int16_t *w = s->weight + p * size;
    __m512i sum[8];
#pragma GCC unroll 8
    for (int c = 0; c < panels; c++)
        sum[c] = _mm512_loadu_si512(s->bias + (p + c) * DENSE_PANEL);
    for (ptrdiff_t i = 0; i < found; i++) {
        const ptrdiff_t k = which[i];
        const __m512i x = _mm512_set1_epi32(dense_pair(a + 2 * k));
#pragma GCC unroll 8
        for (int c = 0; c < panels; c++)
            sum[c] = _mm512_dpwssd_epi32(sum[c], x, _mm512_loadu_si512(w + c * size + k * 2 * DENSE_PANEL));
    }
#pragma GCC unroll 8
    for (int c = 0; c < panels; c++)
        dense_store512(s, sum[c], p + c, value, out);
}

#define DENSE_SPARSE(n)                                              \
    case n:                                                          \
        dense_sparse512(n, s, p, a, which, found, value, out);       \
        break;

#define DENSE_TILE(n)                                                      \
    case n:                                                                \
        if (panels == DENSE_WIDTH)                                         \
            dense_tile512(n, DENSE_WIDTH, s, p, r, a, stride, value, out); \
        else                                                               \
            dense_tile512(n, 1, s, p, r, a, stride, value, out);           \
        break;

static SIMD_AVX512 void dense_avx512(const DenseStage *s, const int16_t *a, ptrdiff_t stride, ptrdiff_t rows,
                                      int16_t *value, int32_t *out)
{
    ptrdiff_t p = 0;
    if (s->source == 0) {
        /* What a network is given is often mostly zeros, of which nothing comes. */
        int32_t which[DENSE_SPARSE_PAIRS + 16];
        ptrdiff_t row = 0, found;
        for (; row < rows && s->pairs <= DENSE_SPARSE_PAIRS; row++) {
            found = dense_nonzero(a, s->pairs, which);
            if (3 * found > s->pairs)
                break;
            ptrdiff_t groups = (s->panels + 7) / 8, n;
            for (p = 0; p < s->panels; p += n, groups--) {
                n = (s->panels - p + groups - 1) / groups;
                switch (n) {
                    DENSE_SPARSE(1) DENSE_SPARSE(2) DENSE_SPARSE(3) DENSE_SPARSE(4) DENSE_SPARSE(5) DENSE_SPARSE(6)
                    DENSE_SPARSE(7) DENSE_SPARSE(8)
                }
            }
            a += stride, value += s->panels * DENSE_PANEL, out += s->width;
        }
        rows -= row, p = 0;
    }
    if (rows == 0)
        return;
    if (rows == 1)
        for (; p + 8 <= s->panels; p += 8)
            dense_tile512(1, 8, s, p, 0, a, stride, value, out);
    for (ptrdiff_t panels; p < s->panels; p += panels) {
        panels = p + DENSE_WIDTH <= s->panels ? DENSE_WIDTH : 1;
        /* Tiles of equal height, since a low one leaves most of the multipliers idle. */
        ptrdiff_t tiles = (rows + DENSE_ROWS - 1) / DENSE_ROWS, n;
        for (ptrdiff_t r = 0; r < rows; r += n, tiles--) {
            n = (rows - r + tiles - 1) / tiles;
            switch (n) {
                DENSE_TILE(1) DENSE_TILE(2) DENSE_TILE(3) DENSE_TILE(4) DENSE_TILE(5) DENSE_TILE(6) DENSE_TILE(7)
            }
        }
    }
}
#endif

/* All stages over `rows` rows of the input; value v lies at values[v] with stride strides[v]; outs are moved by `at` rows. */
static void dense_run(const DenseStage *stages, ptrdiff_t count, int16_t *const *values, const ptrdiff_t *strides,
                      ptrdiff_t at, ptrdiff_t rows, int wide)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        const DenseStage *s = stages + i;
        const int16_t *a = values[s->source];
        /* The one of the two that a stage does not write points at what it may point at. */
        int16_t *value = s->out ? values[0] : values[i + 1];
        int32_t *out = s->out ? s->out + at * s->width : (int32_t *)values[0];
#ifdef SIMD_X86
        if (wide == 2) {
            dense_avx512(s, a, strides[s->source], rows, value, out);
            continue;
        }
        if (wide == 1) {
            dense_avx2(s, a, strides[s->source], rows, value, out);
            continue;
        }
#endif
        dense_plain(s, a, strides[s->source], rows, value, out);
    }
}

#endif
