/* Phi, the standard normal cdf, as every loop computes it: a line between points that numerics.pyx has made ready. */
#ifndef MCBITS_PHI_H
#define MCBITS_PHI_H

#include "clamp.h"

enum {
    PHI_STEPS = 256, /* points to the unit; a power of two, so that a product with it is exact */
    PHI_SPAN = 8,    /* Phi is 0 below -PHI_SPAN and 1 above PHI_SPAN */
    PHI_SIZE = 2 * PHI_SPAN * PHI_STEPS
};

/* Phi(scaled / PHI_STEPS). Entry i of the table holds the value at point i and the rise to the next point, both multiples of
   2^-48. So the sum below is rounded once, and Phi never falls where its argument rises. */
static inline __attribute__((always_inline)) double phi_line(const double (*table)[2], double scaled)
{
    const double u = clamp_double(scaled + (double)(PHI_SPAN * PHI_STEPS), 0.0, (double)PHI_SIZE);
    const int32_t i = (int32_t)u;
    return table[i][0] + (u - i) * table[i][1];
}

#endif
