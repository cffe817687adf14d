# The rows of a job on several threads, for the loops below; see threads.pyi and threads.h.

# Rows first ... end - 1 of a job; threads count from 0, the caller.
ctypedef void (*Work)(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept nogil

cdef int threads() noexcept nogil
cdef void share(int threads, Py_ssize_t rows, Py_ssize_t grain, Work work, void *job) noexcept nogil
