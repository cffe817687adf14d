# A chain of dense layers, for other compiled modules to run over rows of their own without the GIL; see dense.pyx and dense.h.
from libc.stdint cimport int16_t, int32_t

cdef extern from "core/dense.h" nogil:
    enum:
        DENSE_PANEL
    ctypedef struct DenseStage:
        Py_ssize_t source, pairs, width, panels
        const int16_t *weight
        const int32_t *bias
        const int32_t *shift
        int32_t low, high
        const int16_t *table
        int32_t *out
    # All stages over `rows` rows; value v lies at values[v], rows strides[v] numbers apart; outs are moved by `at` rows.
    void dense_run(const DenseStage *stages, Py_ssize_t count, int16_t *const *values, const Py_ssize_t *strides,
                   Py_ssize_t at, Py_ssize_t rows, int wide)

cdef class Dense:
    cdef DenseStage *_stages
    cdef Py_ssize_t *_strides    # of each value, the input first, in numbers
    cdef Py_ssize_t _count       # of stages
    cdef Py_ssize_t _inputs      # numbers of a row of x
    cdef Py_ssize_t _size        # numbers of a row of all values together
    cdef int32_t _bound          # of inputs
    cdef int _factor             # of the second copy of each input; 0 where there is none
    cdef object _kept            # the stages' Python objects: their `output` says which are outputs
