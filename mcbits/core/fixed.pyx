"""One pass after each product: bias, shift, clamp and table, in integers, on rows of channels."""

cimport cython
from libc.stdint cimport int32_t, int64_t

cdef extern from "simd.h" nogil:
    int mcbits_wide
    void mcbits_lookup_row(const float *acc, const float *bias, Py_ssize_t n, int32_t offset, int shift, const float *table,
                           int32_t last, float *out)


def set_wide(int wide):
    """Use AVX2 (1), the plain loops (0), or what the processor has (-1): for tests, the results being equal."""
    global mcbits_wide
    mcbits_wide = wide


ctypedef fused accumulator:
    float
    double

ctypedef fused rounded:
    int32_t
    float
    double

ctypedef fused activation:
    float
    double


def is_integral(const float[::1] a, float bound):
    cdef Py_ssize_t i
    cdef int bad = 0
    with nogil:
        for i in range(a.shape[0]):
            bad |= not (-bound <= a[i] <= bound)
        if not bad:
            for i in range(a.shape[0]):
                bad |= a[i] != <float><int32_t>a[i]
    return not bad


def round_clamp(const accumulator[:, ::1] acc, const accumulator[::1] bias, int shift,
                int32_t low, int32_t high, rounded[:, ::1] out):
    # |acc + bias| < 2^24 and shift <= 30 (2^53 and 44), so neither the cast nor the sum can overflow.
    cdef int32_t half32 = (<int32_t>1 << shift) >> 1 if accumulator is float else 0
    cdef int64_t half64 = (<int64_t>1 << shift) >> 1
    cdef int32_t low32 = low, high32 = high, v32
    cdef int64_t v64
    cdef Py_ssize_t i, j, rows = acc.shape[0], channels = acc.shape[1]
    with nogil:
        for i in range(rows):
            for j in range(channels):
                if accumulator is float:
                    v32 = (<int32_t>(acc[i, j] + bias[j]) + half32) >> shift
                    v32 = low32 if v32 < low32 else v32
                    v32 = high32 if v32 > high32 else v32
                    out[i, j] = <rounded>v32
                else:
                    v64 = (<int64_t>(acc[i, j] + bias[j]) + half64) >> shift
                    v64 = low if v64 < low else v64
                    v64 = high if v64 > high else v64
                    out[i, j] = <rounded>v64


def lookup(const accumulator[:, ::1] acc, const accumulator[::1] bias, int shift, int64_t low,
           const float[::1] table, bint identity_above, int identity_shift, activation[:, ::1] out):
    # Adding half - (low << shift) before the shift makes the shifted value an index into the table.
    cdef int64_t offset = ((<int64_t>1 << shift) >> 1) - low * (<int64_t>1 << shift)
    cdef int64_t half = (<int64_t>1 << identity_shift) >> 1
    cdef int32_t offset32 = <int32_t>offset, last = <int32_t>(table.shape[0] - 1), k32
    cdef int64_t k
    cdef int32_t index[256]
    cdef Py_ssize_t i, j, start, width, rows = acc.shape[0], channels = acc.shape[1]
    if accumulator is float and activation is float:
        if not identity_above:
            with nogil:
                for i in range(rows):
                    mcbits_lookup_row(&acc[i, 0], &bias[0], channels, offset32, shift, &table[0], last, &out[i, 0])
            return
    with nogil:
        for i in range(rows):
            # Indices first, a block at a time: that loop vectorises, the one that reads the table cannot.
            for start in range(0, channels, 256):
                width = min(<Py_ssize_t>256, channels - start)
                for j in range(width):
                    if accumulator is float:
                        k32 = (<int32_t>(acc[i, start + j] + bias[start + j]) + offset32) >> shift
                        k32 = 0 if k32 < 0 else k32
                        index[j] = last + 1 if k32 > last else k32
                    else:
                        k = (<int64_t>(acc[i, start + j] + bias[start + j]) + offset) >> shift
                        k = 0 if k < 0 else k
                        index[j] = <int32_t>(last + 1 if k > last else k)
                if identity_above:
                    for j in range(width):
                        if index[j] <= last:
                            out[i, start + j] = table[index[j]]
                        else:
                            k = <int64_t>(acc[i, start + j] + bias[start + j])
                            out[i, start + j] = <activation>((k + half) >> identity_shift)
                else:
                    for j in range(width):
                        out[i, start + j] = table[min(index[j], last)]
