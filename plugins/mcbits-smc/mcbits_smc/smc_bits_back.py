"""Sequential Monte Carlo bits-back, BB-SMC, pops the draws of a particle filter and gives most of them back."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcbits.coders.base import Coder, Stack, log2_mean, option
from mcbits.distributions import Categorical, Distribution, uniform
from mcbits.errors import UsageError
from mcbits.latents.base import LatentModel, SequenceModel

RESAMPLING = ("adaptive", "always", "never")

Ints = NDArray[Any]
Drawn = tuple[Ints, Ints | None]


@dataclass(frozen=True)
class SMCBitsBackCoder(Coder):
    """A coder that uses -log2 of the filter's estimate of p(x) bits for an x: on average, the negative FIVO bound.

    In each frame, N particles z_t^i are popped from q under the states of their ancestors and get weights w^i. If the
    filter resamples, N ancestors A_t^i are popped from Cat(w). At the end, one particle is popped from the last
    weights. It and its ancestors are the line B_t, and p(x, z) codes this line. Everything that is not on the line is
    pushed back as it was popped, and B_t itself is pushed as one of N. Ancestors and weights are integers, the same on
    both sides.
    Source: Ruan et al. 2021, section 3.3.
    """

    name: ClassVar[str] = "SMCBitsBackCoder"
    short: ClassVar[str] = "bb-smc"
    bound: ClassVar[str] = "fivo"
    ramped: ClassVar[bool] = True

    num_particles: int = option(4, help="particles N: more lower the rate and cost time", minimum=1, maximum=1 << 16)
    resampling: str = option(
        "adaptive",
        help="resample after every frame, never, or where the effective sample size is below N / 2",
        choices=RESAMPLING,
    )

    def encode(self, stack: Stack, x: Ints, model: LatentModel) -> Ints:
        p, N = _frame_by_frame(model, stack, self.short), self.num_particles
        frames = x.reshape(p.num_frames, 1, -1)
        s, log_w, ideal = p.start(N), np.zeros((1, N), np.int64), np.zeros(1, np.int64)
        line: list[tuple[Ints, Ints, Ints | None]] = []  # s, z and u of each frame
        choices: list[Ints | None] = [None]  # A_{t-1} if the filter resampled before frame t
        weights: list[Categorical | None] = [None]
        for t, x_t in enumerate(frames):
            q = p.posterior(s, x_t.repeat(N, 0))
            z, u = self._pop_all(p, q, t, stack)
            log_w = log_w + _log_weights(p, q, s, x_t, z)
            line.append((s, z, u))
            if t + 1 == len(frames):
                break
            s = p.advance(s, x_t.repeat(N, 0), z)
            w = self._resampling(log_w, p.index_precision)
            A = None if w is None else w.expand(N).pop(stack).reshape(N)
            if w is not None:
                s, ideal, log_w = s[A], ideal - log2_mean(log_w), np.zeros_like(log_w)
            choices.append(A)
            weights.append(w)
        B = int(Categorical.from_log2(log_w, p.index_precision).pop(stack)[0, 0])

        for t in reversed(range(len(frames))):
            (s, z, u), x_t, A, w = line[t], frames[t], choices[t], weights[t]
            self._push_others(p, s, x_t, z, u, B, stack)
            p.likelihood(s[[B]], z[[B]]).push(stack, x_t)
            p.prior(s[[B]]).push(stack, z[[B]])
            if w is not None and A is not None:
                w.expand(N - 1).push(stack, np.delete(A, B).reshape(1, -1, 1))
            if w is not None or t == 0:
                uniform(N, (1, 1), p.index_precision).push(stack, [[B]])
            if A is not None:
                B = int(A[B])
        return ideal - log2_mean(log_w)

    def decode(self, stack: Stack, model: LatentModel) -> Ints:
        p, N = _frame_by_frame(model, stack, self.short), self.num_particles
        s, log_w, x, B = p.start(N), np.zeros((1, N), np.int64), [], 0
        popped: list[tuple[Distribution, Ints, Ints | None, Categorical | None, Any]] = []
        w: Categorical | None = None
        for t in range(p.num_frames):
            A = None
            if w is not None or t == 0:
                ancestor, B = B, int(uniform(N, (1, 1), p.index_precision).pop(stack)[0, 0])
            if w is not None:
                A = np.insert(w.expand(N - 1).pop(stack).reshape(N - 1), B, ancestor)
                s = s[A]
            z_B = p.prior(s[[B]]).pop(stack)
            x_t = p.likelihood(s[[B]], z_B).pop(stack)
            q = p.posterior(s, x_t.repeat(N, 0))
            z, u = self._pop_others(p, q, t, s, x_t, z_B, B, stack)
            popped.append((q, z, u, w, A))
            x.append(x_t)
            log_w = log_w + _log_weights(p, q, s, x_t, z)
            if t + 1 == p.num_frames:
                break
            s = p.advance(s, x_t.repeat(N, 0), z)
            w = self._resampling(log_w, p.index_precision)
            if w is not None:
                log_w = np.zeros_like(log_w)
        Categorical.from_log2(log_w, p.index_precision).push(stack, [[B]])

        for q, z, u, w, A in reversed(popped):
            self._push_all(q, z, u, stack)
            if w is not None:
                w.expand(N).push(stack, A.reshape(1, N, 1))
        return np.concatenate(x, axis=1)

    def _resampling(self, log_w: Ints, precision: int) -> Categorical | None:
        """Return the distribution of the ancestors, or None if the filter does not resample here."""
        if self.resampling == "never" or self.num_particles == 1:
            return None
        w = Categorical.from_log2(log_w, precision)
        if self.resampling == "adaptive":
            # (sum w)^2 / sum w^2 < N / 2, in integers: the weights add up to 2^precision.
            freq = np.diff(w.cdf()[0, 0].astype(object))
            if 2 << 2 * precision >= self.num_particles * int((freq * freq).sum()):
                return None
        return w

    # These four methods handle the particles of a frame, z (N, dims), and the uniforms u behind them, if any. The
    # encoder draws all and pushes back those beside the line B. The decoder pops those and pushes back all. Only these
    # four differ for coupled particles.

    def _pop_all(self, p: SequenceModel, q: Distribution, t: int, stack: Stack) -> Drawn:
        return q.in_lanes(1).pop(stack).reshape(q.shape), None

    def _push_others(self, p: SequenceModel, s: Ints, x_t: Ints, z: Ints, u: Ints | None, B: int, stack: Stack) -> None:
        if len(z) > 1:
            others = p.posterior(np.delete(s, B, 0), x_t.repeat(len(z) - 1, 0))
            others.in_lanes(1).push(stack, np.delete(z, B, 0).reshape(1, -1))

    def _pop_others(
        self, p: SequenceModel, q: Distribution, t: int, s: Ints, x_t: Ints, z_B: Ints, B: int, stack: Stack
    ) -> Drawn:
        if len(s) == 1:
            return z_B, None
        others = p.posterior(np.delete(s, B, 0), x_t.repeat(len(s) - 1, 0))
        return np.insert(others.in_lanes(1).pop(stack).reshape(others.shape), B, z_B[0], axis=0), None

    def _push_all(self, q: Distribution, z: Ints, u: Ints | None, stack: Stack) -> None:
        q.in_lanes(1).push(stack, z.reshape(1, -1))


def _log_weights(p: SequenceModel, q: Distribution, s: Ints, x_t: Ints, z: Ints) -> Ints:
    """Return log2 w_t^i = log2 p(x_t, z_t^i|s^i) / q(z_t^i|x_t, s^i), (1, N), in units of 2^-16 bits."""
    p_z, p_x = p.prior(s), p.likelihood(s, z)
    log_w: Ints = q.total_codelength(z) - p_z.total_codelength(z) - p_x.total_codelength(x_t.repeat(len(z), 0))
    return log_w[None]


def _frame_by_frame(model: LatentModel, stack: Stack, coder: str) -> SequenceModel:
    if model.sequence is None:
        raise UsageError(f"{coder} codes sequences, but the model is for single images: choose another coder")
    if stack.lanes > 1:
        raise UsageError(f"{coder} codes one sequence at a time: leave lanes at 1")
    return model.sequence
