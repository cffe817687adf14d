/* The logistic function, as every loop computes it: a line between points that numerics.pyx has made ready. */
#ifndef MCBITS_LOGISTIC_H
#define MCBITS_LOGISTIC_H

#include "clamp.h"

enum {
    LOGISTIC_LOG2_STEPS = 6,
    LOGISTIC_STEPS = 1 << LOGISTIC_LOG2_STEPS, /* points to the unit; a power of two, so that a product with it is exact */
    LOGISTIC_SPAN = 16,  /* it is 0 below -LOGISTIC_SPAN and 1 above LOGISTIC_SPAN */
    LOGISTIC_SIZE = 2 * LOGISTIC_SPAN * LOGISTIC_STEPS
};

/* Logistic((u - LOGISTIC_SPAN LOGISTIC_STEPS) / LOGISTIC_STEPS). Entry i of the table holds the value at point i, a multiple of
   2^-48, and there is one entry after the last point. So the rise between two points is exact, the sum below is rounded once,
   and the result never falls where u rises. */
static inline __attribute__((always_inline)) double logistic_line(const double *table, double u)
{
    u = clamp_double(u, 0.0, (double)LOGISTIC_SIZE);
    const int32_t i = (int32_t)u;
    return table[i] + (u - i) * (table[i + 1] - table[i]);
}

#endif
