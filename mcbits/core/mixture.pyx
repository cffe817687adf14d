"""A distribution over many symbols is never tabulated: its cdf is evaluated where it is asked for, and the same on both sides.

Shapes: L lanes, M dimensions, P parameters of each dimension.
"""

from libc.stdint cimport int32_t, uint64_t

import numpy as np

from mcbits._rans cimport Lane, RansBits, Stack
from mcbits.core.lanes cimport LanesJob, begin, each_lane
from mcbits.core.numerics cimport LOGISTIC, POWER
from mcbits.core.simd cimport wide
from mcbits.errors import DataError

cdef extern from "core/mixture.h" nogil:
    enum:
        MIXTURE_MOST
        CATEGORICAL_MOST
        FAMILY_LOGISTIC
        FAMILY_BERNOULLI
        FAMILY_CATEGORICAL
    ctypedef struct FamilyJob:
        LanesJob common
        FamilySpec family
        const int32_t *parameters
        int32_t base
        int32_t *out
    void family_interval(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t k, int32_t *start, int32_t *freq)
    Py_ssize_t family_find(const FamilySpec *f, const int32_t *parameters, int32_t base, int32_t q)
    void family_pop_lanes(void *job, Py_ssize_t first, Py_ssize_t end, int thread) noexcept

_FAMILIES = {"logistic": FAMILY_LOGISTIC, "bernoulli": FAMILY_BERNOULLI, "categorical": FAMILY_CATEGORICAL}


cdef class Family:
    """Family(name, K, M=1, unit=0): distributions over 0 ... K - 1 of one of three kinds.

    name: "logistic", a mixture of M logistics whose means and scales are in units of 2^unit symbols; "bernoulli", with K 2; or
    "categorical". Raises ValueError for what is none of these or too large.
    """

    def __cinit__(self, name, K, M=1, unit=0):
        self.spec.family, self.spec.K, self.spec.M, self.spec.unit = _FAMILIES[name], K, M, unit
        self.spec.logistic, self.spec.power = LOGISTIC, POWER
        if not (2 <= K <= 1 << 16 and 1 <= M <= MIXTURE_MOST and -8 <= unit <= 16):
            raise ValueError(f"expected 2 to 65536 symbols, 1 to {MIXTURE_MOST} logistics and a unit of -8 to 16, got {K}, {M}, {unit}")
        if (name == "categorical" and K > CATEGORICAL_MOST) or (name == "bernoulli" and K != 2):
            raise ValueError(f"{K} symbols are too many for a {name} distribution")

    cdef FamilySpec at(self, int precision) except *:
        cdef FamilySpec spec = self.spec
        if not (1 <= precision <= 30 and spec.K <= 1 << precision):
            raise DataError(f"{spec.K} symbols do not fit in precision {precision}")
        spec.wide, spec.whole, spec.spare = wide, 1 << precision, (1 << precision) - spec.K
        return spec

    @property
    def num_symbols(self):
        """K."""
        return self.spec.K

    @property
    def num_parameters(self):
        """Numbers that describe one distribution: 3 M (all logits, all means, all log-scales), 1 or K."""
        return family_parameters(&self.spec)

    def intervals(self, const int32_t[:, ::1] parameters, int base, const int32_t[::1] symbols, int precision):
        """Return cdf and frequency, (n,) int32 each, of symbols (n,) under parameters (n, P) in units of 2^-8.

        Logits and log-scales are to base 2. base: what means are relative to. Raises DataError for a symbol beyond K - 1.
        """
        cdef FamilySpec spec = self.at(precision)
        cdef Py_ssize_t i, n = symbols.shape[0]
        starts, freqs = np.empty(n, np.int32), np.empty(n, np.int32)
        cdef int32_t[::1] start = starts, freq = freqs
        if n == 0:
            return starts, freqs
        if parameters.shape[0] != n or parameters.shape[1] != family_parameters(&spec):
            raise DataError(f"{n} symbols meet parameters of shape {np.shape(parameters)}")
        if np.min(symbols) < 0 or np.max(symbols) >= spec.K:
            raise DataError(f"a symbol is outside 0 ... {spec.K - 1}")
        with nogil:
            for i in range(n):
                family_interval(&spec, &parameters[i, 0], base, symbols[i], &start[i], &freq[i])
        return starts, freqs

    def inverse(self, const int32_t[:, ::1] parameters, int base, const uint64_t[::1] quantiles, int precision):
        """Return the symbol, (n,) int32, whose interval holds each quantile (n,) below 2^precision."""
        cdef FamilySpec spec = self.at(precision)
        cdef Py_ssize_t i, n = quantiles.shape[0]
        result = np.empty(n, np.int32)
        cdef int32_t[::1] out = result
        if parameters.shape[0] != n or parameters.shape[1] != family_parameters(&spec):
            raise DataError(f"{n} quantiles meet parameters of shape {np.shape(parameters)}")
        with nogil:
            for i in range(n):
                out[i] = <int32_t>family_find(&spec, &parameters[i, 0], base, <int32_t>quantiles[i])
        return result

    def pop(self, Stack stack, const int32_t[:, :, ::1] parameters, int base, int precision):
        """Pop and return one symbol (L, M) int32 under each of the parameters (L, M, P), the first one of a lane first.

        Raises StackError for a precision or a number of lanes that the stack does not have.
        """
        cdef FamilyJob job
        cdef Py_ssize_t L = parameters.shape[0], M = parameters.shape[1]
        begin(&job.common, stack, precision, L, 1, M)
        job.family, job.base = self.at(precision), base
        result = np.empty((L, M), np.int32)
        if result.size == 0:
            return result
        if parameters.shape[2] != family_parameters(&job.family):
            raise DataError(f"expected {family_parameters(&job.family)} parameters a dimension, got {parameters.shape[2]}")
        cdef int32_t[:, ::1] out = result
        job.parameters, job.out = &parameters[0, 0, 0], &out[0, 0]
        with nogil:
            each_lane(L, family_pop_lanes, &job.common)
        return result
