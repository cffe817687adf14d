/* Pixel (y, x) is decoded at time t = x + (R + 1) y: then its whole context is known, and so are those of all other pixels of
   that time, in every picture. So one call of the network serves them all. The order of a lane is by t, then channel, then
   picture, then row; a push goes through it backwards. */
#ifndef MCBITS_NEIGHBOURS_H
#define MCBITS_NEIGHBOURS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../_rans.h"
#include "dense.h"
#include "mixture.h"
#include "mixture_wide.h"

enum {
    NEIGHBOURS_CHUNK = 56,   /* pixels that go through the network together: their values stay in the nearest caches */
    NEIGHBOURS_READY = 8,    /* of which distributions are made ready together: a wide load must not wait for narrow stores */
    NEIGHBOURS_TOGETHER = 4, /* lanes that take turns in a front, since no lane waits for another */
    NEIGHBOURS_CHANNELS = 4  /* most of a pixel */
};

/* The network of one channel: parameters of its distribution from a row of inputs. */
typedef struct {
    DenseStage *stages;         /* whose last has `out` set: each thread has its own */
    ptrdiff_t count;
    const ptrdiff_t *strides;   /* of its values, the input first; that one is not used */
    int16_t **values;           /* the memory of each, the input first */
    int32_t *parameters;        /* (NEIGHBOURS_CHUNK, family_parameters) */
} NeighboursHead;

typedef struct {
    NeighboursHead head[NEIGHBOURS_CHANNELS];
    int16_t *rows;              /* (most pixels of a front, stride): what the heads read */
    int32_t *predictions;       /* (most pixels of a front, C) */
    uint16_t **at;              /* of each pixel of a front, its first channel */
    Lane **lane;                /* and its lane */
} NeighboursScratch;

typedef struct {
    ptrdiff_t n, h, w;          /* pictures, and their size */
    ptrdiff_t pitch, area;      /* of a padded row and a padded picture, in samples */
    uint16_t *pixels;           /* (n, R + h, R + w + R, C): R rows above and R columns on both sides are beyond the edges */
    int C, R;
    int neighbours;             /* pixels of a context */
    const ptrdiff_t *offsets;   /* of each, from the pixel, in samples */
    const int16_t *inputs;      /* what a head reads for a difference d: entry d + K - 1; (K + 1, E) for symbols, if E */
    int shift, most;            /* where that is d >> shift, rounded, and clamped to +-most; else shift is -1 */
    const int16_t *levels;      /* what it reads for a prediction; without E */
    int E;                      /* numbers that stand for a symbol; 0 where differences stand for it */
    const int16_t *down, *across; /* what it reads for a row and a column */
    const int16_t *features;    /* (n, h, w, F), or NULL */
    int F;
    ptrdiff_t shared, stride;   /* inputs that all channels read, and the distance of rows of inputs */
    FamilySpec family;
    int wide;
    NeighboursScratch *scratch; /* of each thread */
    int32_t *starts, *freqs;    /* (n, h, w, C) */
    Lane *lanes;                /* of which picture i uses number i modulo L */
    ptrdiff_t L;
    RansBits bits;
    int failed;
    int strict;                 /* of a pop: it ends, and says so in `dry`, where a tail runs out of words */
    int dry;
} NeighboursJob;

/* Beyond an edge: R pixels to the right of a row are as its last pixel, and R to the left of the next row as its first one.
   They are known before they are read. What is above the first row is 0. */
RANS_INLINE void neighbours_edge(const NeighboursJob *job, ptrdiff_t i, ptrdiff_t y, ptrdiff_t x)
{
    const size_t size = job->C * sizeof(uint16_t);
    uint16_t *const at = job->pixels + i * job->area + (y + job->R) * job->pitch + (x + job->R) * job->C;
    if (x == 0 && y + 1 < job->h)
        for (int k = 1; k <= job->R; k++)
            memcpy(at + job->pitch - k * job->C, at, size);
    if (x == job->w - 1)
        for (int k = 1; k <= job->R; k++)
            memcpy(at + k * job->C, at, size);
}

