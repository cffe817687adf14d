# A job on several threads, for the loops of other compiled modules; see threads.pyx and threads.h.

# Does the rows first ... end - 1 of a job; threads count from 0, the caller.
ctypedef void (*Work)(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil

# How many threads a job may have now.
cdef int threads() noexcept nogil

# Do the job of rows 0 ... rows - 1 on so many threads at most, each of which takes about `grain` rows at a time.
cdef void share(int threads, Py_ssize_t rows, Py_ssize_t grain, Work work, void *job) noexcept nogil
