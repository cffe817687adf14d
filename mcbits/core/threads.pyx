"""What is shared among threads has the same result on one: no row of a job depends on another.

A job takes as many threads as BLAS would, at most 16: OPENBLAS_NUM_THREADS or OMP_NUM_THREADS, else the processors at hand.
"""

import os

cdef extern from "threads.h" nogil:
    enum:
        TEAM_MAX
    ctypedef void (*TeamWork)(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil
    void team_run(int threads, Py_ssize_t rows, Py_ssize_t grain, TeamWork work, void *job)
    void team_after_fork()
    int pthread_atfork(void (*prepare)() noexcept nogil, void (*parent)() noexcept nogil, void (*child)() noexcept nogil)


def _default():
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        # OpenMP has a list of numbers, one for each level of nested loops; OpenBLAS reads the first as well.
        first = os.environ.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first):
            return int(first)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


cdef int size = min(max(_default(), 1), TEAM_MAX)
cdef int alone = 0  # how many have asked for one thread

pthread_atfork(NULL, NULL, team_after_fork)


class Alone:
    """A `with` block in which all loops of the process stay on one thread.

    It is for processes that share the processors themselves. Blocks may be nested, and overlap in several threads.
    """

    def __enter__(self):
        """Begin to stay on one thread."""
        global alone
        alone += 1

    def __exit__(self, *_):
        """End it, unless another block goes on."""
        global alone
        alone -= 1


cdef int threads() noexcept nogil:
    return 1 if alone else size


cdef void share(int threads, Py_ssize_t rows, Py_ssize_t grain, Work work, void *job) noexcept nogil:
    team_run(threads, rows, grain, <TeamWork>work, job)