/* The prediction of a sample from W, N and NW: their plane, between W and N (Martucci 1990). */
RANS_INLINE int32_t neighbours_predict(int32_t west, int32_t north, int32_t corner)
{
    const int32_t low = west < north ? west : north, high = west < north ? north : west;
    return clamp_int32(west + north - corner, low, high);
}

RANS_INLINE uint16_t *neighbours_at(const NeighboursJob *job, ptrdiff_t i, ptrdiff_t y, ptrdiff_t x)
{
    return job->pixels + i * job->area + (y + job->R) * job->pitch + (x + job->R) * job->C;
}

/* log2 in quarters, by its first two binary places: no table and no float. 0 for 1. */
RANS_INLINE int32_t neighbours_quarters(uint32_t v)
{
    const int e = 31 - __builtin_clz(v);
    return 4 * e + (int32_t)(((uint64_t)v << 2 >> e) & 3);
}

RANS_INLINE int32_t neighbours_difference(int32_t a, int32_t b)
{
    return a < b ? b - a : a - b;
}

/* How much the samples around this one differ, on a logarithmic scale. */
RANS_INLINE int16_t neighbours_activity(const uint16_t *at, ptrdiff_t C, ptrdiff_t pitch)
{
    const int32_t w = at[-C], n = at[-pitch], corner = at[-pitch - C];
    const int32_t sum = neighbours_difference(w, corner) + neighbours_difference(n, corner) +
                        neighbours_difference(n, at[-pitch + C]) + neighbours_difference(w, at[-2 * C]) +
                        neighbours_difference(n, at[-2 * pitch]);
    return (int16_t)neighbours_quarters((uint32_t)sum + 1);
}

static int16_t *neighbours_differences(const NeighboursJob *job, const uint16_t *at, const int32_t *prediction, int16_t *row)
{
    const int16_t *table[NEIGHBOURS_CHANNELS];
    for (int c = 0; c < job->C; c++)
        table[c] = job->inputs + (job->family.K - 1) - prediction[c];
    for (int k = 0; k < job->neighbours; k++) {
        const uint16_t *from = at + job->offsets[k];
        for (int c = 0; c < job->C; c++)
            *row++ = table[c][from[c]];
    }
    return row;
}

#ifdef SIMD_X86
/* The same where shift is known. Neighbours in one row lie side by side. Both ends are read and written up to 7 numbers too far:
   what is written there is written again later. */
static SIMD_AVX2 int16_t *neighbours_differences_avx2(const NeighboursJob *job, const uint16_t *at, const int32_t *prediction,
                                                      int16_t *row)
{
    static const int32_t turns[NEIGHBOURS_CHANNELS][24] = { /* the channel of each sample, if the first is of channel 0 */
        {0},
        {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1},
        {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2},
        {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3}};
    const int C = job->C, R = job->R;
    const int32_t half = 1 << job->shift >> 1;
    const __m256i each = _mm256_castsi128_si256(_mm_setr_epi32(prediction[0] - half, C > 1 ? prediction[1] - half : 0,
                                                               C > 2 ? prediction[2] - half : 0, C > 3 ? prediction[3] - half : 0));
    const __m128i shift = _mm_cvtsi32_si128(job->shift), most = _mm_set1_epi16((int16_t)job->most);
    const __m128i least = _mm_sub_epi16(_mm_setzero_si128(), most);
    __m256i minus[3];
    for (int j = 0; j < 3; j++)
        minus[j] = _mm256_permutevar8x32_epi32(each, _mm256_loadu_si256((const __m256i *)turns[C - 1] + j));
    for (int y = -R; y <= 0; y++) {
        const uint16_t *const from = at + y * job->pitch - R * C;
        const int count = (y < 0 ? 2 * R + 1 : R) * C;
        for (int i = 0, j = 0; i < count; i += 8, j = j < 2 ? j + 1 : 0) {
            __m256i d = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(from + i)));
            d = _mm256_sra_epi32(_mm256_sub_epi32(d, minus[j]), shift);
            const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
            _mm_storeu_si128((__m128i *)(row + i), _mm_max_epi16(_mm_min_epi16(narrow, most), least));
        }
        row += count;
    }
    return row;
}
#endif

