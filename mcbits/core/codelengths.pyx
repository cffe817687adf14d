"""Codelengths and log weights are integers in units of 2^-16 bits, so both sides of a coder agree on each of them."""

from libc.stdint cimport int64_t, uint64_t

import numpy as np

from mcbits.core.numerics cimport CODELENGTH_FRAC, exp, log2, log2_fixed
from mcbits.errors import DataError

cdef double LN2 = 6.93147180559945309417e-01
cdef double LN2_UNIT = LN2 / (1 << CODELENGTH_FRAC)  # nats to the unit
cdef double WEIGHT_OF_LARGEST = <double>(<int64_t>1 << 30)


cdef int64_t largest_of(const int64_t[:, ::1] log_w, Py_ssize_t i) noexcept nogil:
    cdef Py_ssize_t k
    cdef int64_t largest = log_w[i, 0]
    for k in range(1, log_w.shape[1]):
        largest = log_w[i, k] if log_w[i, k] > largest else largest
    return largest


def codelengths(const uint64_t[::1] freqs, int precision):
    """Return what a push of each frequency (n,) uint64 from 1 to 2^precision would cost, (n,) int64 in units of 2^-16 bits."""
    result = np.empty(freqs.shape[0], np.int64)
    cdef int64_t[::1] out = result
    cdef Py_ssize_t i
    with nogil:
        for i in range(freqs.shape[0]):
            out[i] = (<int64_t>precision << CODELENGTH_FRAC) - log2_fixed(freqs[i])
    return result


def weights_from_log2(const int64_t[:, ::1] log_w):
    """Return integer weights floor(2^30 * 2^(log_w - max)) of each row, (n, N) uint64.

    log_w is (n, N) int64 in units of 2^-16 bits; max is the largest of its row. Raises DataError where N is 0.
    """
    cdef Py_ssize_t i, k
    cdef int64_t largest
    if log_w.shape[1] < 1:
        raise DataError("there are no weights")
    result = np.empty((log_w.shape[0], log_w.shape[1]), np.uint64)
    cdef uint64_t[:, ::1] w = result
    with nogil:
        for i in range(log_w.shape[0]):
            largest = largest_of(log_w, i)
            for k in range(log_w.shape[1]):
                w[i, k] = <uint64_t>(WEIGHT_OF_LARGEST * exp((log_w[i, k] - largest) * LN2_UNIT))
    return result


def log2_mean(const int64_t[:, ::1] log_w):
    """Return log2 of the mean of the weights 2^log_w of each row, (n,) int64, both in units of 2^-16 bits.

    log_w is (n, N) int64. Raises DataError where N is 0.
    """
    cdef Py_ssize_t i, k
    cdef int64_t largest
    cdef double total
    if log_w.shape[1] < 1:
        raise DataError("there are no weights")
    result = np.empty(log_w.shape[0], np.int64)
    cdef int64_t[::1] out = result
    with nogil:
        for i in range(log_w.shape[0]):
            largest = largest_of(log_w, i)
            total = 0.0
            for k in range(log_w.shape[1]):
                total += exp((log_w[i, k] - largest) * LN2_UNIT)
            out[i] = largest + <int64_t>((1 << CODELENGTH_FRAC) * log2(total / log_w.shape[1]) - 0.5)
    return result
