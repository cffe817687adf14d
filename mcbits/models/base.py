"""A model is a torch network that draws particles z ~ q(z|x), computes p(x, z) for them, and can be frozen."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.errors import ModelError
from mcbits.latents.frozen import FrozenModel
from mcbits.observations.base import ObservationModel
from mcbits.plugins.options import Options
from mcbits.plugins.registry import registry

BoundOf = Callable[["Model", Tensor, int], Tensor]
"""A bound: from a model, x (B, ...) and the number of particles to nats per image (B,). See `mcbits.bounds.base`."""


class TrainingSet(Protocol):
    """What a model is trained on, as it takes it: `len` is the number of images."""

    def __len__(self) -> int: ...

    def num_batches(self, batch_size: int) -> int:
        """Return the number of batches of one pass."""

    def batches(self, batch_size: int) -> Iterator[Any]:
        """Yield the batches of one pass in a random order; each may overwrite the one before it."""


class Model(nn.Module):
    """A model as training, evaluation and bounds see it, built in or from a plugin.

    A subclass is constructed by `cls(shape=..., latent_dim=...)`. It adds further arguments to `get_config`.
    """

    name: ClassVar[str]
    sequences: ClassVar[bool] = False
    """Whether an x is a sequence of frames, padded as in `mcbits.latents.sequences`.

    Then the first size of `shape` is the number of frames of the longest sequence.
    """
    any_size: ClassVar[bool] = False
    """Whether images may have any size, each its own; `shape` has 0 for their sizes then."""
    options: ClassVar[type[Options]] = Options
    """The options of the model besides shape and latent_dim: fields made with `mcbits.plugins.options.option`.

    Their values are arguments of the constructor."""
    defaults: ClassVar[dict[str, Any]] = {}
    """Keys of a training's config that have another default for this model."""

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int, observation: ObservationModel) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.observation = observation
        self.kl_weight: Tensor | None = None
        """In training, log p(z) - log q(z|x) counts so much; None: 1, as it is. A model without latents ignores it."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON only: `cls(**model.get_config())` has the same architecture."""
        return {"shape": list(self.shape), "latent_dim": self.latent_dim}

    @classmethod
    def from_published(cls, state_dict: dict[str, Tensor]) -> Self:
        """Return the model of a published `model.pt`. Raises ModelError if its tensors are of another architecture."""
        raise ModelError(f"there are no published checkpoints of {cls.name}; train one with mcbits train")

    def initialise_from_data(self, images: Any, levels: int) -> None:
        """Set parameters from the training data before training. By default, do nothing.

        images: uint8 tensor (n, prod(shape)); if sizes are free, as in `training_set`. levels: the value in `images`
        that means 1.
        """

    def training_set(self, images: Any, levels: int | None, device: torch.device) -> TrainingSet:
        """Return images as they are trained on.

        images: uint8 tensor (n, prod(shape)); if sizes are free, the array or the list of arrays of a dataset.
        levels: their white if each is to be binarised anew in each pass, None if they are symbols.
        """
        return ImageSet(images.to(device), levels)

    def loss(self, batch: Any, bound: BoundOf, num_particles: int) -> Tensor:
        """Return the mean loss of a batch of `training_set` in nats, differentiable."""
        return -bound(self, batch, num_particles).mean()

    def test_rate(self, test: TrainingSet) -> float:
        """Return the ideal rate of held-out images in bits per unit; only of a model for any size."""
        raise NotImplementedError

    @abstractmethod
    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        """Draw z_1..z_N ~ q(z|x) and return log p(x, z_i) and log q(z_i|x) in nats, each (B, N), differentiable.

        x: float (B, prod(shape)) of symbols.
        coupled: make all particles of an image from one uniform draw (Ruan et al. 2021, section 3.4; see
        `mcbits.distributions.coupling`). Each z_i alone is still a draw from q.
        """

    def log_weights(self, x: Tensor, num_particles: int, coupled: bool = False) -> Tensor:
        """Return log w_i = log p(x, z_i) - log q(z_i|x) in nats, (B, N), differentiable (Burda et al. 2016, eq. 8)."""
        log_joint, log_q = self.particles(x, num_particles, coupled)
        return log_joint - log_q

    @abstractmethod
    def freeze(self, backend: str = "numpy") -> FrozenModel:
        """Return the same model in integers; `backend` is the backend that computes it.

        Raises FreezeError if a layer has no exact form.
        """

    def units(self, images: Tensor) -> np.ndarray:
        """Return the number of units (n,) of each of the images (n, *shape): dims, or frames if x is a sequence."""
        return np.full(len(images), math.prod(self.shape))


class ImageSet:
    """Whole images, uint8 (n, D), of which each pass takes all. Batches x are float32 (B, D) on the images' device.

    If `levels` is given, they are grey values 0..levels, and each x_d is 1 with probability grey / levels: a new
    binarisation in each pass. If `levels` is None, they are symbols and do not change.
    """

    def __init__(self, images: Tensor, levels: int | None) -> None:
        self._images, self._levels = images, levels

    def __len__(self) -> int:
        return len(self._images)

    def num_batches(self, batch_size: int) -> int:
        return -(-len(self) // batch_size)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        images, levels = self._images, self._levels
        buffer = torch.empty(batch_size, images.shape[1], device=images.device)
        noise = torch.empty_like(buffer)
        for indices in torch.randperm(len(images), device=images.device).split(batch_size):
            grey, x = images.index_select(0, indices), buffer[: len(indices)]
            if levels is None:
                x.copy_(grey)
            else:
                torch.lt(noise[: len(indices)].uniform_(0, levels), grey, out=x)
            yield x


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Return log N(z; 0, I) in nats, summed over the last axis."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def normal_noise(batch: int, num_particles: int, num_dims: int, like: Tensor, coupled: bool) -> Tensor:
    """Return standard normal noise (batch, N, num_dims), with the dtype and device of `like`.

    The particles are independent. With `coupled`, particle i is Phi^-1((u + s_i) mod 1), where u is one uniform draw
    per image and the s_i are the fixed shifts of `mcbits.distributions.coupling`.
    """
    if not coupled:
        return torch.randn((batch, num_particles, num_dims), dtype=like.dtype, device=like.device)
    from mcbits.distributions.coupling import shifts

    s = torch.as_tensor(shifts(num_particles, num_dims), dtype=torch.float64, device=like.device)
    u = torch.rand(batch, 1, num_dims, dtype=torch.float64, device=like.device)
    # The clamp is half a step of the grid of float64 uniforms: 0 then has a finite quantile. The largest value has one
    # anyway.
    shifted = ((u + s) % 1.0).clamp(min=2.0**-54)
    noise: Tensor = torch.special.ndtri(shifted)
    return noise.to(like.dtype)


def find_model(name: str) -> type[Model]:
    """Return the registered torch model class of that name; errors as for `Registry.find`."""
    found: type[Model] = registry().find("model", name)
    return found