/* What all channels of a pixel read: its neighbours, as differences to the predictions or as what stands for a symbol; the
   predictions and the activity; where the pixel is; features. What a channel reads of those before it comes last. */
static inline void neighbours_gather(const NeighboursJob *job, ptrdiff_t i, ptrdiff_t y, ptrdiff_t x, int16_t *row,
                                     int32_t *prediction)
{
    const int C = job->C;
    const uint16_t *const at = neighbours_at(job, i, y, x);
    if (job->E)
        for (int k = 0; k < job->neighbours; k++) {
            const uint16_t *from = at + job->offsets[k];
            for (int c = 0; c < C; c++)
                for (int e = 0; e < job->E; e++)
                    *row++ = job->inputs[from[c] * job->E + e];
        }
    else {
        for (int c = 0; c < C; c++)
            prediction[c] = neighbours_predict(at[c - C], at[c - job->pitch], at[c - job->pitch - C]);
#ifdef SIMD_X86
        if (job->wide && job->shift >= 0)
            row = neighbours_differences_avx2(job, at, prediction, row);
        else
#endif
            row = neighbours_differences(job, at, prediction, row);
        for (int c = 0; c < C; c++) {
            *row++ = job->levels[prediction[c]];
            *row++ = neighbours_activity(at + c, C, job->pitch);
        }
    }
    *row++ = job->down[y];
    *row++ = job->across[x];
    if (job->F)
        memcpy(row, job->features + ((i * job->h + y) * job->w + x) * job->F, job->F * sizeof *row);
}

/* Logistics are relative to it: the prediction; of colours after the first one moved as far as that was from its own. */
RANS_INLINE int32_t neighbours_base(const NeighboursJob *job, const int32_t *prediction, const uint16_t *at, int c)
{
    const int first = job->C % 2 == 0; /* alpha, where there is alpha, comes before the colours */
    if (job->E)
        return 0;
    return c <= first ? prediction[c] : prediction[c] + at[first] - prediction[first];
}

/* What the channels after c read of it. */
RANS_INLINE void neighbours_tell(const NeighboursJob *job, int16_t *row, int32_t base, int c, int32_t sample)
{
    const int32_t most = job->family.K - 1;
    if (job->E)
        for (int e = 0; e < job->E; e++)
            row[job->shared + c * job->E + e] = job->inputs[sample * job->E + e];
    else
        row[job->shared + c] = job->inputs[clamp_int32(sample - base, -most, most) + most];
}

static inline void neighbours_run(const NeighboursJob *job, const NeighboursHead *head, int16_t *rows, ptrdiff_t count)
{
    ptrdiff_t strides[32];
    strides[0] = job->stride;
    for (ptrdiff_t i = 1; i <= head->count; i++)
        strides[i] = head->strides[i];
    head->values[0] = rows;
    dense_run(head->stages, head->count, head->values, strides, 0, count, job->wide);
}

/* Intervals of channel c of `count` pixels that lie side by side, the first at `at`, sample s of the pictures. */
RANS_INLINE void neighbours_measure(const NeighboursJob *job, FamilyPixel mixture, FamilyPair pair,
                                    const NeighboursScratch *scratch, const uint16_t *at, ptrdiff_t s, int c, ptrdiff_t count)
{
    const FamilySpec family = job->family;
    const ptrdiff_t P = family_parameters(&family), C = job->C;
    int32_t *const starts = job->starts + s + c, *const freqs = job->freqs + s + c;
    Pixel pixels[NEIGHBOURS_READY];
    for (ptrdiff_t i0 = 0; i0 < count; i0 += NEIGHBOURS_READY) {
        const ptrdiff_t end = count - i0 < NEIGHBOURS_READY ? count : i0 + NEIGHBOURS_READY;
        for (ptrdiff_t i = i0; i < end; i++) {
            const int32_t base = neighbours_base(job, scratch->predictions + i * C, at + i * C, c);
            family_pixel(&family, mixture, scratch->head[c].parameters + i * P, base, pixels + (i - i0));
        }
        for (ptrdiff_t i = i0; i < end; i++) {
            int32_t start, stop;
            family_pair(&family, pixels + (i - i0), pair, at[i * C + c], &start, &stop);
            starts[i * C] = start, freqs[i * C] = stop - start;
        }
    }
}

