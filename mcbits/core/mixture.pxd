# The cdf of one pixel, for the loops of other compiled modules; see mixture.pyx and mixture.h.
from libc.stdint cimport int32_t

cdef extern from "core/mixture.h" nogil:
    ctypedef struct FamilySpec:
        int family, M, K, unit, wide
        int32_t whole
        double spare
        const double *logistic
        const double *power
    int family_parameters(const FamilySpec *f)

cdef class Family:
    cdef FamilySpec spec                                # but for the precision
    cdef FamilySpec at(self, int precision) except *    # the same at a precision
