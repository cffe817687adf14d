/* The loops over symbols: lanes innermost, since their stacks do not wait for each other, and the head of a single lane in a
   register, since it waits for itself. Arrays are (lanes L, draws R, dims M). */
#ifndef MCBITS_SYMBOLS_H
#define MCBITS_SYMBOLS_H

#include "_loops.h"
#include "_rans.h"

/* BODY(head, lane, l, r, m) over all symbols, the last one first (or the first, `FORWARD`). */
#define EACH_LANE(...)                                      \
    for (ptrdiff_t l = 0; l < L; l++) {                     \
        uint64_t head = lanes[l].head;                      \
        Lane *const lane = lanes + l;                       \
        __VA_ARGS__ lane->head = head;                      \
    }
#define BACKWARD(...)                                       \
    if (L == 1) {                                           \
        const ptrdiff_t l = 0;                              \
        Lane *const lane = lanes;                           \
        uint64_t head = lane->head;                         \
        for (ptrdiff_t r = R - 1; r >= 0; r--)              \
            for (ptrdiff_t m = M - 1; m >= 0; m--) {        \
                __VA_ARGS__                                 \
            }                                               \
        lane->head = head;                                  \
    } else {                                                \
        for (ptrdiff_t r = R - 1; r >= 0; r--)              \
            for (ptrdiff_t m = M - 1; m >= 0; m--)          \
                EACH_LANE(__VA_ARGS__)                      \
    }
#define FORWARD(...)                                        \
    if (L == 1) {                                           \
        const ptrdiff_t l = 0;                              \
        Lane *const lane = lanes;                           \
        uint64_t head = lane->head;                         \
        for (ptrdiff_t r = 0; r < R; r++)                   \
            for (ptrdiff_t m = 0; m < M; m++) {             \
                __VA_ARGS__                                 \
            }                                               \
        lane->head = head;                                  \
    } else {                                                \
        for (ptrdiff_t r = 0; r < R; r++)                   \
            for (ptrdiff_t m = 0; m < M; m++)               \
                EACH_LANE(__VA_ARGS__)                      \
    }

static int symbols_table_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                              ptrdiff_t K, const int32_t *symbols)
{
    int failed = 0;
    BACKWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1) + symbols[(l * R + r) * M + m];
        head = rans_push(lane, head, F[0], F[1] - F[0], bits, &failed);
    })
    return failed;
}

/* The same where draws are many enough to make a RansSymbol of each of the K of every table. */
static int symbols_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const RansSymbol *table,
                        ptrdiff_t K, const int32_t *symbols)
{
    int failed = 0;
    BACKWARD({
        head = rans_push_symbol(lane, head, table[(l * M + m) * K + symbols[(l * R + r) * M + m]], bits, &failed);
    })
    return failed;
}

/* hints[i] of a cdf of K <= 256 symbols is the symbol that holds the first quantile of the i-th of 2^h equal parts. */
static void symbols_hints(const uint32_t *F, ptrdiff_t K, int r, int h, uint8_t *hints)
{
    const int shift = r - h;
    uint32_t i = 0;
    for (ptrdiff_t k = 0; k < K; k++) {
        const uint32_t stop = (F[k + 1] + (1u << shift) - 1) >> shift;
        for (; i < stop; i++)
            hints[i] = (uint8_t)k;
    }
}

static void symbols_hint_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                             ptrdiff_t K, const uint8_t *hints, int h, int32_t *out)
{
    FORWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1);
        const uint64_t q = rans_peek(head, bits);
        ptrdiff_t k = hints[((l * M + m) << h) + (q >> (bits.r - h))];
        while (F[k + 1] <= q)
            k++;
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

static void symbols_table_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const uint32_t *cdf,
                              ptrdiff_t K, int32_t *out)
{
    FORWARD({
        const uint32_t *F = cdf + (l * M + m) * (K + 1);
        const ptrdiff_t k = mcbits_search((const int32_t *)F, K, (int32_t)rans_peek(head, bits));
        out[(l * R + r) * M + m] = (int32_t)k;
        head = rans_pop(lane, head, F[k], F[k + 1] - F[k], bits);
    })
}

/* Logits clamped to [-limit, limit) choose of `table` the symbol 0, and 2 limit further on the symbol 1. */
RANS_INLINE ptrdiff_t symbols_logit(int32_t logit, int32_t limit)
{
    logit = logit > -limit ? logit : -limit;
    logit = logit < limit - 1 ? logit : limit - 1;
    return logit + limit;
}

static int symbols_bernoulli_push(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const int32_t *logits,
                                  const int32_t *symbols, const RansSymbol *table, int32_t limit)
{
    int failed = 0;
    BACKWARD({
        const ptrdiff_t i = (l * R + r) * M + m;
        head = rans_push_symbol(lane, head, table[symbols_logit(logits[i], limit) + symbols[i] * 2 * limit], bits, &failed);
    })
    return failed;
}

static void symbols_bernoulli_pop(Lane *lanes, RansBits bits, ptrdiff_t L, ptrdiff_t R, ptrdiff_t M, const int32_t *logits,
                                  const uint32_t *ones, int32_t limit, int32_t *out)
{
    FORWARD({
        const ptrdiff_t i = (l * R + r) * M + m;
        const uint64_t one = ones[symbols_logit(logits[i], limit)], zero = (UINT64_C(1) << bits.r) - one;
        const uint64_t q = rans_peek(head, bits), above = head >> bits.r;
        /* Both heads, and one is selected: a symbol is hard to predict, and a wrong guess costs more than its pop. */
        const uint64_t if_zero = zero * above + q, if_one = one * above + q - zero, is_one = -(uint64_t)(q >= zero);
        out[i] = (int32_t)(is_one & 1);
        head = rans_fill(lane, if_zero ^ ((if_zero ^ if_one) & is_one), bits);
    })
}

#endif
