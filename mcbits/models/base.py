"""A model is a torch network that draws particles z ~ q(z|x), computes p(x, z) for them, and can be frozen."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.errors import ModelError
from mcbits.latents.frozen import FrozenModel
from mcbits.observations.base import ObservationModel
from mcbits.plugins.registry import registry


class Model(nn.Module):
    """A model as training, evaluation and bounds see it, built in or from a plugin.

    A subclass is constructed by `cls(shape=..., latent_dim=...)`. It adds further arguments to `get_config`.
    """

    name: ClassVar[str]
    sequences: ClassVar[bool] = False
    """Whether an x is a sequence of frames, padded as in `mcbits.latents.sequences`.

    Then the first size of `shape` is the number of frames of the longest sequence.
    """

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int, observation: ObservationModel) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.observation = observation

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON only: `cls(**model.get_config())` has the same architecture."""
        return {"shape": list(self.shape), "latent_dim": self.latent_dim}

    @classmethod
    def from_published(cls, state_dict: dict[str, Tensor]) -> Self:
        """Return the model of a published `model.pt`. Raises ModelError if its tensors are of another architecture."""
        raise ModelError(f"there are no published checkpoints of {cls.name}; train one with mcbits train")

    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Set parameters from the training data before training. By default, do nothing.

        images: uint8 (n, prod(shape)). levels: the value in `images` that means 1.
        """

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
