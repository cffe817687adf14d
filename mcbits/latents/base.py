"""A latent model is what a coder sees of a network: distributions that are the same bits for encoder and decoder."""

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
    """The prior p(z), likelihood p(x|z) and proposal q(z|x) of a latent-variable model (Ruan et al. 2021, section 2).

    Symbols are integers: x (lanes, dims of x) and z (lanes, dims of z) or (lanes, particles, dims of z).
    """

    index_precision: int
    """Precision, in bits, of the choice of a particle."""

    sequence: SequenceModel | None = None
    """The same model frame by frame if x is a sequence, else None."""

    max_lanes: ClassVar[int | None] = None
    """Most x that one step can code; None if only the stack limits them."""

    trial_size: ClassVar[int] = 32
    """Number of x that are coded on trial to estimate the cost of one x."""

    def steps(self, x: NDArray[Any], lanes: int) -> Iterator[tuple[NDArray[Any], LatentModel]]:
        """Yield, for each step of a block, the rows of x (n, dims) that it codes and the model that codes them.

        The rows are (lanes, dims); the last step may have fewer. A model without latents may have more rows than lanes,
        and lays them in lanes itself. A model may compute here, for all x at once, what its `posterior` will return.
        """
        for first in range(0, len(x), lanes):
            yield x[first : first + lanes], self

    def lengths(self, x: NDArray[np.integer]) -> list[int]:
        """Return the number of frames of each x (n, dims) if x is a sequence, else an empty list.

        The file stores these numbers, because the decoder needs them.
        """
        return []

    def layout(self, num_images: int, lanes: int, lengths: list[int]) -> list[tuple[int, LatentModel]]:
        """Return, for each step of a block, the number of its images and the model that codes them.

        These are the steps of `steps`, known without x. lengths: what `lengths` returned. Raises UsageError if these do
        not fit the model.
        """
        if lengths:
            raise UsageError("the block has lengths, but the model's images have one size")
        return [(min(lanes, num_images - first), self) for first in range(0, num_images, lanes)]

    @abstractmethod
    def prior(self, lanes: int) -> Repeatable:
        """Return p(z), shape (lanes, dims of z)."""

    @abstractmethod
    def posterior(self, x: NDArray[np.integer]) -> Repeatable:
        """Return the proposal q(z|x) for x (lanes, dims of x), shape (lanes, dims of z)."""

    @abstractmethod
    def likelihood(self, z: NDArray[np.integer]) -> Likelihood:
        """Return p(x|z) for z (lanes, dims of z), shape (lanes, dims of x).

        For z (lanes, particles, dims of z) the shape is (lanes, particles, dims of x), and a method `particle(j)`
        picks one particle of each lane.
        """

    def joint(self, z: NDArray[np.integer]) -> Joint:
        """Return p(x, z) at these z, as a function of x."""
        return PriorTimesLikelihood(self.prior(len(z)), self.likelihood(z), z)

    def pop(self, stack: Stack) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Pop z (lanes, dims of z), then x (lanes, dims of x), and return both: the inverse of `joint(z).push`."""
        z = self.prior(stack.lanes).pop(stack)
        return z, self.likelihood(z).pop(stack)


class Likelihood(Protocol):
    """p(x|z) at z (lanes, dims of z) or (lanes, particles, dims of z): a Distribution, or what answers as one."""

    def total_codelength(self, symbols: NDArray[np.integer], /) -> NDArray[np.int64]:
        """Return -log2 p(x|z) of x (lanes, dims), (lanes,) or (lanes, particles), in units of 2^-16 bits."""

    def codelength(self, symbols: NDArray[np.integer], /) -> NDArray[np.int64]:
        """Return -log2 p(x_d|z) of each dim, (lanes, dims), in units of 2^-16 bits; z must be one a lane."""

    def particle(self, j: NDArray[np.integer], /) -> Likelihood:
        """Return p(x|z) at the one particle j (lanes,) of each lane; UsageError where z is one a lane."""

    def push(self, stack: Stack, symbols: NDArray[np.integer], /) -> None:
        """Push x (lanes, dims); z must be one a lane."""

    def pop(self, stack: Stack, /) -> NDArray[np.signedinteger]:
        """Pop x (lanes, dims); z must be one a lane."""


class Joint(Protocol):
    """The distribution p(x, z) at given z (lanes, dims of z) or (lanes, particles, dims of z)."""

    def total_codelength(self, x: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return -log2 p(x, z) for x (lanes, dims of x), (lanes,) or (lanes, particles), in units of 2^-16 bits."""

    def particle(self, j: NDArray[np.integer]) -> Joint:
        """Return p(x, z) at particle j (lanes,) of each lane."""

    def push(self, stack: Stack, x: NDArray[np.integer]) -> None:
        """Push x (lanes, dims of x) with p(x|z), then z with p(z). There must be one z for each lane."""


class PriorTimesLikelihood:
    """The Joint p(z) p(x|z) of a model whose prior does not depend on x."""

    def __init__(self, p_z: Repeatable, p_x: Likelihood, z: NDArray[np.integer]):
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
    """The distributions p(z_t|state), p(x_t|z_t, state) and q(z_t|x_t, state) of the frames t = 1 ... T.

    The state depends on all x and z before t. All arrays have rows that are independent of each other: a state is an
    integer array (rows, size); x_t, z_t and the distributions are (rows, dims).
    """

    index_precision: int
    """Precision, in bits, of the choice of a particle."""

    num_frames: int
    """T of the sequence that is coded; before `of_length`, T of the longest sequence."""

    def of_length(self, num_frames: int) -> SequenceModel:
        """Return the same model for a sequence of `num_frames` frames."""

    def start(self, rows: int) -> NDArray[np.integer]:
        """Return the state before the first frame, (rows, size)."""

    def prior(self, state: NDArray[np.integer]) -> Distribution:
        """Return p(z_t|state), shape (rows, dims of z_t)."""

    def posterior(self, state: NDArray[np.integer], x_t: NDArray[np.integer]) -> Distribution:
        """Return the proposal q(z_t|x_t, state), shape (rows, dims of z_t)."""

    def likelihood(self, state: NDArray[np.integer], z_t: NDArray[np.integer]) -> Distribution:
        """Return p(x_t|z_t, state), shape (rows, dims of x_t)."""

    def advance(
        self, state: NDArray[np.integer], x_t: NDArray[np.integer], z_t: NDArray[np.integer]
    ) -> NDArray[np.integer]:
        """Return the state after x_t and z_t, (rows, size)."""
