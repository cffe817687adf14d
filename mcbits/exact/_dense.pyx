"""A network of dense layers is one call without the GIL: integers of 16 bits, multiplied and summed exactly in 32."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free

import numpy as np

cdef extern from "_dense.h" nogil:
    enum:
        DENSE_PANEL
    ctypedef struct DenseStage:
        Py_ssize_t source, pairs, width, panels
        const int16_t *weight
        const int32_t *bias
        int shift
        int32_t low, high
        const int16_t *table
        int32_t *out
    int dense_widest()
    void dense_run(const DenseStage *stages, Py_ssize_t count, int16_t *const *values, const Py_ssize_t *strides,
                   Py_ssize_t at, Py_ssize_t rows, int wide)

cdef int widest = dense_widest()
cdef int wide = widest

cdef enum:
    CHUNK = 56  # rows that go through all layers together: their values stay in the nearest caches

ctypedef fused symbol:
    uint8_t
    int16_t
    int32_t
    int64_t
    float


def set_wide(int level):
    """Use AVX-512 (2), AVX2 (1), the plain loops (0), or what the processor has (-1): for tests: equal results."""
    global wide
    wide = widest if level < 0 else min(level, widest)


def width():
    return wide


cdef bint integral(symbol x, float bound) noexcept nogil:
    if symbol is float:
        return -bound <= x <= bound and x == <float><int32_t>x
    else:
        return -bound <= x <= bound


cdef bint take(const symbol[:, ::1] x, Py_ssize_t at, Py_ssize_t rows, int32_t bound, int factor, int16_t *value,
               Py_ssize_t stride) noexcept nogil:
    # factor: 0, or what the second of two copies of each input is multiplied by.
    cdef Py_ssize_t i, j, n = x.shape[1]
    cdef int bad = 0
    for i in range(rows):
        for j in range(n):
            bad |= not integral(x[at + i, j], bound)
        if bad:
            return False
        if factor == 0:
            for j in range(n):
                value[i * stride + j] = <int16_t>x[at + i, j]
        else:
            for j in range(n):
                value[i * stride + 2 * j] = <int16_t>x[at + i, j]
                value[i * stride + 2 * j + 1] = <int16_t>(factor * <int>x[at + i, j])
    return True


cdef class Dense:
    cdef DenseStage *_stages
    cdef Py_ssize_t _count, _inputs, _size
    cdef Py_ssize_t *_strides
    cdef int32_t _bound
    cdef int _factor
    cdef object _kept

    def __cinit__(self, Py_ssize_t inputs, int32_t bound, int factor, stages):
        cdef Py_ssize_t i
        cdef const int16_t[:, :, :, ::1] weight
        cdef const int32_t[::1] bias
        cdef const int16_t[::1] table
        self._count, self._inputs, self._bound, self._factor, self._kept = len(stages), inputs, bound, factor, stages
        self._stages = <DenseStage *>calloc(len(stages), sizeof(DenseStage))
        self._strides = <Py_ssize_t *>calloc(len(stages) + 1, sizeof(Py_ssize_t))
        if self._stages == NULL or self._strides == NULL:
            raise MemoryError
        self._strides[0] = (inputs * (2 if factor else 1) + 1) // 2 * 2
        self._size = self._strides[0]
        for i, stage in enumerate(stages):
            weight, bias = stage.weight, stage.bias
            self._stages[i].source = stage.source
            self._stages[i].width = stage.width
            self._stages[i].panels, self._stages[i].pairs = weight.shape[0], weight.shape[1]
            self._stages[i].weight, self._stages[i].bias = &weight[0, 0, 0, 0], &bias[0]
            self._stages[i].shift, self._stages[i].low, self._stages[i].high = stage.shift, stage.low, stage.high
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
        kind = x.dtype.char
        if kind == "h":
            return self._run[int16_t](x, outs)
        if kind == "i":
            return self._run[int32_t](x, outs)
        if kind == "B":
            return self._run[uint8_t](x, outs)
        if x.dtype.kind == "i" and x.dtype.itemsize == 8:
            return self._run[int64_t](x.view(np.int64), outs)
        return self._run[float](x, outs)

    cdef bint _run(self, const symbol[:, ::1] x, outs) except -1:
        cdef Py_ssize_t i, at, rows, chunk, batch = x.shape[0]
        cdef int32_t[:, ::1] out
        cdef bint good = True
        if x.shape[1] != self._inputs:
            raise ValueError(f"rows of {x.shape[1]} were given to a network of {self._inputs}")
        # The stages of this call: those of the object belong to all threads.
        cdef DenseStage *stages = <DenseStage *>calloc(self._count, sizeof(DenseStage))
        cdef int16_t **values = <int16_t **>calloc(self._count + 1, sizeof(int16_t *))
        chunk = min(batch, CHUNK)
        cdef int16_t *memory = <int16_t *>calloc(chunk * self._size + 1, sizeof(int16_t))
        try:
            if stages == NULL or values == NULL or memory == NULL:
                raise MemoryError
            at = 0
            for i in range(self._count + 1):
                if self._strides[i]:
                    values[i] = memory + at
                    at += chunk * self._strides[i]
            for i in range(self._count):
                stages[i] = self._stages[i]
                output = self._kept[i].output
                if output is not None:
                    out = outs[output]
                    if out.shape[0] != batch or out.shape[1] != stages[i].width:
                        raise ValueError("an output has the wrong shape")
                    if batch:
                        stages[i].out = &out[0, 0]
            with nogil:
                at = 0
                while good and at < batch:
                    rows = min(chunk, batch - at)
                    good = take(x, at, rows, self._bound, self._factor, values[0], self._strides[0])
                    if good:
                        dense_run(stages, self._count, values, self._strides, at, rows, wide)
                    at += rows
        finally:
            free(stages)
            free(values)
            free(memory)
        return good
