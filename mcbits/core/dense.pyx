"""A network of dense layers is computed exactly: integers of 16 bits, multiplied and summed in 32, in one call without the GIL."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free, malloc

import numpy as np

from mcbits.core.simd cimport wide
from mcbits.core.threads cimport share, threads

cdef enum:
    CHUNK = 56  # rows that go through all layers together: their values stay in the nearest caches
    FEW = 14    # as many as pay for being taken by another thread: two tiles

ctypedef fused symbol:
    uint8_t
    int16_t
    int32_t
    int64_t
    float


cdef bint integral(symbol x, float bound) noexcept nogil:
    if symbol is float:
        return -bound <= x <= bound and x == <float><int32_t>x
    else:
        return -bound <= x <= bound


cdef struct Job:
    const DenseStage *stages
    Py_ssize_t count            # of stages
    Py_ssize_t inputs           # numbers of a row of x
    Py_ssize_t chunk            # rows that go through all stages together
    const Py_ssize_t *strides   # of each value, the input first, in numbers
    int32_t bound               # of inputs
    int factor                  # of the second copy of each input; 0 where there is none
    char kind                   # of x, a type code of `array`, l for 64 bits
    const void *x               # (batch, inputs)
    int16_t **values            # for each thread, one array a value
    bint bad                    # whether x holds what is no integer within the bound


cdef bint take(const symbol *x, Py_ssize_t rows, const Job *job, int16_t *value) noexcept nogil:
    # factor: 0, or what the second of two copies of each input is multiplied by.
    cdef Py_ssize_t i, j, n = job.inputs, stride = job.strides[0]
    cdef int32_t bound = job.bound
    cdef int bad = 0, factor = job.factor
    for i in range(rows):
        for j in range(n):
            bad |= not integral(x[i * n + j], bound)
        if bad:
            return False
        if factor == 0:
            for j in range(n):
                value[i * stride + j] = <int16_t>x[i * n + j]
        else:
            for j in range(n):
                value[i * stride + 2 * j] = <int16_t>x[i * n + j]
                value[i * stride + 2 * j + 1] = <int16_t>(factor * <int>x[i * n + j])
        if factor == 0 and stride > n:
            value[i * stride + n] = 0
    return True


cdef bint take_kind(const Job *job, Py_ssize_t at, Py_ssize_t rows, int16_t *value) noexcept nogil:
    at *= job.inputs
    if job.kind == c"h":
        return take(<const int16_t *>job.x + at, rows, job, value)
    if job.kind == c"i":
        return take(<const int32_t *>job.x + at, rows, job, value)
    if job.kind == c"l":
        return take(<const int64_t *>job.x + at, rows, job, value)
    if job.kind == c"B":
        return take(<const uint8_t *>job.x + at, rows, job, value)
    return take(<const float *>job.x + at, rows, job, value)


cdef void run_rows(void *shared, Py_ssize_t at, Py_ssize_t end, int thread) noexcept nogil:
    cdef Job *job = <Job *>shared
    cdef Py_ssize_t rows
    cdef int16_t **values = job.values + thread * (job.count + 1)
    while at < end:
        rows = min(job.chunk, end - at)
        if not take_kind(job, at, rows, values[0]):
            job.bad = True
            return
        dense_run(job.stages, job.count, values, job.strides, at, rows, wide)
        at += rows


cdef class Dense:
    """Dense(inputs, bound, factor, stages): stages (a W + bias) * 2^-shift, each clamped to [low, high] and put through its table.

    inputs: numbers of a row, each of magnitude at most `bound`. factor: 0, or each input a is read as the two a and factor a.
    stages: objects with the fields of `_Stage` in dense.pyi. What is kept between stages is int16, and |a w| + |bias|, summed over a
    row, must stay below 2^31.
    """

    def __cinit__(self, Py_ssize_t inputs, int32_t bound, int factor, stages):
        cdef Py_ssize_t i
        cdef const int16_t[:, :, :, ::1] weight
        cdef const int32_t[::1] bias, shift
        cdef const int16_t[::1] table
        self._count, self._inputs, self._bound, self._factor, self._kept = len(stages), inputs, bound, factor, stages
        self._stages = <DenseStage *>calloc(len(stages), sizeof(DenseStage))
        self._strides = <Py_ssize_t *>calloc(len(stages) + 1, sizeof(Py_ssize_t))
        if self._stages == NULL or self._strides == NULL:
            raise MemoryError
        self._strides[0] = (inputs * (2 if factor else 1) + 1) // 2 * 2
        self._size = self._strides[0]
        for i, stage in enumerate(stages):
            weight, bias, shift = stage.weight, stage.bias, stage.shift
            self._stages[i].source = stage.source
            self._stages[i].width = stage.width
            self._stages[i].panels, self._stages[i].pairs = weight.shape[0], weight.shape[1]
            self._stages[i].weight, self._stages[i].bias = &weight[0, 0, 0, 0], &bias[0]
            self._stages[i].shift, self._stages[i].low, self._stages[i].high = &shift[0], stage.low, stage.high
            if stage.table is not None:
                table = stage.table
                self._stages[i].table = &table[0]
            if stage.output is None:
                self._strides[i + 1] = weight.shape[0] * DENSE_PANEL
                self._size += self._strides[i + 1]

    def __dealloc__(self):
        free(self._stages)
        free(self._strides)

    def run(self, x, outs):
        """Fill outs, (batch, width) int32 each, from x (batch, inputs) of uint8, int16, int32, int64 or float32, all C-contiguous.

        Returns False, the outs being undefined then, where x holds what is no integer within the bound. Several threads may run it at
        the same time. Raises ValueError for rows or outs of another width.
        """
        cdef Job job
        cdef Py_ssize_t i, at = 0, batch = x.shape[0], grain = CHUNK
        cdef int team = threads()
        cdef int32_t[:, ::1] out
        cdef const uint8_t[::1] raw = x.reshape(-1).view(np.uint8)
        if x.shape[1] != self._inputs:
            raise ValueError(f"rows of {x.shape[1]} were given to a network of {self._inputs}")
        if batch == 0:
            return True
        if batch < team * CHUNK:
            grain = FEW
        job.chunk = min(batch, <Py_ssize_t>CHUNK)
        # The stages of this call: those of the object belong to all threads.
        cdef DenseStage *stages = <DenseStage *>calloc(self._count, sizeof(DenseStage))
        cdef int16_t *memory = <int16_t *>malloc(team * job.chunk * self._size * sizeof(int16_t))
        job.values = <int16_t **>calloc(team * (self._count + 1), sizeof(int16_t *))
        job.stages, job.count, job.strides, job.inputs = stages, self._count, self._strides, self._inputs
        job.bound, job.factor, job.x, job.bad = self._bound, self._factor, &raw[0], False
        job.kind = c"l" if x.dtype.kind == "i" and x.dtype.itemsize == 8 else ord(x.dtype.char)
        try:
            if stages == NULL or memory == NULL or job.values == NULL:
                raise MemoryError
            for i in range(team * (self._count + 1)):
                job.values[i] = memory + at
                at += job.chunk * self._strides[i % (self._count + 1)]
            for i in range(self._count):
                stages[i] = self._stages[i]
                output = self._kept[i].output
                if output is not None:
                    out = outs[output]
                    if out.shape[0] != batch or out.shape[1] != stages[i].width:
                        raise ValueError("an output has the wrong shape")
                    stages[i].out = &out[0, 0]
            with nogil:
                share(team, batch, grain, run_rows, &job)
        finally:
            free(stages)
            free(memory)
            free(job.values)
        return not job.bad
