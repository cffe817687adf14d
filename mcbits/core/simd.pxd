# The registers that the loops with a wide form use now: 2 for AVX-512, 1 for AVX2, 0 for neither.
cdef int wide
