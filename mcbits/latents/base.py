"""What a coder sees of a network: discretised distributions, the same bits for the encoder and the decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.distributions import Distribution
from mcbits.distributions.base import Repeatable
from mcbits.errors import UsageError


class LatentModel(ABC):
    """p(z), p(x|z) and q(z|x) of a latent-variable model (Ruan et al. 2021, section 2).

    Symbols are integers: x (lanes, dims of x) and z (lanes, dims of z), or z (lanes, particles, dims of z).
    """

    index_precision: int
    """Bits of precision for the choice of a particle."""

    sequence: SequenceModel | None = None
    """The same model frame by frame, if x is a sequence."""

    max_lanes: ClassVar[int | None] = None
    """How many x can be coded in one step; None where the stack alone decides."""

    trial_size: ClassVar[int] = 32
    """How many x tell what coding one costs."""

    def steps(self, x: NDArray[Any], lanes: int) -> Iterator[tuple[NDArray[Any], LatentModel]]:
        """Yield for each step of a block what is coded, (lanes, dims), of x (n, dims), and the model that codes it.

        A model may look ahead here, and compute for all x at once what its `posterior` will be asked for.
        """
        for first in range(0, len(x), lanes):
            yield x[first : first + lanes], self

    def lengths(self, x: NDArray[np.integer]) -> list[int]:
        """Return what a decoder must be told of the size of each x (n, dims): frames of a sequence; else nothing."""
        return []

    def of_length(self, length: int) -> LatentModel:
        """Return the model of an x of so many frames. UsageError where x has one size."""
        raise UsageError("the model's images have one size, and the block says lengths: it was made with another model")

    @abstractmethod
    def prior(self, lanes: int) -> Repeatable:
        """p(z), shape (lanes, dims of z)."""

    @abstractmethod
    def posterior(self, x: NDArray[np.integer]) -> Repeatable:
        """The proposal q(z|x), shape (lanes, dims of z)."""

    @abstractmethod
    def likelihood(self, z: NDArray[np.integer]) -> Any:
        """p(x|z), shape (lanes, dims of x), or (lanes, particles, dims of x) with a method `particle(j)` that picks
        one."""

    def joint(self, z: NDArray[np.integer]) -> Joint:
        """p(x, z) at these z, as a function of x."""
        return PriorTimesLikelihood(self.prior(len(z)), self.likelihood(z), z)

    def pop(self, stack: Stack) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """z (lanes, dims of z) and x (lanes, dims of x) from p(x, z): what `joint(z).push(stack, x)` pushed."""
        z = self.prior(stack.lanes).pop(stack)
        return z, self.likelihood(z).pop(stack)


class Joint(Protocol):
    """p(x, z) at given z (lanes, dims of z) or (lanes, particles, dims of z)."""

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        """-log2 p(x, z), (lanes,) or (lanes, particles), in units of 2^-16 bits."""

    def particle(self, j: NDArray[np.integer]) -> Joint:
        """At the one particle j (lanes,) of each lane."""

    def push(self, stack: Stack, x: NDArray[np.integer]) -> None:
        """Push x with p(x|z) and z with p(z); z must be one a lane."""


class PriorTimesLikelihood:
    """The Joint of a model whose p(z) knows nothing of x."""

    def __init__(self, p_z: Repeatable, p_x: Any, z: NDArray[np.integer]):
        self._p_z, self._p_x, self._z = p_z, p_x, z

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self._p_z.total_codelength(self._z) + self._p_x.total_codelength(x)
        return total

    def particle(self, j: NDArray[np.integer]) -> PriorTimesLikelihood:
        return PriorTimesLikelihood(self._p_z, self._p_x.particle(j), self._z[np.arange(len(j)), j])

    def push(self, stack: Stack, x: NDArray[np.integer]) -> None:
        self._p_x.push(stack, x)
        self._p_z.push(stack, self._z)


class SequenceModel(Protocol):
    """p(z_t|state), p(x_t|z_t, state), q(z_t|x_t, state) of frames t = 1 ... T, where the state has read all x and z
    before t.

    Everything comes in rows, independent of each other: a state is an integer array (rows, size), x_t and z_t are
    (rows, dims), and so are the distributions.
    """

    index_precision: int
    num_frames: int
    """T of the sequence at hand; at first of the longest."""

    def of_length(self, num_frames: int) -> SequenceModel:
        """Return the same for a sequence of so many frames."""

    def start(self, rows: int) -> NDArray[np.integer]:
        """The state before the first frame."""

    def prior(self, state: NDArray[np.integer]) -> Distribution:
        """p(z_t|state)."""

    def posterior(self, state: NDArray[np.integer], x_t: NDArray[np.integer]) -> Distribution:
        """The proposal q(z_t|x_t, state)."""

    def likelihood(self, state: NDArray[np.integer], z_t: NDArray[np.integer]) -> Distribution:
        """p(x_t|z_t, state)."""

    def advance(
        self, state: NDArray[np.integer], x_t: NDArray[np.integer], z_t: NDArray[np.integer]
    ) -> NDArray[np.integer]:
        """The state that has also read x_t and z_t."""
