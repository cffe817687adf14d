/* The cdf of one pixel, F(k) = k + floor(spare P(symbol < k)) with F(0) = 0 and F(K) = 2^r, is evaluated where it is asked for:
   a push asks twice, a pop searches, and no table over the K symbols is made. P never falls where k rises, since every
   operation below is monotone as rounded, so F rises by at least 1 a symbol. */
#ifndef MCBITS_MIXTURE_H
#define MCBITS_MIXTURE_H

#include <string.h>

#include "clamp.h"
#include "lanes.h"
#include "logistic.h"
#include "simd.h"

enum {
    MIXTURE_MOST = 8,      /* logistics: their terms are added as a tree over eight, see mixture_tree */
    CATEGORICAL_MOST = 256,
    PARAMETER_BITS = 8,    /* parameters are integers in units of 2^-8: logits and log-scales to base 2, means in units */
    LOG2_SCALE_MOST = 17 << PARAMETER_BITS,
    LOG2_SCALE_LEAST = -(6 << PARAMETER_BITS)
};

enum { FAMILY_LOGISTIC, FAMILY_BERNOULLI, FAMILY_CATEGORICAL };

typedef struct {
    int family;
    int M;                 /* logistics of a mixture */
    int K;                 /* symbols */
    int unit;              /* means and scales of logistics are in units of 2^unit symbols */
    int32_t whole;         /* 2^r */
    double spare;          /* 2^r - K */
    const double *logistic; /* see logistic_line */
    const double *power;   /* 2^(i / 256), 0 <= i <= 256 */
    int wide;              /* see simd.pyx */
} FamilySpec;

/* The distribution of one pixel. Logistic m of a mixture has weight[m] logistic_line(k slope[m] + offset[m]) below symbol k; where
   M is odd, logistic M is one of weight 0. */
typedef struct {
    double weight[MIXTURE_MOST], slope[MIXTURE_MOST], offset[MIXTURE_MOST];
    double below[CATEGORICAL_MOST + 1]; /* of a categorical: spare P(symbol < k) */
    ptrdiff_t guess, step;              /* of a mixture: its heaviest logistic's mean, and a power of two near its scale */
} Pixel;

static inline int family_parameters(const FamilySpec *f)
{
    return f->family == FAMILY_LOGISTIC ? 3 * f->M : f->family == FAMILY_BERNOULLI ? 1 : f->K;
}

/* 2^(x / 256) for |x| / 256 < 1022. Its product with a power of two is a sum of exponents. */
RANS_INLINE double family_power(const FamilySpec *f, int32_t x)
{
    uint64_t pattern;
    double power;
    memcpy(&pattern, f->power + (x & ((1 << PARAMETER_BITS) - 1)), sizeof pattern);
    pattern += (uint64_t)(int64_t)(x >> PARAMETER_BITS) << 52;
    memcpy(&power, &pattern, sizeof power);
    return power;
}

/* 2^(logit - largest), or 0 where that is below 2^-64. */
RANS_INLINE double family_weight(const FamilySpec *f, int32_t logit, int32_t largest)
{
    const int64_t d = (int64_t)logit - largest;
    return d < -(64 << PARAMETER_BITS) ? 0.0 : family_power(f, (int32_t)d);
}

/* The sum of eight terms. Pairs of logistics lie together, and a wide form adds pairs. */
RANS_INLINE double mixture_tree(const double *t)
{
    return ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]));
}

/* Where the searches of a mixture begin whose heaviest logistic is this one. */
RANS_INLINE void mixture_begin(const FamilySpec *f, double mean, int32_t log_scale, Pixel *pixel)
{
    const int32_t shift = f->unit * (1 << PARAMETER_BITS);
    const int32_t s = clamp_int32(log_scale, -shift, LOG2_SCALE_MOST - shift) + shift;
    pixel->step = (ptrdiff_t)1 << (s >> PARAMETER_BITS);
    pixel->guess = (ptrdiff_t)clamp_double(mean + 0.5, 0.0, f->K - 1);
}