/* Pops channel c of the pixels first ... first + count - 1 of a front. */
RANS_INLINE void neighbours_decode(const NeighboursJob *job, FamilyPixel mixture, FamilyPair pair, FamilyGuess guess,
                                   const NeighboursScratch *scratch, ptrdiff_t first, int c, ptrdiff_t count)
{
    const FamilySpec family = job->family;
    const RansBits bits = job->bits;
    const ptrdiff_t P = family_parameters(&family), C = job->C;
    Pixel pixels[NEIGHBOURS_READY];
    for (ptrdiff_t i0 = first; i0 < first + count; i0 += NEIGHBOURS_READY) {
        const ptrdiff_t end = first + count - i0 < NEIGHBOURS_READY ? first + count : i0 + NEIGHBOURS_READY;
        int32_t base[NEIGHBOURS_READY];
        for (ptrdiff_t i = i0; i < end; i++) {
            base[i - i0] = neighbours_base(job, scratch->predictions + i * C, scratch->at[i], c);
            family_pixel(&family, mixture, scratch->head[c].parameters + (i - first) * P, base[i - i0], pixels + (i - i0));
        }
        for (ptrdiff_t i = i0; i < end; i++) {
            Lane *const lane = scratch->lane[i];
            const int32_t q = (int32_t)rans_peek(lane->head, bits);
            int32_t start, stop;
            const ptrdiff_t k = family_search(&family, pixels + (i - i0), pair, guess, q, &start, &stop);
            lane->head = rans_pop(lane, lane->head, (uint64_t)start, (uint64_t)(stop - start), bits);
            scratch->at[i][c] = (uint16_t)k;
            if (c + 1 < C)
                neighbours_tell(job, scratch->rows + i * job->stride, base[i - i0], c, (int32_t)k);
        }
    }
}

static void neighbours_measure_plain(const NeighboursJob *job, const NeighboursScratch *scratch, const uint16_t *at, ptrdiff_t s,
                                     int c, ptrdiff_t count)
{
    neighbours_measure(job, mixture_pixel, mixture_pair_plain, scratch, at, s, c, count);
}

static void neighbours_decode_plain(const NeighboursJob *job, const NeighboursScratch *scratch, ptrdiff_t first, int c,
                                    ptrdiff_t count)
{
    neighbours_decode(job, mixture_pixel, mixture_pair_plain, mixture_guess_plain, scratch, first, c, count);
}

#ifdef SIMD_X86
static SIMD_AVX2 void neighbours_measure_avx2(const NeighboursJob *job, const NeighboursScratch *scratch, const uint16_t *at,
                                              ptrdiff_t s, int c, ptrdiff_t count)
{
    neighbours_measure(job, mixture_pixel_avx2, mixture_pair_avx2, scratch, at, s, c, count);
}

static SIMD_AVX2 void neighbours_decode_avx2(const NeighboursJob *job, const NeighboursScratch *scratch, ptrdiff_t first, int c,
                                             ptrdiff_t count)
{
    neighbours_decode(job, mixture_pixel_avx2, mixture_pair_avx2, mixture_guess_plain, scratch, first, c, count);
}

static SIMD_AVX512 void neighbours_decode_avx512(const NeighboursJob *job, const NeighboursScratch *scratch, ptrdiff_t first, int c,
                                                 ptrdiff_t count)
{
    neighbours_decode(job, mixture_pixel_avx2, mixture_pair_avx2, mixture_guess_avx512, scratch, first, c, count);
}
#endif

typedef void (*NeighboursMeasure)(const NeighboursJob *job, const NeighboursScratch *scratch, const uint16_t *at, ptrdiff_t s, int c,
                                  ptrdiff_t count);
typedef void (*NeighboursDecode)(const NeighboursJob *job, const NeighboursScratch *scratch, ptrdiff_t first, int c,
                                 ptrdiff_t count);

static inline NeighboursMeasure neighbours_measurer(int wide)
{
#ifdef SIMD_X86
    if (wide)
        return neighbours_measure_avx2;
#endif
    (void)wide;
    return neighbours_measure_plain;
}

