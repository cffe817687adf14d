"""Each of n uniform symbols has a frequency of floor or ceiling of 2^r / n, and no table is needed to find it.

Shapes: L lanes, R draws under the same sizes, M dimensions.
"""

from libc.stdint cimport int64_t, uint64_t

import numpy as np

from mcbits._rans cimport Stack
from mcbits.core.lanes cimport LanesJob, begin, check_dims, each_lane, push_all
from mcbits.errors import DataError

cdef extern from "uniform.h" nogil:
    ctypedef struct UniformJob:
        LanesJob common
        const int64_t *sizes
        const int64_t *symbols
        int64_t *out
    uint64_t uniform_inverse_of(uint64_t q, uint64_t n, int r)
    void uniform_push_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void uniform_pop_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept


def uniform_inverse(const uint64_t[::1] quantiles, const int64_t[::1] sizes, int precision):
    """Return the symbol (n,) int64 that holds each quantile (n,) uint64, below 2^precision, of the size (n,) int64 beside it."""
    result = np.empty(quantiles.shape[0], np.int64)
    cdef int64_t[::1] out = result
    cdef Py_ssize_t i
    if sizes.shape[0] != quantiles.shape[0]:
        raise DataError(f"{quantiles.shape[0]} quantiles meet {sizes.shape[0]} uniform distributions")
    with nogil:
        for i in range(quantiles.shape[0]):
            out[i] = <int64_t>uniform_inverse_of(quantiles[i], <uint64_t>sizes[i], precision)
    return result


def uniform_push(Stack stack, const int64_t[:, :, ::1] symbols, const int64_t[:, ::1] sizes, int precision):
    """Push symbols (L, R, M) int64, the last one of a lane first, under sizes (L, M) int64 from 1 to 2^precision.

    Raises DataError, leaving the stack as it was, for a symbol that is not below its size, or for shapes that do not fit;
    StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t l, r, m
    cdef bint good = True
    cdef UniformJob job
    begin(&job.common, stack, precision, sizes.shape[0], symbols.shape[1], sizes.shape[1])
    check_dims(sizes.shape[0], sizes.shape[1], symbols.shape[0], symbols.shape[2])
    if symbols.shape[0] * symbols.shape[1] * symbols.shape[2] == 0:
        return
    with nogil:
        for l in range(symbols.shape[0]):
            for r in range(symbols.shape[1]):
                for m in range(symbols.shape[2]):
                    good = good and 0 <= symbols[l, r, m] < sizes[l, m]
    if not good:
        raise DataError("a symbol is outside the support of the uniform distribution")
    job.sizes, job.symbols, job.out = &sizes[0, 0], &symbols[0, 0, 0], NULL
    push_all(stack, sizes.shape[0], uniform_push_lanes, &job.common)


def uniform_pop(Stack stack, const int64_t[:, ::1] sizes, int precision):
    """Pop and return one symbol (L, M) int64 under each size (L, M) int64 from 1 to 2^precision, the first one of a lane first.

    Raises StackError for a precision or a number of lanes that the stack does not have.
    """
    cdef Py_ssize_t L = sizes.shape[0], M = sizes.shape[1]
    cdef UniformJob job
    begin(&job.common, stack, precision, L, 1, M)
    result = np.empty((L, M), np.int64)
    if result.size == 0:
        return result
    cdef int64_t[:, ::1] out = result
    job.sizes, job.symbols, job.out = &sizes[0, 0], NULL, &out[0, 0]
    with nogil:
        each_lane(L, uniform_pop_lanes, &job.common)
    return result
