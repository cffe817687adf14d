"""Elementary functions give the same bits on every platform: IEEE + - * / sqrt and powers of two, nothing else.

The functions for arrays take float64 of any shape, or what becomes that, and return float64 of the same shape. When it is imported,
the module tries a few values whose bits are known, and raises PlatformError where they come out otherwise: no file could be trusted
that such a build writes.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy
from libc.math cimport sqrt

import numpy as np

from mcbits.errors import PlatformError

cdef double LN2_HI = 6.93147180369123816490e-01  # the first 32 bits, so that k * LN2_HI is exact
cdef double LN2_LO = 1.90821492927058770002e-10
cdef double LOG2_E = 1.44269504088896338700e+00
cdef double SQRT_HALF = 7.07106781186547524401e-01
cdef double INV_SQRT_2PI = 3.98942280401432677940e-01


cdef inline double _bits(uint64_t pattern) noexcept nogil:
    cdef double x
    memcpy(&x, &pattern, 8)
    return x


cdef inline double _power_of_two(int k) noexcept nogil:
    return _bits(<uint64_t>(k + 1023) << 52)


cdef double exp(double x) noexcept nogil:
    cdef double k, r, s
    cdef int n, i
    if x != x:
        return x
    if x > 709.79:
        return _bits(<uint64_t>0x7FF << 52)
    if x < -745.2:
        return 0.0
    n = <int>(x * LOG2_E + (0.5 if x >= 0.0 else -0.5))
    k = n
    r = (x - k * LN2_HI) - k * LN2_LO
    s = 1.0
    for i in range(14, 0, -1):
        s = 1.0 + s * r / i
    # Two steps, so that neither 2^1024 nor a subnormal power is needed.
    return s * _power_of_two(n // 2) * _power_of_two(n - n // 2)


cdef double sigmoid(double x) noexcept nogil:
    # exp of a negative number only, so that neither tail overflows or loses digits.
    cdef double e
    if x < 0.0:
        e = exp(x)
        return e / (1.0 + e)
    return 1.0 / (1.0 + exp(-x))


cdef double log2(double x) noexcept nogil:
    cdef uint64_t pattern
    cdef int exponent = 0, i
    cdef double m, s, s2, t
    if not x > 0.0:
        return -_bits(<uint64_t>0x7FF << 52) if x == 0.0 else _bits(<uint64_t>0x7FF8 << 48)
    if x < _power_of_two(-1022):
        x = x * <double>(<int64_t>1 << 54)
        exponent = -54
    memcpy(&pattern, &x, 8)
    if pattern >> 52 == 0x7FF:
        return x
    exponent += <int>(pattern >> 52) - 1023
    m = _bits(pattern & ((<uint64_t>1 << 52) - 1) | (<uint64_t>1023 << 52))
    if m > 2.0 * SQRT_HALF:
        m = m * 0.5
        exponent += 1
    s = (m - 1.0) / (m + 1.0)
    s2 = s * s
    t = 0.0
    for i in range(25, 0, -2):
        t = t * s2 + 1.0 / i
    return exponent + 2.0 * s * t * LOG2_E


cdef double _density(double x) noexcept nogil:
    # exp(-x^2/2) with the square split, since rounding x^2 would be amplified in the tail.
    cdef double high = <double>(<int64_t>(x * 16.0)) / 16.0
    return INV_SQRT_2PI * exp(-0.5 * high * high) * exp(-0.5 * (x - high) * (x + high))


cdef double ndtr(double x) noexcept nogil:
    cdef double a = x if x >= 0.0 else -x
    cdef double term, total, fraction
    cdef int i
    if x != x:
        return x
    if a > 38.6:
        return 1.0 if x > 0.0 else 0.0
    if a < 2.0:
        term = total = x
        for i in range(3, 81, 2):
            term = term * x * x / i
            total = total + term
        return 0.5 + _density(x) * total
    fraction = 0.0
    for i in range(100, 0, -1):
        fraction = i / (a + fraction)
    fraction = _density(a) / (a + fraction)
    return 1.0 - fraction if x > 0.0 else fraction


cdef double ndtri(double p) noexcept nogil:
    cdef double t, x, e
    cdef int i
    if not (p > 0.0 and p < 1.0):
        if p == 0.0:
            return -_bits(<uint64_t>0x7FF << 52)
        return _bits(<uint64_t>0x7FF << 52) if p == 1.0 else _bits(<uint64_t>0x7FF8 << 48)
    if p > 0.5:
        return -ndtri(1.0 - p)
    if p == 0.5:
        return 0.0
    # Abramowitz and Stegun 26.2.23 (4.5e-4), then Halley's iteration, which cubes the error.
    t = sqrt(-2.0 * log2(p) / LOG2_E)
    x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for i in range(3):
        e = (ndtr(x) - p) / _density(x)
        x = x - e / (1.0 + 0.5 * x * e)
    return x


cdef uint64_t _pattern(double x) noexcept nogil:
    cdef uint64_t pattern
    memcpy(&pattern, &x, 8)
    return pattern


ctypedef double (*_Function)(double) noexcept nogil


# Not constants for the compiler, which would compute with them before the processor does.
cdef double[4] KNOWN = [1.0, 3.0, _power_of_two(-53), 1.0 + _power_of_two(-27)]


cdef _check_arithmetic():
    """Raise PlatformError where double arithmetic is not IEEE: flags such as -ffast-math, contraction, another rounding.

    Subnormal numbers are left out: no coded byte depends on them, and training switches them off for its time.
    """
    cdef double one = KNOWN[0], three = KNOWN[1], half_ulp = KNOWN[2], x = KNOWN[3]
    cdef bint good = one + half_ulp == one and one + (half_ulp + half_ulp) > one  # rounds to even, to 53 bits
    good = good and (one + half_ulp) + half_ulp == one                            # in the order that is written
    good = good and x * x - (one + _power_of_two(-26)) == 0.0                     # and each product by itself
    good = good and _pattern(one / three) == <uint64_t>0x3FD5555555555555
    good = good and _pattern(sqrt(three)) == <uint64_t>0x3FFBB67AE8584CAA
    good = good and _pattern(exp(-20.5 * one)) == <uint64_t>0x3E157A3AFEED00AC
    good = good and _pattern(log2(three)) == <uint64_t>0x3FF95C01A39FBD69
    good = good and _pattern(ndtr(-1.5 * one)) == <uint64_t>0x3FB11A46D89647EC
    good = good and _pattern(ndtr(-3.0 * one)) == <uint64_t>0x3F561DE1F985B5D9
    good = good and _pattern(ndtri(one / 10.0)) == <uint64_t>0xBFF4813C36E26D33
    if not good:
        raise PlatformError("this build of mcbits does not compute as IEEE 754 says: build it without -ffast-math and the like")


cdef double _logistic(double x) noexcept nogil:
    return 1.0 / (1.0 + exp(-x))


cdef double _point(_Function f, int k, int span, int steps) noexcept nogil:
    """f at point k of 0 ... 2 span steps, a multiple of 2^-48: 0 at the first point, 1 from the last one on."""
    cdef double scale = <double>(<int64_t>1 << 48)
    if k <= 0:
        return 0.0
    if k >= 2 * span * steps:
        return 1.0
    return <double>(<int64_t>(f((k - span * steps) / <double>steps) * scale)) / scale


cdef void _fill_tables() noexcept nogil:
    cdef int k
    for k in range(PHI_SIZE + 1):
        PHI[k][0] = _point(ndtr, k, PHI_SPAN, PHI_STEPS)
    for k in range(PHI_SIZE + 1):
        PHI[k][1] = (PHI[k + 1][0] if k < PHI_SIZE else 1.0) - PHI[k][0]
    for k in range(LOGISTIC_SIZE + 2):
        LOGISTIC[k] = _point(_logistic, k, LOGISTIC_SPAN, LOGISTIC_STEPS)
    for k in range(257):
        POWER[k] = exp(k / 256.0 * (LN2_HI + LN2_LO))
    for k in range((1 << LOG2_INDEX) + 1):
        LOG2[k] = <int64_t>(log2(1.0 + k / <double>(1 << LOG2_INDEX)) * <double>(<int64_t>1 << 32) + 0.5)

_check_arithmetic()
_fill_tables()


cdef object _map(_Function f, object x):
    source = np.ascontiguousarray(x, np.float64)
    result = np.empty_like(source)
    cdef const double[::1] given = source.reshape(-1)
    cdef double[::1] out = result.reshape(-1)
    cdef Py_ssize_t i
    with nogil:
        for i in range(given.shape[0]):
            out[i] = f(given[i])
    return result.reshape(np.shape(x))


def exp_array(x):
    """Return e^x, within 1e-15 relative."""
    return _map(exp, x)


def sigmoid_array(x):
    """Return 1 / (1 + e^-x), within 2e-15 relative in both tails."""
    return _map(sigmoid, x)


def log2_array(x):
    """Return the logarithm to base 2, within 1e-15 of max(1, |log2 x|); -inf at 0, nan below."""
    return _map(log2, x)


def ndtr_array(x):
    """Return the standard normal cdf, within 1e-14 relative also in the lower tail."""
    return _map(ndtr, x)


def ndtri_array(p):
    """Return the standard normal quantile, the inverse of ndtr_array; -inf at 0, inf at 1, nan outside [0, 1]."""
    return _map(ndtri, p)
