/* clamp(v, low, high) is v, or the bound that v lies beyond, for low <= high. One function a type; written as two
   selections, so that loops of it become vector instructions. NaN gives low. */
#ifndef MCBITS_CLAMP_H
#define MCBITS_CLAMP_H

#include <stdint.h>

static inline __attribute__((always_inline)) int32_t clamp_int32(int32_t v, int32_t low, int32_t high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

static inline __attribute__((always_inline)) int64_t clamp_int64(int64_t v, int64_t low, int64_t high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

static inline __attribute__((always_inline)) double clamp_double(double v, double low, double high)
{
    v = v > low ? v : low;
    return v < high ? v : high;
}

#endif
