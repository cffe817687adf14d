"""Matrices of integers lie in a stream of rANS under distributions that every machine computes to the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.core.codelengths import codelengths
from mcbits.core.table import leaky_cdf, table_intervals, table_pop
from mcbits.core.uniform import uniform_pop
from mcbits.exact import functions

LN2 = 6.93147180559945309417e-01
PRECISION, HEAD, WORD = 20, 32, 8
CLASS, SHAPE = 4, 8
"""Classes a doubling of the scale, and shape exponents a unit."""

LOW_CLASS, CLASSES, WIDE, LONGEST = 16, 128, 5, 11
"""The class of scale 1; the number of classes; bits that a scale, and those that the largest symbol, may have without
low bits."""

MAX_STEP = 53
"""Most bits that a step takes from an integer."""

SHAPES = (6, 8, 10, 12, 16)
"""Shape exponents that packing tries, in units of 1 / SHAPE: 8 is Laplace's, 16 is Gauss's."""

_LENGTHS = np.array([[[0, *range(8, 65)]]])
_I64 = NDArray[np.int64]


def written_matrix(matrix: _I64) -> Writer:
    """Return what the matrix is written as: with or without steps and scales of its own for each row and column."""
    options = []
    for steps in _steps(matrix):
        lowered = matrix >> steps[0][:, None] + steps[1]
        for by_row, by_column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            if by_row < len(matrix) and by_column < matrix.shape[1]:
                writer = Writer()
                for vector in steps:
                    writer.vector(vector)
                _write_matrix(writer, lowered, by_row, by_column)
                options.append(writer)
    return min(options, key=lambda writer: writer.cost)


def read_matrix(reader: Reader, rows: int, columns: int) -> _I64:
    """Return the matrix that `written_matrix` wrote. Raises ValueError if the stream is damaged."""
    steps = [reader.vector(n) for n in (rows, columns)]
    step = steps[0][:, None] + steps[1]
    if min(map(np.min, steps)) < 0 or step.max() > MAX_STEP:
        raise ValueError("steps")
    matrix = _read_matrix(reader, rows, columns)
    if int(np.abs(matrix).max()) << int(step.max()) >= 1 << 62:
        raise ValueError("size")
    return matrix << step


def _steps(matrix: _I64) -> list[tuple[_I64, _I64]]:
    """Return steps (rows, columns) that may be taken out of a matrix: none, and as many as there are."""
    zeros = (np.zeros(len(matrix), np.int64), np.zeros(matrix.shape[1], np.int64))
    exponent = np.where(matrix == 0, MAX_STEP, functions.log2(np.maximum(matrix & -matrix, 1)).astype(np.int64))
    columns = exponent.min(axis=0) % MAX_STEP
    rows = (exponent - columns).min(axis=1)
    rows = np.where((matrix == 0).all(axis=1), 0, rows)
    if not columns.any() and not rows.any():
        return [zeros]
    return [zeros, (rows, columns)]


def _write_matrix(writer: Writer, x: _I64, by_row: int, by_column: int) -> None:
    most = int(np.abs(x).max())
    writer.number(most)
    if not most:
        return
    rows, columns = np.zeros(len(x), np.int64), np.zeros(x.shape[1], np.int64)
    size = np.abs(x)
    for _ in range(2 * by_row * by_column or 1):
        if by_row:
            rows = _classes(size, columns, 1)
        if by_column:
            columns = _classes(size, rows, 0)
    for vector in (rows, columns):
        vector -= int(np.median(vector)) if vector.any() else 0
    spread = rows[:, None] + columns
    mean = int(_classes(size.reshape(1, -1), spread.reshape(-1), 1)[0]) + LOW_CLASS
    groups = [(x.reshape(-1)[places], moved) for places, moved in _groups(spread)]

    def cost(chosen: tuple[int, int]) -> int:
        return sum(_cost(part, most, _clamped(chosen[0] + moved), chosen[1]) for part, moved in groups)

    base, shape = min(((mean + moved, shape) for shape in SHAPES for moved in range(-6, 7)), key=cost)
    writer.vector(rows)
    writer.vector(columns)
    writer.number(_folded(base))
    writer.number(shape)
    for places, number in _groups(_clamped(base + spread)):
        writer.symbols(x.reshape(-1)[places], most, number, shape)


def _read_matrix(reader: Reader, rows: int, columns: int) -> _I64:
    most = reader.number()
    x = np.zeros(rows * columns, np.int64)
    if not most:
        return x.reshape(rows, columns)
    spread = reader.vector(rows)[:, None] + reader.vector(columns)
    classes = _clamped(_unfolded(reader.number()) + spread)
    shape = reader.number()
    if not 0 < shape < 64:
        raise ValueError("shape")
    for places, number in _groups(classes):
        x[places] = reader.symbols(len(places), most, number, shape)
    return x.reshape(rows, columns)


def _classes(size: _I64, others: _I64, axis: int) -> _I64:
    """Return the class of the mean magnitude of each row (axis 1) or column (axis 0), beside that of the other axis."""
    scale = functions.exp(others * (-LN2 / CLASS))
    # In integers, whose sums do not depend on their order.
    sums = np.rint(size * (scale if axis else scale[:, None]) * 2.0**12).astype(np.int64).sum(axis=axis)
    mean = np.maximum(sums, 1) / (size.shape[axis] * 2.0**12)
    return np.maximum(np.rint(functions.log2(mean) * CLASS), -LOW_CLASS).astype(np.int64)


def _clamped(classes: Any) -> Any:
    return np.clip(classes, 0, CLASSES - 1)


def _groups(classes: _I64) -> Iterator[tuple[_I64, int]]:
    """Yield the positions of the elements of each class, from the smallest class on, and the class."""
    flat = classes.reshape(-1)
    order = np.argsort(flat, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(flat[order])) + 1):
        yield part, int(flat[part[0]])


# Numbers


def _low_bits(most: int, number: int) -> int:
    return max(0, (number - LOW_CLASS) // CLASS - WIDE, most.bit_length() - LONGEST)


@lru_cache(512)
def _cdf(most: int, number: int, shape: int) -> NDArray[np.uint32]:
    """Return the cdf of the upper bits -n ... n of a number of this class."""
    low = _low_bits(most, number)
    n = (most + (1 << low >> 1)) >> low
    x = functions.log2(np.arange(1, n + 1, dtype=np.float64)) - ((number - LOW_CLASS) / CLASS - low)
    tail = functions.exp(-functions.exp(x * (LN2 * (shape / SHAPE)))) * 2.0**30
    weights = np.concatenate([tail[::-1], [2.0**30], tail]).astype(np.uint64)
    return leaky_cdf(weights.reshape(1, -1), PRECISION)[None]


def _cost(x: _I64, most: int, number: int, shape: int) -> int:
    """Return the codelength of numbers of one class, in units of 2^-16 bits."""
    cdf, low = _cdf(most, number, shape)[0, 0].astype(np.int64), _low_bits(most, number)
    upper = (x + (1 << low >> 1)) >> low
    counts = np.bincount(upper + len(cdf) // 2 - 1, minlength=len(cdf) - 1)
    lengths = codelengths(np.diff(cdf).astype(np.uint64), PRECISION)
    return int((counts * lengths).sum()) + (low * len(x) << 16)


def _folded(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _unfolded(value: int) -> int:
    return -(value + 1 >> 1) if value & 1 else value >> 1


class Writer:
    """Numbers in the order in which a reader pops them, and `cost`, their codelength in units of 2^-16 bits."""

    def __init__(self) -> None:
        self.cost = 0
        self._pushes: list[tuple[NDArray[np.uint64], NDArray[np.uint64], int]] = []

    def extend(self, other: Writer) -> None:
        self._pushes += other._pushes
        self.cost += other.cost

    def data(self) -> bytes:
        """Return the bytes of the stream."""
        stack = Stack.from_words([1 << HEAD], [[]], HEAD, WORD)
        for start, freq, precision in reversed(self._pushes):
            stack.push(start, freq, precision)
        head = int(stack.heads[0]).to_bytes((HEAD + WORD) // 8, "little")
        return head + stack.tail(0).astype(np.uint8).tobytes()

    def number(self, value: int) -> None:
        """Write an integer from 0 to 2^56 - 1."""
        length = value.bit_length()
        self._push([0 if not length else length + 7], [8 if not length else 1], 6)
        self._low(np.array([value]), max(0, length - 1))

    def vector(self, x: _I64) -> None:
        """Write integers: the one in the middle, and what the others are beyond it."""
        middle = int(np.sort(x)[len(x) // 2])
        self.number(_folded(middle))
        x = x - middle
        most = int(np.abs(x).max())
        self.number(most)
        if most:
            number = min(range(CLASSES), key=lambda number: _cost(x, most, number, SHAPE))
            self.number(number)
            self.symbols(x, most, number, SHAPE)

    def symbols(self, x: _I64, most: int, number: int, shape: int) -> None:
        """Write integers of one class, of magnitude at most `most`."""
        cdf, low = _cdf(most, number, shape), _low_bits(most, number)
        half = 1 << low >> 1
        upper = (x + half) >> low
        symbols = (upper + cdf.shape[2] // 2 - 1).astype(np.int32).reshape(1, -1, 1)
        start, freq = table_intervals(cdf, symbols)
        self._push(start, freq, PRECISION)
        self._low(x - (upper << low) + half, low)

    def _low(self, x: _I64, bits: int) -> None:
        for low in range(0, bits, 16):
            width = min(16, bits - low)
            self._push(x >> low & (1 << width) - 1, np.ones(len(x)), width)

    def _push(self, start: Any, freq: Any, precision: int) -> None:
        start, freq = (np.asarray(x).astype(np.uint64).reshape(1, -1) for x in (start, freq))
        self._pushes.append((start, freq, precision))
        self.cost += int(codelengths(freq[0], precision).sum())


class Reader:
    """The stream of a packed model. It gives at most so many elements, entries of tables included."""

    def __init__(self, data: bytes, elements: int) -> None:
        size = (HEAD + WORD) // 8
        words = np.frombuffer(data[size:], np.uint8).astype(np.uint64)
        self._stack = Stack.from_words([int.from_bytes(data[:size], "little")], [words], HEAD, WORD)
        self._left = elements

    def take(self, elements: int) -> None:
        """Raise ValueError if there are no more so many elements."""
        self._left -= elements
        if self._left < 0:
            raise ValueError("elements")

    def end(self) -> None:
        """Raise ValueError unless all has been read."""
        if int(self._stack.heads[0]) != 1 << HEAD or len(self._stack.tail(0)):
            raise ValueError("end")

    def number(self) -> int:
        length = int(self._popped(self._stack.pop(_LENGTHS, 6))[0])
        return int(self._low(1, length - 1)[0]) | 1 << length - 1 if length else 0

    def vector(self, size: int) -> _I64:
        self.take(size)
        middle = _unfolded(self.number())
        if not (most := self.number()):
            return np.full(size, middle, np.int64)
        number = self.number()
        if number >= CLASSES or max(abs(middle), most) >= 1 << 55:
            raise ValueError("class")
        x: _I64 = middle + self.symbols(size, most, number, SHAPE)
        return x

    def symbols(self, size: int, most: int, number: int, shape: int) -> _I64:
        low = _low_bits(most, number)
        self.take(2 * ((most + (1 << low >> 1)) >> low) + 1)
        cdf = _cdf(most, number, shape)
        symbols = self._popped(table_pop(self._stack, cdf, size, PRECISION)).astype(np.int64)
        upper = symbols - (cdf.shape[2] // 2 - 1)
        x: _I64 = (upper << low) - (1 << low >> 1) + self._low(size, low)
        return x

    def _low(self, size: int, bits: int) -> _I64:
        x = np.zeros(size, np.int64)
        for low in range(0, bits, 16):
            width = min(16, bits - low)
            x |= self._popped(uniform_pop(self._stack, np.full((1, size), 1 << width, np.int64), width)) << low
        return x

    def _popped(self, symbols: NDArray[Any]) -> NDArray[Any]:
        if self._stack.drawn:
            raise ValueError("no more words")
        return symbols.reshape(-1)
