# Inline IEEE-only functions for the other ground-floor modules; see numerics.pyi.
from libc.stdint cimport int64_t, uint64_t

cdef double exp(double x) noexcept nogil
cdef double log2(double x) noexcept nogil
cdef double ndtr(double x) noexcept nogil
cdef double ndtri(double p) noexcept nogil

# Standard normal cdf as a line between points PHI_STEPS to the unit on [-8, 8]: entry k holds the value at the left
# point and the rise to the right one, both multiples of 2^-48, so that value + fraction * rise rounds monotonically.
cdef enum:
    PHI_STEPS = 256
    PHI_SPAN = 8
    PHI_SIZE = 2 * PHI_SPAN * PHI_STEPS

cdef double[PHI_SIZE + 1][2] PHI

cdef inline double phi(double t) noexcept nogil:
    cdef double u = t * PHI_STEPS + PHI_SPAN * PHI_STEPS
    cdef int k
    u = u if u > 0.0 else 0.0
    u = u if u < PHI_SIZE else PHI_SIZE
    k = <int>u
    return PHI[k][0] + (u - k) * PHI[k][1]

# log2 of a positive integer in units of 2^-16 bits, rounded to the nearest but for the last 1e-3 of a unit.
cdef enum:
    LOG2_INDEX = 11
    CODELENGTH_FRAC = 16

cdef int64_t[(1 << LOG2_INDEX) + 1] LOG2

cdef extern from *:
    int _clz "__builtin_clzll"(unsigned long long x) noexcept nogil

cdef inline int64_t log2_fixed(uint64_t n) noexcept nogil:
    cdef int exponent = 63 - _clz(n)
    cdef uint64_t mantissa = (n << (63 - exponent)) << 1
    cdef int64_t k = <int64_t>(mantissa >> (64 - LOG2_INDEX))
    cdef int64_t rest = <int64_t>((mantissa << LOG2_INDEX) >> 44)
    cdef int64_t fine = LOG2[k] + (((LOG2[k + 1] - LOG2[k]) * rest) >> 20)
    return (<int64_t>exponent << CODELENGTH_FRAC) + ((fine + (1 << 15)) >> 16)
