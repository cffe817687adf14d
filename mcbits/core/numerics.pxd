# Inline IEEE-only functions for the other compiled modules; see numerics.pyx.
from libc.stdint cimport int64_t, uint64_t

cdef double exp(double x) noexcept nogil
cdef double sigmoid(double x) noexcept nogil
cdef double log2(double x) noexcept nogil
cdef double ndtr(double x) noexcept nogil
cdef double ndtri(double p) noexcept nogil

cdef extern from "core/phi.h" nogil:
    enum:
        PHI_STEPS
        PHI_SPAN
        PHI_SIZE

cdef extern from "logistic.h" nogil:
    enum:
        LOGISTIC_STEPS
        LOGISTIC_SPAN
        LOGISTIC_SIZE

cdef double[PHI_SIZE + 1][2] PHI  # the table of phi_line
cdef double[LOGISTIC_SIZE + 2] LOGISTIC  # and that of logistic_line
cdef double[257] POWER  # 2^(i / 256)

cdef enum:
    LOG2_INDEX = 11       # bits of the mantissa that choose an entry of LOG2
    CODELENGTH_FRAC = 16  # codelengths are in units of 2^-16 bits

cdef int64_t[(1 << LOG2_INDEX) + 1] LOG2  # log2(1 + k 2^-11) in units of 2^-32

cdef extern from *:
    int _clz "__builtin_clzll"(unsigned long long x) noexcept nogil

# log2 of a positive integer in units of 2^-16 bits, rounded to the nearest but for the last 1e-3 of a unit.
cdef inline int64_t log2_fixed(uint64_t n) noexcept nogil:
    cdef int exponent = 63 - _clz(n)
    cdef uint64_t mantissa = (n << (63 - exponent)) << 1
    cdef int64_t k = <int64_t>(mantissa >> (64 - LOG2_INDEX))
    cdef int64_t rest = <int64_t>((mantissa << LOG2_INDEX) >> 44)
    cdef int64_t fine = LOG2[k] + (((LOG2[k + 1] - LOG2[k]) * rest) >> 20)
    return (<int64_t>exponent << CODELENGTH_FRAC) + ((fine + (1 << 15)) >> 16)
