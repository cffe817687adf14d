# What the loops of every family share; see lanes.pyx and lanes.h.
from libc.stdint cimport int32_t

from mcbits._rans cimport Lane, RansBits, Stack
from mcbits.core.threads cimport Work

cdef extern from "core/lanes.h" nogil:
    ctypedef struct LanesJob:
        Lane *lanes
        RansBits bits
        Py_ssize_t R, M
        int threads, failed, outside

cdef enum:
    SYMBOLS_PER_THREAD = 1 << 12  # so many symbols pay for another thread
    TABLES_PER_THREAD = 100       # and so many tables that are to be made

cdef int check_symbols(const int32_t[:, :, ::1] symbols, Py_ssize_t num_symbols) except -1
cdef int check_dims(Py_ssize_t lanes, Py_ssize_t dims, Py_ssize_t given_lanes, Py_ssize_t given_dims) except -1
cdef int raise_outside_support() except -1
cdef int begin(LanesJob *job, Stack stack, int precision, Py_ssize_t L, Py_ssize_t R, Py_ssize_t M) except -1
cdef void each_lane(Py_ssize_t L, Work work, LanesJob *job) noexcept nogil
cdef int push_all(Stack stack, Py_ssize_t L, Work work, LanesJob *job) except -1
