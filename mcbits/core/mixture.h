/* The cdf of one pixel, F(k) = k + floor(spare P(symbol < k)) with F(0) = 0 and F(K) = 2^r, is evaluated where it is asked for:
   a push asks twice, a pop searches, and no table over the K symbols is made. P never falls where k rises, since every
   operation below is monotone as rounded, so F rises by at least 1 a symbol. */
#ifndef MCBITS_MIXTURE_H
#define MCBITS_MIXTURE_H

#include <string.h>

#include "clamp.h"
#include "lanes.h"
#include "logistic.h"

enum {
    MIXTURE_MOST = 8,      /* logistics: their terms are added as a tree over eight, which is one wide register */
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
    const double (*logistic)[2]; /* see logistic_line */
    const double *power;   /* 2^(i / 256), 0 <= i < 256 */
} FamilySpec;

/* The distribution of one pixel. Terms beyond M are 0. */
typedef struct {
    double weight[MIXTURE_MOST], mean[MIXTURE_MOST], slope[MIXTURE_MOST];
    double below[CATEGORICAL_MOST + 1]; /* of a categorical: spare P(symbol < k) */
    ptrdiff_t guess, step;              /* where a search begins, and how far it looks first */
} Pixel;

static inline int family_parameters(const FamilySpec *f)
{
    return f->family == FAMILY_LOGISTIC ? 3 * f->M : f->family == FAMILY_BERNOULLI ? 1 : f->K;
}

/* 2^(x / 256) for |x| / 256 < 1022. */
RANS_INLINE double family_power(const FamilySpec *f, int32_t x)
{
    const int64_t exponent = (int64_t)(x >> PARAMETER_BITS) + 1023;
    const uint64_t pattern = (uint64_t)exponent << 52;
    double scale;
    memcpy(&scale, &pattern, sizeof scale);
    return f->power[x & ((1 << PARAMETER_BITS) - 1)] * scale;
}

/* 2^(logit - largest), or 0 where that is below 2^-64. */
RANS_INLINE double family_weight(const FamilySpec *f, int32_t logit, int32_t largest)
{
    const int64_t d = (int64_t)logit - largest;
    return d < -(64 << PARAMETER_BITS) ? 0.0 : family_power(f, (int32_t)d);
}

static inline void mixture_pixel(const FamilySpec *f, const int32_t *parameters, int32_t base, Pixel *pixel)
{
    const int32_t *logit = parameters, *mean = parameters + f->M, *log_scale = mean + f->M;
    const double unit = family_power(f, f->unit * (1 << PARAMETER_BITS)) * (1.0 / (1 << PARAMETER_BITS));
    int32_t largest = logit[0];
    int best = 0;
    ptrdiff_t step = 1;
    double sum = 0.0;
    for (int m = 1; m < f->M; m++)
        if (logit[m] > largest)
            largest = logit[m], best = m;
    for (int m = 0; m < f->M; m++) {
        const int64_t in_symbols = (int64_t)log_scale[m] + f->unit * (1 << PARAMETER_BITS);
        const int32_t s = (int32_t)clamp_int64(in_symbols, LOG2_SCALE_LEAST, LOG2_SCALE_MOST);
        pixel->weight[m] = family_weight(f, logit[m], largest);
        sum += pixel->weight[m];
        pixel->mean[m] = base + mean[m] * unit;
        pixel->slope[m] = family_power(f, -s) * LOGISTIC_STEPS;
        step = m == best && s > 0 ? (ptrdiff_t)1 << (s >> PARAMETER_BITS) : step;
    }
    pixel->step = step;
    for (int m = 0; m < f->M; m++)
        pixel->weight[m] = pixel->weight[m] / sum * f->spare;
    pixel->guess = (ptrdiff_t)clamp_double(pixel->mean[best] + 0.5, 0.0, f->K - 1);
}

