/* A loop that has a form for wide registers does the same integer and IEEE operations there as in its plain form, without
   contraction, so which of them ran cannot be told from the result.

   Such loops are: Gaussian rows (gaussian.h), totals of Bernoulli codelengths (bernoulli.h) and table lookups (fixed.h), with
   AVX2; products of dense layers (dense.h), with AVX2 and AVX-512. All others have the plain form alone, and the hints of
   table.h have SSE2, which every x86-64 processor has. The wide forms are compiled by attributes of their own, and chosen when
   they are called: the rest of a build runs on any processor of its architecture. */
#ifndef MCBITS_SIMD_H
#define MCBITS_SIMD_H

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define SIMD_X86
#define SIMD_AVX2 __attribute__((target("avx2")))
#define SIMD_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#endif

/* The widest registers of this processor that the loops know: 2 for AVX-512 with VNNI, 1 for AVX2, 0 for neither. */
static inline int simd_widest(void)
{
#ifdef SIMD_X86
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return 2;
    return __builtin_cpu_supports("avx2") ? 1 : 0;
#else
    return 0;
#endif
}

#endif
