/* The state of a lane and the two steps of rANS. A head is handed in and back, so that loops keep it in a register.

   A symbol of frequency f at precision r lies in [start, start + f) of [0, 2^r).
     push: head -> (head // f) * 2^r + start + head % f, after words have gone to the tail until head < f * 2^(l + b - r)
     pop:  head -> (head // 2^r) * f + head % 2^r - start, then words come from the tail until head >= 2^l */
#ifndef MCBITS_RANS_H
#define MCBITS_RANS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define RANS_INLINE static inline __attribute__((always_inline))

typedef struct {
    uint64_t head;          /* in [2^l, 2^(l + b)) between steps */
    uint64_t *tail;         /* words of b bits, the top last; NULL before the first */
    size_t size;            /* words in it */
    size_t capacity;        /* words that it has memory for */
    uint64_t initial_words; /* words drawn from the generator since the stack was empty */
    uint64_t key;           /* of the generator */
    uint64_t start;         /* the first head */
    uint64_t pad_key;       /* see rans_pad; 0 outside of steps */
    uint64_t head_before;   /* head and size before a push, which may turn out to be wrong */
    size_t size_before;
} Lane;

typedef struct {
    int r, l, b; /* precision, lprec, bprec */
} RansBits;

/* The finaliser of splitmix64 (Steele, Lea and Flood 2014). */
RANS_INLINE uint64_t rans_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* What the word above the top of the tail is XORed with while it lies there: nothing before the first step() of a stack.
   Initial words count as if they had lain below the bottom, so that a decoder, which puts them there, finds the same
   levels. */
RANS_INLINE uint64_t rans_pad(const Lane *lane, int b)
{
    uint64_t level = (uint64_t)lane->size - lane->initial_words;
    return lane->pad_key ? rans_mix(lane->pad_key + level * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - b) : 0;
}

static inline int rans_grow(Lane *lane)
{
    size_t capacity = lane->capacity > 0 ? 2 * lane->capacity : 256;
    uint64_t *tail = realloc(lane->tail, capacity * sizeof *tail);
    if (!tail)
        return -1;
    lane->tail = tail;
    lane->capacity = capacity;
    return 0;
}

/* Comparing head >> (l + b - r) with f, rather than head with f << (l + b - r), is right for f = 2^r too. */
RANS_INLINE uint64_t rans_spill(Lane *lane, uint64_t head, uint64_t f, RansBits bits, int *failed)
{
    while (head >> (bits.l + bits.b - bits.r) >= f) {
        if (lane->size == lane->capacity && rans_grow(lane)) {
            *failed = 1;
            return head;
        }
        lane->tail[lane->size] = (head & ((UINT64_C(1) << bits.b) - 1)) ^ rans_pad(lane, bits.b);
        lane->size++;
        head >>= bits.b;
    }
    return head;
}

RANS_INLINE uint64_t rans_fill(Lane *lane, uint64_t head, RansBits bits)
{
    while (head >> bits.l == 0) {
        uint64_t word;
        if (lane->size > 0) {
            lane->size--;
            word = lane->tail[lane->size] ^ rans_pad(lane, bits.b);
        } else {
            lane->initial_words++;
            word = rans_mix(lane->key + lane->initial_words * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - bits.b);
        }
        head = (head << bits.b) | word;
    }
    return head;
}

RANS_INLINE uint64_t rans_push(Lane *lane, uint64_t head, uint64_t start, uint64_t f, RansBits bits, int *failed)
{
    head = rans_spill(lane, head, f, bits, failed);
    return head + head / f * ((UINT64_C(1) << bits.r) - f) + start;
}

RANS_INLINE uint64_t rans_peek(uint64_t head, RansBits bits)
{
    return head & ((UINT64_C(1) << bits.r) - 1);
}

RANS_INLINE uint64_t rans_pop(Lane *lane, uint64_t head, uint64_t start, uint64_t f, RansBits bits)
{
    return rans_fill(lane, f * (head >> bits.r) + rans_peek(head, bits) - start, bits);
}

/* A symbol whose push needs no division. Of f with 2^(s - 1) < f <= 2^s, and N = 63 + s, either the ceiling or the floor of
   2^N / f is as good as the division for every head < f 2^(64 - r), f < 2^r:
     q = floor(head i / 2^N)        with i f = 2^N + e, 0 <= e < f,  is right while head e < 2^N;
     q = floor((head + 1) i / 2^N)  with i f = 2^N - d, 0 < d <= f,  is right while (head + 1) d <= 2^N.
   For f <= 2^(r - 1), head e < f^2 2^(64 - r) <= 2^(64 - r + s + r - 1) = 2^N. For greater f s = r, and not both e and
   d = f - e can exceed 2^N / (f 2^(64 - r)) = 2^(2r - 1) / f, since their sum f is at most twice that. */
typedef struct {
    uint64_t inverse;
    uint32_t start;
    uint32_t freq;
    uint8_t shift, more; /* s - 1, and what is added to the head */
} RansSymbol;

static inline RansSymbol rans_symbol(uint64_t start, uint64_t f, int r)
{
    RansSymbol symbol = {UINT64_MAX, (uint32_t)start, (uint32_t)f, 0, 1}; /* of f = 1 */
    if (f > 1) {
        const int s = 64 - __builtin_clzll(f - 1);
        /* 2^(63 + s) / f in two digits of 32 bits. */
        const uint64_t top = UINT64_C(1) << (31 + s), low = top % f << 32;
        const uint64_t floor = (top / f << 32) + low / f, rest = low % f, e = rest ? f - rest : 0;
        symbol.shift = (uint8_t)(s - 1);
        symbol.more = f > UINT64_C(1) << (r - 1) && e * f >= UINT64_C(1) << (2 * r - 1);
        symbol.inverse = symbol.more || !rest ? floor : floor + 1;
    }
    return symbol;
}

RANS_INLINE uint64_t rans_push_symbol(Lane *lane, uint64_t head, RansSymbol symbol, RansBits bits, int *failed)
{
    head = rans_spill(lane, head, symbol.freq, bits, failed);
    const uint64_t q = (uint64_t)((unsigned __int128)(head + symbol.more) * symbol.inverse >> 64) >> symbol.shift;
    return head + q * ((UINT64_C(1) << bits.r) - symbol.freq) + symbol.start;
}

#endif
