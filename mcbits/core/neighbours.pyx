"""Pictures whose pixels see their neighbours are coded exactly: context, network, cdf and rANS step in one call without the GIL.

Shapes: n pictures of h x w pixels of C channels, C samples of 0 ... K - 1 each; L lanes, picture i lying in lane i modulo L.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t
from libc.stdlib cimport calloc, free

import numpy as np

from mcbits._rans cimport Lane, RansBits, Stack
from mcbits.core.dense cimport Dense, DenseStage
from mcbits.core.mixture cimport Family, FamilySpec, family_parameters
from mcbits.core.numerics cimport CODELENGTH_FRAC, log2_fixed
from mcbits.core.simd cimport wide
from mcbits.core.threads cimport share, threads
from mcbits.errors import DataError, StackError

cdef extern from "neighbours.h" nogil:
    enum:
        NEIGHBOURS_CHUNK
        NEIGHBOURS_CHANNELS
    ctypedef struct NeighboursHead:
        DenseStage *stages
        Py_ssize_t count
        const Py_ssize_t *strides
        int16_t **values
        int32_t *parameters
    ctypedef struct NeighboursScratch:
        NeighboursHead *head
        int16_t *rows
        int32_t *predictions
        uint16_t **at
        Lane **lane
    ctypedef struct NeighboursJob:
        Py_ssize_t n, h, w, pitch, area
        uint16_t *pixels
        int C, R, neighbours
        const Py_ssize_t *offsets
        const int16_t *inputs
        int shift, most
        const int16_t *levels
        int E
        const int16_t *down
        const int16_t *across
        const int16_t *features
        int F
        Py_ssize_t shared, stride
        FamilySpec family
        int wide
        NeighboursScratch *scratch
        int32_t *starts
        int32_t *freqs
        Lane *lanes
        Py_ssize_t L
        RansBits bits
        int failed, strict, dry
    void neighbours_intervals(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void neighbours_push(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept
    void neighbours_pop(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept

cdef enum:
    LEAST_BOUND = 128     # of the inputs of a head
    FEATURE_BOUND = 1023  # of those that are features

cdef class Memory:
    """Zeroed memory that is freed with the object."""
    cdef list _blocks

    def __cinit__(self):
        self._blocks = []

    cdef void *take(self, Py_ssize_t size) except NULL:
        cdef void *block = calloc(max(size, <Py_ssize_t>1), 1)
        if block == NULL:
            raise MemoryError
        self._blocks.append(<size_t>block)
        return block

    def __dealloc__(self):
        for block in self._blocks:
            free(<void *><size_t>block)


def _shift_of(inputs, most):
    """The shift of which inputs (2 K - 1, 1) are rounded differences, clamped to +-most; -1 where there is none."""
    d = np.arange(-(len(inputs) // 2), len(inputs) // 2 + 1)
    for shift in range(16):
        if np.array_equal(inputs[:, 0], np.clip((d + (1 << shift >> 1)) >> shift, -most, most)):
            return shift
    return -1


cdef class Neighbours:
    """Neighbours(family, radius, heads, inputs, levels, num_features): see neighbours.pyi."""

    cdef NeighboursJob _job
    cdef Family _family
    cdef object _heads, _inputs, _levels

    def __init__(self, Family family, radius, heads, inputs, levels, num_features):
        cdef const int16_t[:, ::1] table = inputs
        cdef const int16_t[::1] level = levels
        cdef int K = family.spec.K
        self._family, self._heads, self._inputs, self._levels = family, tuple(heads), inputs, levels
        self._job.family, self._job.C, self._job.R, self._job.F = family.spec, len(heads), radius, num_features
        self._job.neighbours = 2 * radius * (radius + 1)
        self._job.E = 0 if len(levels) else table.shape[1]
        if not (1 <= len(heads) <= NEIGHBOURS_CHANNELS and 2 <= radius <= 16):
            raise ValueError(f"expected 1 to {NEIGHBOURS_CHANNELS} heads and a radius of 2 to 16, got {len(heads)} and {radius}")
        if table.shape[0] != (K + 1 if self._job.E else 2 * K - 1) or (level.shape[0] != K and not self._job.E):
            raise ValueError(f"the tables of inputs do not fit {K} symbols")
        self._job.inputs = &table[0, 0]
        self._job.levels = &level[0] if level.shape[0] else NULL
        self._job.most = np.max(inputs)
        self._job.shift = -1 if self._job.E else _shift_of(inputs, self._job.most)
        self._check_heads()

    cdef _check_heads(self):
        cdef Dense head
        cdef int c, own = max(self._job.E, 1)
        # Places, levels and activities are within +-LEAST_BOUND.
        most = max(LEAST_BOUND, int(np.abs(self._inputs.astype(np.int32)).max()), FEATURE_BOUND if self._job.F else 0)
        self._job.shared = self._job.neighbours * self._job.C * own + 2 + self._job.F
        self._job.shared += 0 if self._job.E else 2 * self._job.C
        self._job.stride = self._job.shared + (self._job.C - 1) * own
        self._job.stride += self._job.stride % 2
        for c in range(self._job.C):
            head = self._heads[c]
            last = &head._stages[head._count - 1]
            if head._bound < most:
                raise ValueError(f"head {c} is proved for inputs up to {head._bound}, but they go up to {most}")
            if head._factor or head._inputs != self._job.shared + c * own or head._count > 31:
                raise ValueError(f"head {c} reads {head._inputs} inputs of {self._job.shared + c * own}, or splits them, or is too deep")
            if [stage.output for stage in head._kept] != [None] * (head._count - 1) + [0]:
                raise ValueError(f"head {c} has not its only output at its end")
            if last.width != self._family.num_parameters:
                raise ValueError(f"head {c} has {last.width} outputs, not {self._family.num_parameters}")

    def intervals(self, x, const int16_t[:, :, :, ::1] features, int precision):
        """Return cdf and frequency of each sample of pictures x (n, h, w, C) uint16, both of this shape, int32.

        features: int16 (n, h, w, F). precision: r, with K <= 2^r <= 2^30. Raises DataError for a sample beyond K - 1.
        """
        cdef NeighboursJob job
        cdef Memory memory = Memory()
        cdef int team = threads()
        starts, freqs = (np.empty((x.shape[0], x.shape[1], x.shape[2], x.shape[3]), np.int32) for _ in range(2))
        cdef int32_t[:, :, :, ::1] start = starts, freq = freqs
        if np.max(x, initial=0) >= self._job.family.K:
            raise DataError(f"a sample is {np.max(x)}, but the model codes 0 ... {self._job.family.K - 1}")
        self._begin(&job, memory, x.shape[0], x.shape[1], x.shape[2], features, precision, NEIGHBOURS_CHUNK, team)
        padded = self._view(&job)
        padded[:, job.R :, job.R : job.R + job.w] = x
        padded[:, job.R :, job.R + job.w :] = x[:, :, -1:]
        padded[:, job.R + 1 :, : job.R] = x[:, :-1, :1]
        if job.E:
            padded[:, : job.R] = job.family.K
            padded[:, job.R, : job.R] = job.family.K
        job.starts, job.freqs = &start[0, 0, 0, 0], &freq[0, 0, 0, 0]
        with nogil:
            share(team, job.n * job.h, max(<Py_ssize_t>1, 512 // job.w), neighbours_intervals, &job)
        return starts, freqs

    def push(self, Stack stack, const int32_t[:, :, :, ::1] starts, const int32_t[:, :, :, ::1] freqs, int precision):
        """Push the intervals (n, h, w, C) of n pictures, n being at least the stack's lanes."""
        cdef NeighboursJob job = self._job
        cdef int team = threads()
        stack.check(precision, stack.lanes)
        if starts.shape[0] < stack.lanes:
            raise DataError(f"{starts.shape[0]} pictures are too few for {stack.lanes} lanes")
        job.n, job.h, job.w = starts.shape[0], starts.shape[1], starts.shape[2]
        job.starts, job.freqs = <int32_t *>&starts[0, 0, 0, 0], <int32_t *>&freqs[0, 0, 0, 0]
        job.lanes, job.L, job.bits, job.failed = stack._lanes, stack.lanes, stack.widths(precision), 0
        stack.remember()
        with nogil:
            share(team, job.L, max(<Py_ssize_t>1, 4096 // (job.h * job.w)), neighbours_push, &job)
        if job.failed:
            stack.recall()
            raise MemoryError

    def pop(self, Stack stack, shape, const int16_t[:, :, :, ::1] features, int precision, bint strict=False):
        """Pop and return the pictures, uint16 of shape (n, h, w, C), n being at least the stack's lanes.

        strict: raise StackError as soon as a lane runs out of words, instead of going on with initial words.
        """
        cdef NeighboursJob job
        cdef Memory memory = Memory()
        cdef Py_ssize_t n = shape[0], h = shape[1], w = shape[2], rows
        cdef int team = min(threads(), stack.lanes)
        stack.check(precision, stack.lanes)
        if n < stack.lanes:
            raise DataError(f"{n} pictures are too few for {stack.lanes} lanes")
        rows = min(h, (w + self._job.R) // (self._job.R + 1))
        # A thread may find all others busy, and then it has all lanes.
        self._begin(&job, memory, n, h, w, features, precision, n * rows, team)
        job.lanes, job.L, job.bits = stack._lanes, stack.lanes, stack.widths(precision)
        job.strict, job.dry = strict, 0
        with nogil:
            share(team, job.L, (job.L + team - 1) // team, neighbours_pop, &job)
        if job.dry:
            raise StackError("the stack ends before its pictures do")
        # A copy even where the view is contiguous, as of one row: the memory goes with this call.
        return np.array(self._view(&job)[:, job.R :, job.R : job.R + job.w], order="C")

    cdef _view(self, NeighboursJob *job):
        return np.asarray(<uint16_t[: job.n, : job.R + job.h, : job.w + 2 * job.R, : job.C]>job.pixels)

    cdef _begin(self, NeighboursJob *job, Memory memory, Py_ssize_t n, Py_ssize_t h, Py_ssize_t w,
                const int16_t[:, :, :, ::1] features, int precision, Py_ssize_t front, int team):
        cdef Py_ssize_t i, padded
        cdef Py_ssize_t *offsets
        cdef int R = self._job.R, C = self._job.C, y, x
        job[0] = self._job
        if features.shape[3] != job.F or (job.F and (features.shape[0] != n or features.shape[1] != h or features.shape[2] != w)):
            raise DataError(f"expected features of shape ({n}, {h}, {w}, {job.F}), got {np.shape(features)}")
        job.features = &features[0, 0, 0, 0] if job.F else NULL
        job.n, job.h, job.w, job.wide = n, h, w, wide
        job.family = self._family.at(precision)
        job.pitch = (w + 2 * R) * C
        job.area = (h + R) * job.pitch
        job.down, job.across = _places(memory, h), _places(memory, w)
        padded = n * job.area + 8  # a wide load reads too far
        job.pixels = <uint16_t *>memory.take(padded * sizeof(uint16_t))
        offsets = <Py_ssize_t *>memory.take(job.neighbours * sizeof(Py_ssize_t))
        i = 0
        for y in range(-R, 1):
            for x in range(-R, R + 1 if y < 0 else 0):
                offsets[i] = y * job.pitch + x * C
                i += 1
        job.offsets = offsets
        job.scratch = <NeighboursScratch *>memory.take(team * sizeof(NeighboursScratch))
        for i in range(team):
            self._begin_thread(job, memory, &job.scratch[i], front)

    cdef _begin_thread(self, NeighboursJob *job, Memory memory, NeighboursScratch *own, Py_ssize_t front):
        cdef Dense dense
        cdef NeighboursHead *head
        cdef Py_ssize_t i
        cdef int c
        # One row more: a head of an odd number of inputs reads one number beyond them, and gives it no weight.
        own.rows = <int16_t *>memory.take((front + 1) * job.stride * sizeof(int16_t))
        own.predictions = <int32_t *>memory.take(front * job.C * sizeof(int32_t))
        own.at = <uint16_t **>memory.take(front * sizeof(uint16_t *))
        own.lane = <Lane **>memory.take(front * sizeof(Lane *))
        for c in range(job.C):
            dense, head = self._heads[c], &own.head[c]
            head.count, head.strides = dense._count, dense._strides
            head.stages = <DenseStage *>memory.take(dense._count * sizeof(DenseStage))
            head.values = <int16_t **>memory.take((dense._count + 1) * sizeof(int16_t *))
            for i in range(dense._count):
                head.stages[i] = dense._stages[i]
                head.values[i + 1] = <int16_t *>memory.take(NEIGHBOURS_CHUNK * dense._strides[i + 1] * sizeof(int16_t))
            head.parameters = <int32_t *>memory.take(NEIGHBOURS_CHUNK * family_parameters(&job.family) * sizeof(int32_t))
            head.stages[dense._count - 1].out = head.parameters


cdef int16_t *_places(Memory memory, Py_ssize_t count) except NULL:
    """What heads read for each of `count` rows or columns: -32 at one edge, nearly 32 at the other."""
    cdef int16_t *places = <int16_t *>memory.take(count * sizeof(int16_t))
    cdef Py_ssize_t i
    for i in range(count):
        places[i] = <int16_t>((2 * i + 1) * 32 // count - 32)
    return places


def codelength_of(const int32_t[:, ::1] freqs, int precision):
    """Return what pushing the frequencies (n, dims) of each picture would cost, (n,) int64 in units of 2^-16 bits."""
    result = np.empty(freqs.shape[0], np.int64)
    cdef int64_t[::1] out = result
    cdef Py_ssize_t i, k
    cdef int64_t total
    with nogil:
        for i in range(freqs.shape[0]):
            total = freqs.shape[1] * (<int64_t>precision << CODELENGTH_FRAC)
            for k in range(freqs.shape[1]):
                total -= log2_fixed(freqs[i, k])
            out[i] = total
    return result