RANS_INLINE void mixture_pixel(const FamilySpec *f, const int32_t *parameters, int32_t base, Pixel *pixel)
{
    const int32_t *logit = parameters, *mean = parameters + f->M, *log_scale = mean + f->M;
    const int32_t shift = f->unit * (1 << PARAMETER_BITS);
    const double unit = family_power(f, shift) * (1.0 / (1 << PARAMETER_BITS));
    double weight[MIXTURE_MOST] = {0.0};
    int32_t largest = logit[0];
    int best = 0;
    for (int m = 1; m < f->M; m++) {
        best = logit[m] > largest ? m : best;
        largest = logit[m] > largest ? logit[m] : largest;
    }
    for (int m = 0; m < f->M; m++)
        weight[m] = family_weight(f, logit[m], largest);
    const double share = f->spare / mixture_tree(weight);
    for (int m = 0; m < f->M; m++) {
        const int32_t s = clamp_int32(log_scale[m], LOG2_SCALE_LEAST - shift, LOG2_SCALE_MOST - shift) + shift;
        const double slope = family_power(f, -s) * LOGISTIC_STEPS;
        pixel->weight[m] = weight[m] * share;
        pixel->slope[m] = slope;
        pixel->offset[m] = LOGISTIC_SPAN * LOGISTIC_STEPS - (base + mean[m] * unit + 0.5) * slope;
    }
    if (f->M % 2)
        pixel->weight[f->M] = pixel->slope[f->M] = pixel->offset[f->M] = 0.0;
    mixture_begin(f, base + mean[best] * unit, log_scale[best], pixel);
}

static inline void bernoulli_pixel(const FamilySpec *f, const int32_t *parameters, Pixel *pixel)
{
    /* P(0) = Logistic(-logit ln 2), the logit being to base 2. */
    const double x = parameters[0] * (-0.69314718055994530942 * LOGISTIC_STEPS / (1 << PARAMETER_BITS));
    pixel->below[0] = 0.0, pixel->below[2] = f->spare;
    pixel->below[1] = f->spare * logistic_line(f->logistic, x + LOGISTIC_SPAN * LOGISTIC_STEPS);
}

static inline void categorical_pixel(const FamilySpec *f, const int32_t *parameters, Pixel *pixel)
{
    int32_t largest = parameters[0];
    double sum = 0.0;
    for (int k = 1; k < f->K; k++)
        largest = parameters[k] > largest ? parameters[k] : largest;
    for (int k = 0; k < f->K; k++) {
        pixel->below[k] = sum;
        sum += family_weight(f, parameters[k], largest);
    }
    pixel->below[f->K] = sum;
    for (int k = 1; k <= f->K; k++)
        pixel->below[k] = pixel->below[k] / sum * f->spare;
}

/* The distribution that parameters describe. */
typedef void (*FamilyPixel)(const FamilySpec *f, const int32_t *parameters, int32_t base, Pixel *pixel);

RANS_INLINE void family_pixel(const FamilySpec *f, FamilyPixel mixture, const int32_t *parameters, int32_t base, Pixel *pixel)
{
    if (f->family == FAMILY_LOGISTIC)
        mixture(f, parameters, base, pixel);
    else if (f->family == FAMILY_BERNOULLI)
        bernoulli_pixel(f, parameters, pixel);
    else
        categorical_pixel(f, parameters, pixel);
}

/* F(k) of 0 <= k <= K, given the sum that is floored. */
RANS_INLINE int32_t family_count(const FamilySpec *f, ptrdiff_t k, double total)
{
    const int32_t count = (int32_t)k + (int32_t)(total < f->spare ? total : f->spare);
    return k <= 0 ? 0 : k >= f->K ? f->whole : count;
}

/* F(k) and F(k + 1) of 0 <= k < K. */
typedef void (*FamilyPair)(const FamilySpec *f, const Pixel *pixel, ptrdiff_t k, int32_t *start, int32_t *stop);

/* Where the search of quantile q begins: a guess, which costs time where it is wrong, never correctness. */
typedef ptrdiff_t (*FamilyGuess)(const FamilySpec *f, const Pixel *pixel, int32_t q);

RANS_INLINE int32_t mixture_cdf(const FamilySpec *f, const Pixel *pixel, ptrdiff_t k)
{
    double term[MIXTURE_MOST] = {0.0};
    for (int m = 0; m < f->M; m++)
        term[m] = pixel->weight[m] * logistic_line(f->logistic, k * pixel->slope[m] + pixel->offset[m]);
    return family_count(f, k, mixture_tree(term));
}

RANS_INLINE void mixture_pair_plain(const FamilySpec *f, const Pixel *pixel, ptrdiff_t k, int32_t *start, int32_t *stop)
{
    *start = mixture_cdf(f, pixel, k);
    *stop = mixture_cdf(f, pixel, k + 1);
}

