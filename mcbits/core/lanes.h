/* The driver of all loops over symbols: no lane depends on another, so lanes go in pairs and are shared among threads.

   The processor works on two lanes at a time, since their stacks do not wait for each other, and both heads stay in registers
   through the whole call. */
#ifndef MCBITS_LANES_H
#define MCBITS_LANES_H

#include "../_rans.h"

#define LANES_TOGETHER 2

/* What one call codes: R draws of M dimensions on each of its lanes. It is the first member of the struct of each family. */
typedef struct {
    Lane *lanes;   /* of the stack, the first of the call */
    RansBits bits;
    ptrdiff_t R, M;
    int threads;   /* so many at most share the lanes */
    int failed;    /* a push sets it where memory is wanting */
    int outside;   /* a push sets it where a symbol has no frequency */
} LanesJob;

typedef struct {
    int failed, outside;
} Faults;

/* Codes one symbol and returns the new head. `job` is the struct of a family, i the index of the symbol in (L, R, M), t the index
   of its parameters in (L, M), which all draws of a lane share. */
typedef uint64_t (*LanesStep)(const void *job, ptrdiff_t i, ptrdiff_t t, Lane *lane, uint64_t head, Faults *faults);

/* Takes the step for each symbol of the lanes first ... end - 1, in the order of a pop, or backwards in that of a push.

   A step is a static function that is always inlined, named where lanes_each is called: since lanes_each is always inlined too,
   the compiler sees which function it is and inlines it twice, as a macro would. `job` must be a local copy of the caller's: no
   store to a tail or to a result can then be taken to change it, and its fields stay in registers. */
RANS_INLINE Faults lanes_each(const void *job, LanesStep step, const int backwards, ptrdiff_t first, ptrdiff_t end)
{
    const LanesJob *const own = job;
    const ptrdiff_t R = own->R, M = own->M;
    Faults faults = {0, 0};
    ptrdiff_t l = first;
    for (; l + LANES_TOGETHER <= end; l += LANES_TOGETHER) {
        Lane *const pair = own->lanes + l;
        uint64_t head0 = pair[0].head, head1 = pair[1].head;
        for (ptrdiff_t j = 0; j < R; j++) {
            const ptrdiff_t r = backwards ? R - 1 - j : j;
            for (ptrdiff_t k = 0; k < M; k++) {
                const ptrdiff_t m = backwards ? M - 1 - k : k;
                head0 = step(job, (l * R + r) * M + m, l * M + m, pair, head0, &faults);
                head1 = step(job, ((l + 1) * R + r) * M + m, (l + 1) * M + m, pair + 1, head1, &faults);
            }
        }
        pair[0].head = head0, pair[1].head = head1;
    }
    for (; l < end; l++) {
        Lane *const lane = own->lanes + l;
        uint64_t head = lane->head;
        for (ptrdiff_t j = 0; j < R; j++) {
            const ptrdiff_t r = backwards ? R - 1 - j : j;
            for (ptrdiff_t k = 0; k < M; k++) {
                const ptrdiff_t m = backwards ? M - 1 - k : k;
                head = step(job, (l * R + r) * M + m, l * M + m, lane, head, &faults);
            }
        }
        lane->head = head;
    }
    return faults;
}

RANS_INLINE void lanes_pop(const void *job, LanesStep step, ptrdiff_t first, ptrdiff_t end)
{
    lanes_each(job, step, 0, first, end);
}

/* What went wrong is told to `shared`, which other threads push for too. */
RANS_INLINE void lanes_push(const void *job, LanesStep step, ptrdiff_t first, ptrdiff_t end, LanesJob *shared)
{
    const Faults faults = lanes_each(job, step, 1, first, end);
    if (faults.failed)
        shared->failed = 1;
    if (faults.outside)
        shared->outside = 1;
}

#endif
