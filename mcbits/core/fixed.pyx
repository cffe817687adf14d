"""What follows a product is exact: bias, shift, clamp and table are computed in integers, one pass over rows of channels.

Shapes: acc (rows, channels) and bias (channels,) hold integers, both float32 with |acc + bias| < 2^24 and shift <= 30, or both float64
with |acc + bias| < 2^53 and shift <= 44. A shift is by powers of two and rounds half up.

round_clamp and lookup are fused: indexed by the names of the C types of acc and of out, such as lookup["float", "double"], they give
the function for those types. Choosing it once is cheaper than at every call.
"""

from libc.stdint cimport int32_t, int64_t

from mcbits.core.simd cimport wide

cdef extern from "clamp.h" nogil:
    int32_t clamp_int32(int32_t v, int32_t low, int32_t high)
    int64_t clamp_int64(int64_t v, int64_t low, int64_t high)

cdef extern from "fixed.h" nogil:
    void fixed_lookup_row(const float *acc, const float *bias, Py_ssize_t n, int32_t offset, int shift, const float *table,
                          int32_t last, float *out, int wide)

cdef enum:
    BLOCK = 256  # channels whose indices are made ready at a time


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
    """Return whether each element of a (n,) float32 is an integer of magnitude at most `bound`, which is below 2^24."""
    cdef Py_ssize_t i
    cdef int bad = 0
    with nogil:
        for i in range(a.shape[0]):
            bad |= not (-bound <= a[i] <= bound)
        if not bad:
            for i in range(a.shape[0]):
                bad |= a[i] != <float><int32_t>a[i]
    return not bad


def shift_channels(float[:, ::1] acc, const float[::1] bias, const int32_t[::1] shifts):
    """Replace each element of acc (rows, channels) by (acc + bias) * 2^-shift, with the shift (channels,), 0 to 30, of its channel."""
    cdef Py_ssize_t i, j, rows = acc.shape[0], channels = acc.shape[1]
    with nogil:
        for i in range(rows):
            for j in range(channels):
                acc[i, j] = <float>((<int32_t>(acc[i, j] + bias[j]) + ((<int32_t>1 << shifts[j]) >> 1)) >> shifts[j])


def round_clamp(const accumulator[:, ::1] acc, const accumulator[::1] bias, int shift,
                int32_t low, int32_t high, rounded[:, ::1] out):
    """Fill out (rows, channels), int32, float32 or float64, with clamp((acc + bias) * 2^-shift, low, high)."""
    # By the bounds above, neither the cast nor the sum can overflow.
    cdef int32_t half32 = (<int32_t>1 << shift) >> 1 if accumulator is float else 0
    cdef int64_t half64 = (<int64_t>1 << shift) >> 1
    cdef Py_ssize_t i, j, rows = acc.shape[0], channels = acc.shape[1]
    with nogil:
        for i in range(rows):
            for j in range(channels):
                if accumulator is float:
                    out[i, j] = <rounded>clamp_int32((<int32_t>(acc[i, j] + bias[j]) + half32) >> shift, low, high)
                else:
                    out[i, j] = <rounded>clamp_int64((<int64_t>(acc[i, j] + bias[j]) + half64) >> shift, low, high)


def lookup(const accumulator[:, ::1] acc, const accumulator[::1] bias, int shift, int64_t low,
           const float[::1] table, bint identity_above, int identity_shift, activation[:, ::1] out):
    """Fill out (rows, channels), float32 or float64, with table[i - low] where i = (acc + bias) * 2^-shift, clamped to the table.

    The table is float32 (n,). With `identity_above`, an i above the table gives (acc + bias) * 2^-identity_shift instead.
    """
    # Adding half - (low << shift) before the shift makes the shifted value an index into the table.
    cdef int64_t offset = ((<int64_t>1 << shift) >> 1) - low * (<int64_t>1 << shift)
    cdef int64_t half = (<int64_t>1 << identity_shift) >> 1
    cdef int32_t offset32 = <int32_t>offset, last = <int32_t>(table.shape[0] - 1), k32
    cdef int64_t k
    cdef int32_t index[BLOCK]
    cdef Py_ssize_t i, j, start, width, rows = acc.shape[0], channels = acc.shape[1]
    if accumulator is float and activation is float:
        if not identity_above:
            with nogil:
                for i in range(rows):
                    fixed_lookup_row(&acc[i, 0], &bias[0], channels, offset32, shift, &table[0], last, &out[i, 0], wide)
            return
    with nogil:
        for i in range(rows):
            # Indices first, a block at a time: that loop vectorises, the one that reads the table cannot.
            start = 0
            while start < channels:
                width = min(<Py_ssize_t>BLOCK, channels - start)
                for j in range(width):
                    if accumulator is float:
                        k32 = (<int32_t>(acc[i, start + j] + bias[start + j]) + offset32) >> shift
                        index[j] = clamp_int32(k32, 0, last + 1)
                    else:
                        k = (<int64_t>(acc[i, start + j] + bias[start + j]) + offset) >> shift
                        index[j] = <int32_t>clamp_int64(k, 0, last + 1)
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
                start += BLOCK