static inline NeighboursDecode neighbours_decoder(int wide)
{
#ifdef SIMD_X86
    if (wide)
        return wide == 2 ? neighbours_decode_avx512 : neighbours_decode_avx2;
#endif
    (void)wide;
    return neighbours_decode_plain;
}

/* Intervals of the rows first ... end - 1 of all pictures, whose samples are known. */
static inline void neighbours_intervals(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const NeighboursJob own = *(const NeighboursJob *)shared, *const job = &own;
    NeighboursScratch *const scratch = job->scratch + thread;
    const NeighboursMeasure measure = neighbours_measurer(job->wide);
    const int C = job->C;
    for (ptrdiff_t r = first; r < end; r++)
        for (ptrdiff_t x0 = 0; x0 < job->w; x0 += NEIGHBOURS_CHUNK) {
            const ptrdiff_t count = job->w - x0 < NEIGHBOURS_CHUNK ? job->w - x0 : NEIGHBOURS_CHUNK;
            const uint16_t *const at = neighbours_at(job, r / job->h, r % job->h, x0);
            for (ptrdiff_t i = 0; i < count; i++) {
                int16_t *const row = scratch->rows + i * job->stride;
                int32_t *const prediction = scratch->predictions + i * C;
                neighbours_gather(job, r / job->h, r % job->h, x0 + i, row, prediction);
                for (int c = 0; c + 1 < C; c++)
                    neighbours_tell(job, row, neighbours_base(job, prediction, at + i * C, c), c, at[i * C + c]);
            }
            for (int c = 0; c < C; c++) {
                neighbours_run(job, scratch->head + c, scratch->rows, count);
                measure(job, scratch, at, (r * job->w + x0) * C, c, count);
            }
        }
}

/* The rows of a picture that have a pixel at time t. */
RANS_INLINE ptrdiff_t neighbours_first_row(const NeighboursJob *job, ptrdiff_t t)
{
    return t < job->w ? 0 : (t - job->w) / (job->R + 1) + 1;
}

RANS_INLINE ptrdiff_t neighbours_last_row(const NeighboursJob *job, ptrdiff_t t)
{
    const ptrdiff_t y = t / (job->R + 1);
    return y < job->h ? y : job->h - 1;
}

RANS_INLINE ptrdiff_t neighbours_times(const NeighboursJob *job)
{
    return job->w + (job->R + 1) * (job->h - 1);
}

/* Push all intervals of the lanes first ... end - 1. */
static inline void neighbours_push(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const NeighboursJob own = *(const NeighboursJob *)shared, *const job = &own;
    (void)thread;
    for (ptrdiff_t l = first; l < end; l++) {
        Lane *const lane = job->lanes + l;
        uint64_t head = lane->head;
        int failed = 0;
        for (ptrdiff_t t = neighbours_times(job) - 1; t >= 0; t--) {
            const ptrdiff_t top = neighbours_first_row(job, t), bottom = neighbours_last_row(job, t);
            for (int c = job->C - 1; c >= 0; c--)
                for (ptrdiff_t i = l + (job->n - 1 - l) / job->L * job->L; i >= l; i -= job->L)
                    for (ptrdiff_t y = bottom; y >= top; y--) {
                        const ptrdiff_t s = ((i * job->h + y) * job->w + t - (job->R + 1) * y) * job->C + c;
                        head = rans_push(lane, head, (uint64_t)job->starts[s], (uint64_t)job->freqs[s], job->bits, &failed);
                    }
        }
        lane->head = head;
        if (failed)
            ((NeighboursJob *)shared)->failed = 1;
    }
}

/* The pictures that lie in one lane after another: of the lanes l, l + 1, ... before `end`, those beside picture i of lane l. */
RANS_INLINE ptrdiff_t neighbours_beside(const NeighboursJob *job, ptrdiff_t l, ptrdiff_t end, ptrdiff_t i)
{
    ptrdiff_t count = end - l < NEIGHBOURS_TOGETHER ? end - l : NEIGHBOURS_TOGETHER;
    return count < job->n - i ? count : job->n - i;
}

