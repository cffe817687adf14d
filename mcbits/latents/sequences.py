"""A sequence is T frames, then padding, in an array of fixed size. Its frames x_t are one x and its z_t are one z."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcbits._rans import Stack
from mcbits.distributions import Distribution
from mcbits.distributions.base import Repeatable, draws
from mcbits.errors import DataError, UsageError
from mcbits.latents.base import LatentModel, SequenceModel

PADDING = 255
"""The value of every symbol of the frames after the end of a sequence."""


def lengths(sequences: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the number of frames T, (n,), of each of the sequences (n, frames, *dims of a frame).

    Raises DataError unless each sequence has one frame or more, followed only by padding.
    """
    there = (sequences.reshape(*sequences.shape[:2], -1) != PADDING).any(axis=2)
    T: NDArray[np.int64] = there.sum(axis=1)
    if not np.array_equal(there, np.arange(there.shape[1]) < T[:, None]) or not T.all():
        raise DataError(f"a sequence must be one frame or more, and then only frames that are {PADDING} throughout")
    return T


def symbols(images: NDArray[np.integer], sequences: bool) -> NDArray[np.integer]:
    """Return the symbols of images (n, *shape) that are coded: all, or, for sequences, a 1-d array without padding."""
    return images[images != PADDING] if sequences else images


def pad(sequences: list[NDArray[np.uint8]], num_frames: int) -> NDArray[np.uint8]:
    """Return sequences, each (frames, *dims of a frame), padded or cut to (n, num_frames, *dims of a frame)."""
    padded = np.full((len(sequences), num_frames, *sequences[0].shape[1:]), PADDING, np.uint8)
    for row, sequence in zip(padded, sequences, strict=True):
        part = sequence[:num_frames]
        row[: len(part)] = part
    return padded


