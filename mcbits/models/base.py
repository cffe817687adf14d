"""A model is a torch network that draws particles z ~ q(z|x), weighs them by p(x, z), and can be frozen."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.errors import ModelError
from mcbits.latents.frozen import FrozenModel
from mcbits.observations.base import ObservationModel


class Model(nn.Module):
    """What training, evaluation and bounds see of a model, built in or from a plugin.

    A subclass is constructed by `cls(shape=..., latent_dim=...)` and adds what else it needs to `get_config`.
    """

    name: ClassVar[str]
    sequences: ClassVar[bool] = False
    """Whether an x is a sequence of frames, padded as in `mcbits.latents.sequences`, `shape` beginning with the most
    frames."""

    def __init__(self, *, shape: tuple[int, ...], latent_dim: int, observation: ObservationModel) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.observation = observation

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, JSON only: `cls(**model.get_config())` has the same architecture."""
        return {"shape": list(self.shape), "latent_dim": self.latent_dim}

    @classmethod
    def from_published(cls, state_dict: dict[str, Tensor]) -> Self:
        """The model of a published `model.pt`; ModelError if its tensors are not this architecture's."""
        raise ModelError(f"there are no published checkpoints of {cls.name}; train one with mcbits train")

    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Start from the data: uint8 (n, prod(shape)), where `levels` stands for one. By default nothing uses it."""

    @abstractmethod
    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        """log p(x, z_i) and log q(z_i|x) in nats, each (B, N), of z_1..z_N ~ q(z|x), differentiable.

        x: float (B, prod(shape)) of symbols. coupled: one uniform drives all particles of an image (Ruan et al. 2021,
        coupled importance sampling; see `mcbits.distributions.coupling`), so that each z_i alone is a draw from q.
        """

    def log_weights(self, x: Tensor, num_particles: int, coupled: bool = False) -> Tensor:
        """log w_i = log p(x, z_i) - log q(z_i|x) in nats, (B, N), differentiable; Burda et al. 2016, eq. 8."""
        log_joint, log_q = self.particles(x, num_particles, coupled)
        return log_joint - log_q

    @abstractmethod
    def freeze(self, backend: str = "numpy") -> FrozenModel:
        """The same model in integers; FreezeError where a layer has no exact form."""

    def units(self, images: Tensor) -> np.ndarray:
        """What rates are counted by, (n,), of images (n, prod(shape)): dims, or frames where x is a sequence."""
        return np.full(len(images), math.prod(self.shape))


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats, summed over the last axis."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def normal_noise(batch: int, num_particles: int, num_dims: int, like: Tensor, coupled: bool) -> Tensor:
    """Standard normal (batch, N, num_dims): independent, or Phi^-1((u + s_i) mod 1) of one uniform u per image and the
    fixed shifts s_i of `mcbits.distributions.coupling`."""
    if not coupled:
        return torch.randn((batch, num_particles, num_dims), dtype=like.dtype, device=like.device)
    from mcbits.distributions.coupling import shifts

    s = torch.as_tensor(shifts(num_particles, num_dims), dtype=torch.float64, device=like.device)
    u = torch.rand(batch, 1, num_dims, dtype=torch.float64, device=like.device)
    # Half a step of the float64 uniform's grid, so that 0 has a finite quantile; the largest value has one.
    shifted = ((u + s) % 1.0).clamp(min=2.0**-54)
    noise: Tensor = torch.special.ndtri(shifted)
    return noise.to(like.dtype)