/* Gathers the front of time t, in an order that is each lane's own, and returns its pixels. */
static ptrdiff_t neighbours_front(const NeighboursJob *job, NeighboursScratch *scratch, ptrdiff_t first, ptrdiff_t end, ptrdiff_t t)
{
    const ptrdiff_t top = neighbours_first_row(job, t), bottom = neighbours_last_row(job, t);
    ptrdiff_t count = 0;
    for (ptrdiff_t l = first; l < end; l += NEIGHBOURS_TOGETHER)
        for (ptrdiff_t i = l; i < job->n; i += job->L) {
            const ptrdiff_t beside = neighbours_beside(job, l, end, i);
            for (ptrdiff_t y = top; y <= bottom; y++)
                for (ptrdiff_t g = 0; g < beside; g++, count++) {
                    const ptrdiff_t x = t - (job->R + 1) * y;
                    scratch->at[count] = neighbours_at(job, i + g, y, x), scratch->lane[count] = job->lanes + l + g;
                    neighbours_gather(job, i + g, y, x, scratch->rows + count * job->stride,
                                      scratch->predictions + count * job->C);
                }
        }
    return count;
}

/* What a front tells of what is beyond the edges. */
static void neighbours_edges(const NeighboursJob *job, ptrdiff_t first, ptrdiff_t end, ptrdiff_t t)
{
    const ptrdiff_t top = neighbours_first_row(job, t), bottom = neighbours_last_row(job, t), step = job->R + 1;
    const int begins = t == step * bottom, ends = top <= bottom && t - step * top == job->w - 1;
    for (ptrdiff_t l = first; (begins || ends) && l < end; l++)
        for (ptrdiff_t i = l; i < job->n; i += job->L) {
            if (begins)
                neighbours_edge(job, i, bottom, 0);
            if (ends)
                neighbours_edge(job, i, top, job->w - 1);
        }
}

/* Symbols have a number for what is above the picture, and for what is to the left of its first row. It is written no further than
   a front sees: of a picture that is only claimed, little memory is touched. */
static void neighbours_beyond(const NeighboursJob *job, ptrdiff_t first, ptrdiff_t end, ptrdiff_t t)
{
    const ptrdiff_t from = t ? t + job->R : -job->R, to = t + job->R;
    for (ptrdiff_t l = first; job->E && t < job->w && l < end; l++)
        for (ptrdiff_t i = l; i < job->n; i += job->L)
            for (ptrdiff_t y = -job->R; y <= (t ? -1 : 0); y++) {
                uint16_t *const at = neighbours_at(job, i, y, from);
                const ptrdiff_t count = (y < 0 ? to + 1 - from : job->R) * job->C;
                for (ptrdiff_t k = 0; k < count; k++)
                    at[k] = (uint16_t)job->family.K;
            }
}

RANS_INLINE uint64_t neighbours_drawn(const NeighboursJob *job, ptrdiff_t first, ptrdiff_t end)
{
    uint64_t drawn = 0;
    for (ptrdiff_t l = first; l < end; l++)
        drawn += job->lanes[l].initial_words;
    return drawn;
}

/* Pop all pictures of the lanes first ... end - 1. */
static inline void neighbours_pop(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const NeighboursJob own = *(const NeighboursJob *)shared, *const job = &own;
    NeighboursScratch *const scratch = job->scratch + thread;
    const NeighboursDecode decode = neighbours_decoder(job->wide);
    const uint64_t drawn = neighbours_drawn(job, first, end);
    for (ptrdiff_t t = 0; t < neighbours_times(job); t++) {
        neighbours_beyond(job, first, end, t);
        const ptrdiff_t count = neighbours_front(job, scratch, first, end, t);
        for (int c = 0; c < job->C; c++)
            for (ptrdiff_t j = 0; j < count; j += NEIGHBOURS_CHUNK) {
                const ptrdiff_t part = count - j < NEIGHBOURS_CHUNK ? count - j : NEIGHBOURS_CHUNK;
                neighbours_run(job, scratch->head + c, scratch->rows + j * job->stride, part);
                decode(job, scratch, j, c, part);
            }
        neighbours_edges(job, first, end, t);
        if (job->strict && neighbours_drawn(job, first, end) != drawn) {
            ((NeighboursJob *)shared)->dry = 1;
            return;
        }
    }
}

#endif
