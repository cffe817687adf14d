"""A call codes all of its symbols or leaves the stack as it was.

It holds what the loops of every family share; other compiled modules take it with `cimport`, and Python sees nothing of it.
Shapes, there and here: L lanes, R draws (particles) under the same parameters, M dimensions.
"""

from libc.stdint cimport int32_t

import numpy as np

from mcbits._rans cimport Stack
from mcbits.core.threads cimport Work, share, threads
from mcbits.errors import DataError


cdef int check_symbols(const int32_t[:, :, ::1] symbols, Py_ssize_t num_symbols) except -1:
    """Raise DataError where a symbol is not one of 0 ... num_symbols - 1."""
    cdef Py_ssize_t i, n = symbols.shape[0] * symbols.shape[1] * symbols.shape[2]
    cdef const int32_t *s
    cdef int32_t bad = 0, last = <int32_t>(num_symbols - 1)
    if n == 0:
        return 0
    s = &symbols[0, 0, 0]
    with nogil:
        for i in range(n):
            bad |= s[i] | (last - s[i])  # one of them is negative; a difference that overflows belongs to a negative s
    if bad < 0:
        low, high = np.min(symbols), np.max(symbols)
        raise DataError(f"symbol {low if low < 0 else high} is outside 0 ... {num_symbols - 1}")
    return 0


cdef int check_dims(Py_ssize_t lanes, Py_ssize_t dims, Py_ssize_t given_lanes, Py_ssize_t given_dims) except -1:
    """Raise DataError where symbols of (given_lanes, R, given_dims) do not fit parameters of (lanes, dims)."""
    if given_lanes != lanes or given_dims != dims:
        raise DataError(f"symbols {given_lanes} x {given_dims} meet a distribution over {lanes} x {dims}")
    return 0


cdef int raise_outside_support() except -1:
    raise DataError("a symbol is outside the support of a distribution: its frequency is 0")


cdef int begin(LanesJob *job, Stack stack, int precision, Py_ssize_t L, Py_ssize_t R, Py_ssize_t M) except -1:
    """Fill in what all loops over the L lanes of a stack need; StackError for a precision or L that it does not have."""
    stack.check(precision, L)
    job.lanes, job.bits, job.R, job.M = stack._lanes, stack.widths(precision), R, M
    job.threads, job.failed, job.outside = threads(), 0, 0
    return 0


cdef void each_lane(Py_ssize_t L, Work work, LanesJob *job) noexcept nogil:
    """Do the work for all lanes; `job` is the first member of the struct that the work is done on."""
    if L * job.R * job.M > 0:
        # A thread takes two pairs of lanes at least.
        share(job.threads, L, (2 * SYMBOLS_PER_THREAD // (job.R * job.M) + 4) // 4 * 4, work, job)


cdef int push_all(Stack stack, Py_ssize_t L, Work work, LanesJob *job) except -1:
    """Push for all lanes, or raise DataError or MemoryError with the stack as it was."""
    stack.remember()
    with nogil:
        each_lane(L, work, job)
    if job.outside or job.failed:
        stack.recall()
    if job.outside:
        raise_outside_support()
    if job.failed:
        raise MemoryError
    return 0
