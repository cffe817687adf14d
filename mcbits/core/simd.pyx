"""One switch says how wide the registers of all loops are, and no result depends on it."""

cdef extern from "simd.h" nogil:
    int simd_widest()

wide = simd_widest()


def width():
    """Return the width of the registers in use: 2 for AVX-512 with VNNI, 1 for AVX2, 0 for neither."""
    return wide


def set_width(int level):
    """Use the registers of width `level`, or the widest of this processor where it has none of that or level is below 0.

    Tests use it to compare the forms of a loop: their results are equal.
    """
    global wide
    wide = simd_widest() if level < 0 else min(level, simd_widest())