static inline void bernoulli_pixel(const FamilySpec *f, const int32_t *parameters, Pixel *pixel)
{
    /* P(0) = Logistic(-logit ln 2), the logit being to base 2. */
    const double x = parameters[0] * (-0.69314718055994530942 * LOGISTIC_STEPS / (1 << PARAMETER_BITS));
    pixel->below[1] = f->spare * logistic_line(f->logistic, x);
    pixel->guess = 0, pixel->step = 1;
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
    for (int k = 1; k < f->K; k++)
        pixel->below[k] = pixel->below[k] / sum * f->spare;
    pixel->guess = f->K / 2, pixel->step = f->K / 4 + 1;
}

static inline void family_pixel(const FamilySpec *f, const int32_t *parameters, int32_t base, Pixel *pixel)
{
    if (f->family == FAMILY_LOGISTIC)
        mixture_pixel(f, parameters, base, pixel);
    else if (f->family == FAMILY_BERNOULLI)
        bernoulli_pixel(f, parameters, pixel);
    else
        categorical_pixel(f, parameters, pixel);
}

/* F(k) of 0 <= k <= K. */
static inline int32_t family_cdf(const FamilySpec *f, const Pixel *pixel, ptrdiff_t k)
{
    if (k <= 0)
        return 0;
    if (k >= f->K)
        return f->whole;
    double total;
    if (f->family == FAMILY_LOGISTIC) {
        double term[MIXTURE_MOST] = {0.0};
        for (int m = 0; m < f->M; m++)
            term[m] = pixel->weight[m] * logistic_line(f->logistic, (k - 0.5 - pixel->mean[m]) * pixel->slope[m]);
        total = ((term[0] + term[4]) + (term[2] + term[6])) + ((term[1] + term[5]) + (term[3] + term[7]));
    } else
        total = pixel->below[k];
    return (int32_t)k + (int32_t)(total < f->spare ? total : f->spare);
}

/* The k with F(k) <= q < F(k + 1), and both of these. */
static inline ptrdiff_t family_search(const FamilySpec *f, const Pixel *pixel, int32_t q, int32_t *start, int32_t *stop)
{
    ptrdiff_t low = pixel->guess, high, step = pixel->step;
    int32_t at_low = family_cdf(f, pixel, low), at_high;
    if (at_low <= q) {
        for (high = low + step;; step *= 2, high += step) {
            high = high < f->K ? high : f->K;
            at_high = family_cdf(f, pixel, high);
            if (at_high > q)
                break;
            low = high, at_low = at_high;
        }
    } else {
        high = low, at_high = at_low;
        for (low = high - step;; step *= 2, low -= step) {
            low = low > 0 ? low : 0;
            at_low = family_cdf(f, pixel, low);
            if (at_low <= q)
                break;
            high = low, at_high = at_low;
        }
    }
    while (high - low > 1) {
        const ptrdiff_t middle = low + (high - low) / 2;
        const int32_t at_middle = family_cdf(f, pixel, middle);
        if (at_middle <= q)
            low = middle, at_low = at_middle;
        else
            high = middle, at_high = at_middle;
    }
    *start = at_low, *stop = at_high;
    return low;
}

static inline void family_interval(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t k, int32_t *start,
                                   int32_t *freq)
{
    Pixel pixel;
    family_pixel(f, parameters, base, &pixel);
    *start = family_cdf(f, &pixel, k);
    *freq = family_cdf(f, &pixel, k + 1) - *start;
}

static inline ptrdiff_t family_find(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t q)
{
    int32_t start, stop;
    Pixel pixel;
    family_pixel(f, parameters, base, &pixel);
    return family_search(f, &pixel, q, &start, &stop);
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
    family_pixel(&job->family, job->parameters + t * family_parameters(&job->family), job->base, &pixel);
    job->out[i] = (int32_t)family_search(&job->family, &pixel, (int32_t)rans_peek(head, job->common.bits), &start, &stop);
    return rans_pop(lane, head, (uint64_t)start, (uint64_t)(stop - start), job->common.bits);
}

static inline void family_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const FamilyJob own = *(const FamilyJob *)shared;
    (void)thread;
    lanes_pop(&own, family_pop_step, first, end);
}

#endif