class SequenceLatents(LatentModel):
    """A SequenceModel as the LatentModel of whole sequences: x (lanes, T * dims of x_t), z (lanes, T * dims of z_t).

    The prior of z_t depends on the frames before t. So there is no `prior` and no `likelihood` of a whole sequence,
    only their product `joint`.
    """

    max_lanes = 1
    trial_size = 4

    def __init__(self, model: SequenceModel):
        self.sequence: SequenceModel = model
        self.index_precision = model.index_precision

    def steps(self, x: NDArray[Any], lanes: int) -> Iterator[tuple[NDArray[Any], LatentModel]]:
        """Yield, for each step, one sequence (1, T * dims of x_t) without padding, and the model of its length."""
        for sequence, T in zip(self._frames(x), self.lengths(x), strict=True):
            yield sequence[:T].reshape(1, -1), self.of_length(T)

    def lengths(self, x: NDArray[np.integer]) -> list[int]:
        """Return the number of frames of each sequence in x (n, frames * dims of x_t), which includes padding."""
        T: list[int] = lengths(self._frames(x)).tolist()
        return T

    def layout(self, num_images: int, lanes: int, lengths: list[int]) -> list[tuple[int, LatentModel]]:
        return [(1, self.of_length(T)) for T in lengths]

    def of_length(self, length: int) -> "SequenceLatents":
        """Return the model of a sequence of `length` frames."""
        return SequenceLatents(self.sequence.of_length(length))

    def _frames(self, x: NDArray[np.integer]) -> NDArray[np.integer]:
        return x.reshape(len(x), self.sequence.num_frames, -1)

    def prior(self, lanes: int) -> Repeatable:
        """Raise UsageError: sequences have no prior without x."""
        raise UsageError("this coder codes single images, but the model is for sequences: choose another coder")

    def likelihood(self, z: NDArray[np.integer]) -> Distribution:
        """Raise UsageError: sequences have no likelihood apart from the prior."""
        return self.prior(len(z))

    def posterior(self, x: NDArray[np.integer]) -> "Trajectories":
        """Return q(z|x) = prod_t q(z_t|x_t, state) for x (lanes, T * dims of x_t)."""
        return Trajectories(self.sequence, x)

    def joint(self, z: NDArray[np.integer]) -> "TrajectoryJoint":
        """Return p(x, z) = prod_t p(x_t|z_t, state) p(z_t|state) for z (..., T * dims of z_t)."""
        return TrajectoryJoint(self.sequence, z)

    def pop(self, stack: Stack) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Pop z_1, x_1, z_2, x_2, ... and return z (lanes, T * dims of z_t) and x (lanes, T * dims of x_t)."""
        model, z, x = self.sequence, [], []
        state = model.start(stack.lanes)
        for _ in range(model.num_frames):
            z.append(model.prior(state).pop(stack))
            x.append(model.likelihood(state, z[-1]).pop(stack))
            state = model.advance(state, x[-1], z[-1])
        return np.concatenate(z, axis=1), np.concatenate(x, axis=1)


class Trajectories(Repeatable):
    """The proposal q(z|x) over z (lanes, T * dims of z_t), frame by frame; the frames before t give the state of t."""

    def __init__(self, model: SequenceModel, x: NDArray[np.integer]):
        self._model = model
        self._x = x.reshape(len(x), model.num_frames, -1)
        first = model.posterior(model.start(len(x)), self._x[:, 0])
        self.precision, self.num_symbols = first.precision, first.num_symbols
        self.shape = (len(x), model.num_frames * first.shape[1])

    def pop_draws(self, stack: Stack, draws: int) -> NDArray[np.int32]:
        lanes = stack.lanes
        return self._walk(draws, lambda t, q: q.in_lanes(lanes).pop(stack).reshape(q.shape))

    def push(self, stack: Stack, symbols: ArrayLike) -> None:
        start, freq = (self._in_order(each) for each in self._intervals(draws(symbols)))
        stack.push(start, freq, self.precision)

    def intervals(self, symbols: ArrayLike) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        start, freq = self._intervals(draws(symbols))
        return start.reshape(np.shape(symbols)), freq.reshape(np.shape(symbols))

    def inverse(self, quantiles: ArrayLike) -> NDArray[np.int32]:
        u = self._frames(draws(quantiles, np.uint64))
        return self._walk(u.shape[1], lambda t, q: q.inverse(u[:, :, t].reshape(q.shape))).reshape(np.shape(quantiles))

    def _intervals(self, z: NDArray[np.int32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        given, found = self._frames(z), []

        def look(t: int, q: Distribution) -> NDArray[np.int32]:
            z_t = np.ascontiguousarray(given[:, :, t].reshape(q.shape))
            found.append(q.intervals(z_t))
            return z_t

        self._walk(z.shape[1], look)
        start, freq = (np.stack(each, axis=1).reshape(z.shape) for each in zip(*found, strict=True))
        return start, freq

    def _walk(self, draws: int, draw: Callable[[int, Distribution], NDArray[np.int32]]) -> NDArray[np.int32]:
        model, lanes, z = self._model, self.shape[0], []
        state = model.start(lanes * draws)
        for t in range(model.num_frames):
            x_t = np.repeat(self._x[:, t], draws, axis=0)
            z.append(draw(t, model.posterior(state, x_t)))
            state = model.advance(state, x_t, z[-1])
        return np.stack(z, axis=1).reshape(lanes, draws, self.shape[1])

    def _frames(self, z: NDArray[np.generic]) -> NDArray[np.generic]:
        return z.reshape(*z.shape[:2], self._model.num_frames, self.shape[1] // self._model.num_frames)

    def _in_order(self, each: NDArray[np.uint64]) -> NDArray[np.uint64]:
        # The order of `pop_draws`: the first frame of all particles, then the second frame of all, and so on.
        return np.ascontiguousarray(self._frames(each).swapaxes(1, 2)).reshape(len(each), each[0].size)


class TrajectoryJoint:
    """The Joint p(x, z) at z (lanes, T * dims of z_t) or (lanes, particles, T * dims of z_t)."""

    def __init__(self, model: SequenceModel, z: NDArray[np.integer]):
        self._model, self._shape = model, z.shape[:-1]
        self._z = np.ascontiguousarray(z.reshape(-1, model.num_frames, z.shape[-1] // model.num_frames))

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        total = np.zeros(len(self._z), np.int64)
        for p_z, p_x, z_t, x_t in self._walk(x):
            total += p_z.total_codelength(z_t) + p_x.total_codelength(x_t)
        return total.reshape(self._shape)

    def particle(self, j: NDArray[np.integer]) -> "TrajectoryJoint":
        z = self._z.reshape(*self._shape, -1)
        return TrajectoryJoint(self._model, z[np.arange(len(j)), j])

    def push(self, stack: Stack, x: NDArray[np.integer]) -> None:
        for p_z, p_x, z_t, x_t in reversed(self._walk(x)):
            p_x.push(stack, x_t)
            p_z.push(stack, z_t)

    def _walk(
        self, x: NDArray[np.integer]
    ) -> list[tuple[Distribution, Distribution, NDArray[np.integer], NDArray[np.integer]]]:
        model, steps = self._model, []
        frames = np.repeat(x.reshape(len(x), model.num_frames, -1), len(self._z) // len(x), axis=0)
        state = model.start(len(self._z))
        for t in range(model.num_frames):
            z_t, x_t = np.ascontiguousarray(self._z[:, t]), np.ascontiguousarray(frames[:, t])
            steps.append((model.prior(state), model.likelihood(state, z_t), z_t, x_t))
            state = model.advance(state, x_t, z_t)
        return steps
