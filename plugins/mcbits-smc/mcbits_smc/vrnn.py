"""A VRNN is p(z_t|h_t), p(x_t|z_t, h_t), q(z_t|x_t, h_t) and an LSTM with a state h_t of all x and z before t."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC
from mcbits.exact.fixed import FixedPoint
from mcbits.latents.sequences import PADDING, lengths
from mcbits.models.base import Model, normal_noise, standard_normal_log_prob
from mcbits.observations.bernoulli import BernoulliObservation
from mcbits_smc.frozen_vrnn import FrozenVRNN

STATE_FRAC = 10
"""Fractional bits of the frozen h and c."""

MAX_CELL = 16
"""Largest magnitude of the frozen c, which is clamped to it."""

MAX_MEAN, MAX_SCALE = 4.0, 2.0
"""Bounds of mean and scale of the learned prior, which keep the bounds of its frozen form small."""


class Latent(nn.Module):
    """A network (h, e) -> z = mean(h) + scale(h) e; if e is standard normal, z is a draw from the prior p(z_t|h_t)."""

    def __init__(self, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh())
        self.mean = nn.Sequential(nn.Linear(hidden, latent_dim), nn.Tanh())
        self.scale = nn.Sequential(nn.Linear(hidden, latent_dim), nn.Sigmoid())

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        prior = self.trunk(h)
        z: Tensor = self.mean(prior) * MAX_MEAN + self.scale(prior) * MAX_SCALE * e
        return z


class Proposal(nn.Module):
    """A network (h, x_t) -> mean and log scale of q(e_t|x_t, h_t), each (B, latent_dim)."""

    def __init__(self, num_dims: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.from_x, self.from_h = nn.Linear(num_dims, hidden), nn.Linear(hidden, hidden)
        self.trunk = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.mean, self.log_scale = nn.Linear(hidden, latent_dim), nn.Linear(hidden, latent_dim)

    def forward(self, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.trunk(self.from_x(x) + self.from_h(h))
        return self.mean(trunk), self.log_scale(trunk)


class Decoder(nn.Module):
    """A network (h, e) -> the parameters of p(x_t|z_t, h_t), (B, num_parameters)."""

    def __init__(self, latent: Latent, hidden: int, latent_dim: int, num_parameters: int) -> None:
        super().__init__()
        self.latent = latent
        self.from_z, self.from_h = nn.Linear(latent_dim, hidden), nn.Linear(hidden, hidden)
        self.trunk = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, num_parameters))

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        parameters: Tensor = self.trunk(self.from_z(self.latent(h, e)) + self.from_h(h))
        return parameters


class Transition(nn.Module):
    """A network (x_t, e_t, h_t, c_t) -> (h_{t+1}, c_{t+1})."""

    def __init__(self, latent: Latent, num_dims: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.latent = latent
        self.from_x, self.from_z = nn.Linear(num_dims, hidden), nn.Linear(latent_dim, hidden)
        self.tanh = nn.Tanh()
        self.cell = nn.LSTMCell(hidden, hidden)

    def forward(self, x: Tensor, e: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        read = self.tanh(self.from_x(x) + self.from_z(self.latent(h, e)))
        h, c = self.cell(read, (h, c))
        return h, c


class VRNN(Model):
    """A variational recurrent network (Chung et al. 2015), as in FIVO (Maddison et al. 2017).

    It has Gaussian latents with a learned prior, Bernoulli frames, and a proposal that sees x up to its own frame.
    It works with e_t = (z_t - mean(h_t)) / scale(h_t), which has a standard normal prior (see `Latent`).
    """

    name = "VRNN"
    sequences = True

    def __init__(self, shape: tuple[int, ...], latent_dim: int, hidden: int = 64) -> None:
        super().__init__(shape=shape, latent_dim=latent_dim, observation=BernoulliObservation())
        num_dims = math.prod(shape[1:])
        self.hidden = hidden
        latent = Latent(hidden, latent_dim)
        self.proposal = Proposal(num_dims, hidden, latent_dim)
        self.decoder = Decoder(latent, hidden, latent_dim, self.observation.num_parameters(num_dims))
        self.transition = Transition(latent, num_dims, hidden, latent_dim)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}

    @torch.no_grad()
    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Set the output bias to the logit of the mean frame, clamped to [0.001, 0.999]."""
        frames, there = self.frames(images)
        mean = (frames * there.unsqueeze(2)).sum((0, 1), dtype=torch.float64) / there.sum()
        output = self.decoder.trunk[-1]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(torch.logit(mean.float(), eps=0.001))

    def units(self, images: Tensor) -> np.ndarray:
        return lengths(images.reshape(-1, *self.shape).cpu().numpy())

    def frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return x (B, prod(shape)) as frames (B, T, dims), and whether each frame is not padding, (B, T).

        T is the number of frames of the longest sequence of the batch.
        """
        frames = x.unflatten(1, (self.shape[0], -1))
        there = (frames != PADDING).any(2)
        T = int(there.any(0).sum())
        return frames[:, :T], there[:, :T]

    def start(self, rows: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return h and c before the first frame, (rows, hidden) each."""
        zero = like.new_zeros(rows, self.hidden)
        return zero, zero

    def step(
        self, state: tuple[Tensor, Tensor], x_t: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Draw one e_t ~ q for each row. Return log p(x_t, e_t|state), log q(e_t|x_t, state) and the next state.

        x_t: (rows, dims). noise: standard normal (rows, latent_dim). Both logs are in nats, (rows,).
        """
        h, c = state
        mean, log_scale = self.proposal(h, x_t)
        e = mean + log_scale.exp() * noise
        log_q = standard_normal_log_prob(noise) - log_scale.sum(1)
        log_joint = self.observation.log_prob(self.decoder(h, e), x_t) + standard_normal_log_prob(e)
        return log_joint, log_q, self.transition(x_t, e, h, c)

    def particles(self, x: Tensor, num_particles: int, coupled: bool = False) -> tuple[Tensor, Tensor]:
        frames, there = self.frames(x)
        B, T, _ = frames.shape
        noise = normal_noise(B, num_particles, T * self.latent_dim, frames, coupled).view(B * num_particles, T, -1)
        state = self.start(B * num_particles, frames)
        log_joint = log_q = frames.new_zeros(B, num_particles)
        for t in range(T):
            x_t = frames[:, t].repeat_interleave(num_particles, 0)
            log_joint_t, log_q_t, state = self.step(state, x_t, noise[:, t])
            log_joint = log_joint + log_joint_t.view(B, -1) * there[:, t : t + 1]
            log_q = log_q + log_q_t.view(B, -1) * there[:, t : t + 1]
        return log_joint, log_q

    def freeze(self, backend: str = "numpy") -> FrozenVRNN:
        from mcbits.exact.freeze import freeze

        x = FixedPoint(shape=(math.prod(self.shape[1:]),), frac=0, bound=self.observation.num_symbols - 1)
        e = FixedPoint(shape=(self.latent_dim,), frac=CENTRE_FRAC, bound=1024)
        h = FixedPoint(shape=(self.hidden,), frac=STATE_FRAC, bound=1 << STATE_FRAC)
        c = FixedPoint(shape=(self.hidden,), frac=STATE_FRAC, bound=MAX_CELL << STATE_FRAC)
        networks = {
            "proposal": freeze(self.proposal, [h, x], [MEAN_FRAC, LOG_SCALE_FRAC], name="proposal"),
            "decoder": freeze(self.decoder, [h, e], [self.observation.frac_bits], name="decoder"),
            "transition": freeze(self.transition, [x, e, h, c], [STATE_FRAC, STATE_FRAC], name="transition"),
        }
        return FrozenVRNN.pack(networks, observation=self.observation, shape=self.shape, backend=backend)
