/* A uniform symbol k of n has F(k) = floor(k 2^r / n), whose inverse is exact in 64 bits: q belongs to
   floor(((q + 1) n - 1) / 2^r). */
#ifndef MCBITS_UNIFORM_H
#define MCBITS_UNIFORM_H

#include "lanes.h"

typedef struct {
    LanesJob common;
    const int64_t *sizes;   /* n of each, (L, M) */
    const int64_t *symbols; /* of a push, (L, R, M), each of them below its n */
    int64_t *out;           /* of a pop, (L, R, M) */
} UniformJob;

RANS_INLINE uint64_t uniform_inverse_of(uint64_t q, uint64_t n, int r)
{
    return ((q + 1) * n - 1) >> r;
}

RANS_INLINE uint64_t uniform_push_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const UniformJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint64_t k = (uint64_t)job->symbols[i], n = (uint64_t)job->sizes[t];
    const uint64_t start = (k << bits.r) / n, stop = ((k + 1) << bits.r) / n;
    return rans_push(lane, head, start, stop - start, bits, &faults->failed);
}

static inline void uniform_push_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const UniformJob own = *(const UniformJob *)shared;
    (void)thread;
    lanes_push(&own, uniform_push_step, first, end, shared);
}

RANS_INLINE uint64_t uniform_pop_step(const void *own, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults)
{
    const UniformJob *const job = own;
    const RansBits bits = job->common.bits;
    const uint64_t n = (uint64_t)job->sizes[t], k = uniform_inverse_of(rans_peek(head, bits), n, bits.r);
    const uint64_t start = (k << bits.r) / n, stop = ((k + 1) << bits.r) / n;
    (void)faults;
    job->out[i] = (int64_t)k;
    return rans_pop(lane, head, start, stop - start, bits);
}

static inline void uniform_pop_lanes(void *shared, ptrdiff_t first, ptrdiff_t end, int thread)
{
    const UniformJob own = *(const UniformJob *)shared;
    (void)thread;
    lanes_pop(&own, uniform_pop_step, first, end);
}

#endif