RANS_INLINE ptrdiff_t mixture_guess_plain(const FamilySpec *f, const Pixel *pixel, int32_t q)
{
    (void)f, (void)q;
    return pixel->guess;
}

/* The k with F(k) <= q < F(k + 1), and both of these. The symbol lies in low ... high all the time. Where k is wrong, the line
   through both points tells how far q is, if not far; where that misleads, halves do. */
RANS_INLINE ptrdiff_t mixture_search(const FamilySpec *f, const Pixel *pixel, FamilyPair pair, ptrdiff_t k, int32_t q,
                                     int32_t *start, int32_t *stop)
{
    ptrdiff_t low = 0, high = f->K - 1, reach = 4 * pixel->step;
    for (int lines = 6;; lines--) {
        pair(f, pixel, k, start, stop);
        if (q < *start)
            high = k - 1;
        else if (q >= *stop)
            low = k + 1;
        else
            return k;
        const ptrdiff_t away = (q - *start) / (*stop - *start);
        k = lines > 0 ? k + (away < -reach ? -reach : away > reach ? reach : away) : low + (high - low) / 2;
        k = k < low ? low : k > high ? high : k;
        reach = lines > 0 ? 4 * reach : reach;
    }
}

/* The same where F is a table. */
static inline ptrdiff_t table_search(const FamilySpec *f, const Pixel *pixel, int32_t q, int32_t *start, int32_t *stop)
{
    ptrdiff_t low = 0, high = f->K;
    while (high - low > 1) {
        const ptrdiff_t middle = low + (high - low) / 2;
        if (family_count(f, middle, pixel->below[middle]) <= q)
            low = middle;
        else
            high = middle;
    }
    *start = family_count(f, low, pixel->below[low]), *stop = family_count(f, high, pixel->below[high]);
    return low;
}

RANS_INLINE void family_pair(const FamilySpec *f, const Pixel *pixel, FamilyPair pair, ptrdiff_t k, int32_t *start, int32_t *stop)
{
    if (f->family == FAMILY_LOGISTIC)
        pair(f, pixel, k, start, stop);
    else
        *start = family_count(f, k, pixel->below[k]), *stop = family_count(f, k + 1, pixel->below[k + 1]);
}

RANS_INLINE ptrdiff_t family_search(const FamilySpec *f, const Pixel *pixel, FamilyPair pair, FamilyGuess guess, int32_t q,
                                    int32_t *start, int32_t *stop)
{
    if (f->family == FAMILY_LOGISTIC)
        return mixture_search(f, pixel, pair, guess(f, pixel, q), q, start, stop);
    return table_search(f, pixel, q, start, stop);
}

static inline void family_interval(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t k, int32_t *start,
                                   int32_t *freq)
{
    int32_t stop;
    Pixel pixel;
    family_pixel(f, mixture_pixel, parameters, base, &pixel);
    family_pair(f, &pixel, mixture_pair_plain, k, start, &stop);
    *freq = stop - *start;
}

static inline ptrdiff_t family_find(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t q)
{
    int32_t start, stop;
    Pixel pixel;
    family_pixel(f, mixture_pixel, parameters, base, &pixel);
    return family_search(f, &pixel, mixture_pair_plain, mixture_guess_plain, q, &start, &stop);
}

typedef struct {
    LanesJob common;
    FamilySpec family;
    const int32_t *parameters; /* (L, M, family_parameters) */
    int32_t base;
    int32_t *out;              /* (L, M) */
} FamilyJob;

RANS_INLINE uint64_t family_pop_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const FamilyJob *const job = own;
    int32_t start, stop;
    Pixel pixel;
    (void)faults;
    family_pixel(&job->family, mixture_pixel, job->parameters + t * family_parameters(&job->family), job->base, &pixel);
    job->out[i] = (int32_t)family_search(&job->family, &pixel, mixture_pair_plain, mixture_guess_plain,
                                               (int32_t)rans_peek(head, job->common.bits), &start, &stop);
    return rans_pop(lane, head, (uint64_t)start, (uint64_t)(stop - start), job->common.bits);
}

static inline void family_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const FamilyJob own = *(const FamilyJob *)shared;
    (void)thread;
    lanes_pop(&own, family_pop_step, first, end);
}

#endif
