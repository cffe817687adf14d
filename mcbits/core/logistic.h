/* The logistic function, as every loop computes it: a line between points that numerics.pyx has made ready. */
#ifndef MCBITS_LOGISTIC_H
#define MCBITS_LOGISTIC_H

#include "clamp.h"

enum {
    LOGISTIC_STEPS = 64, /* points to the unit; a power of two, so that a product with it is exact */
    LOGISTIC_SPAN = 16,  /* it is 0 below -LOGISTIC_SPAN and 1 above LOGISTIC_SPAN */
    LOGISTIC_SIZE = 2 * LOGISTIC_SPAN * LOGISTIC_STEPS
};

/* Logistic(scaled / LOGISTIC_STEPS). Entry i of the table holds the value at point i and the rise to the next point, both
   multiples of 2^-48. So the sum below is rounded once, and the result never falls where its argument rises. */
static inline __attribute__((always_inline)) double logistic_line(const double (*table)[2], double scaled)
{
    const double u = clamp_double(scaled + (double)(LOGISTIC_SPAN * LOGISTIC_STEPS), 0.0, (double)LOGISTIC_SIZE);
    const int32_t i = (int32_t)u;
    return table[i][0] + (u - i) * table[i][1];
}

#endif
