"""The precisions of a file and the refinement of its q(z|x) are options like any other, whatever the coder."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mcbits.distributions.base import MAX_PRECISION
from mcbits.errors import UsageError
from mcbits.observations.base import ObservationModel
from mcbits.plugins.options import Options, option

MAX_STEPS = 1_000
"""Most gradient steps for an image: this limits the time that a hostile file can make a decoder spend."""


@dataclass(frozen=True)
class Precisions(Options):
    """The precisions, in bits, of the stack, of the grid of the latents, and of each distribution.

    >>> Precisions(prop_mprec=40)
    Traceback (most recent call last):
    mcbits.errors.UsageError: prop_mprec must be between 1 and 30, not 40
    """

    lprec: int = option(32, help="bits a stack head keeps at least", minimum=1, maximum=63)
    bprec: int = option(32, help="bits per word of the stack's tail", minimum=1, maximum=63)
    log_num_bucket: int = option(8, help="log2 of the latent's buckets per dimension", minimum=1, maximum=16)
    prior_mprec: int = option(8, help="precision of the prior p(z), bits", minimum=1, maximum=MAX_PRECISION)
    prop_mprec: int = option(16, help="precision of the proposal q(z|x), bits", minimum=1, maximum=MAX_PRECISION)
    cond_mprec: int = option(
        0,
        help="precision of the likelihood p(x|z), bits; 0: what the observation model wants",
        maximum=MAX_PRECISION,
        minimum=0,
    )
    index_mprec: int = option(
        24, help="precision of the particle weights Cat(w), bits", minimum=1, maximum=MAX_PRECISION
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lprec + self.bprec > 64:
            raise UsageError(f"lprec {self.lprec} and bprec {self.bprec} must be at most 64 together")
        for name in ("prior_mprec", "prop_mprec", "cond_mprec", "index_mprec"):
            if getattr(self, name) > self.lprec:
                raise UsageError(f"{name} {getattr(self, name)} must be at most lprec, which is {self.lprec}")
        if self.log_num_bucket > min(self.prior_mprec, self.prop_mprec):
            raise UsageError(
                f"log_num_bucket {self.log_num_bucket} must be at most prior_mprec {self.prior_mprec} "
                f"and prop_mprec {self.prop_mprec}"
            )

    def of(self, observation: ObservationModel) -> Precisions:
        """Return the same precisions, with the `cond_mprec` that the observation model wants if it is 0."""
        return replace(self, cond_mprec=self.cond_mprec or min(observation.precision, self.lprec))


@dataclass(frozen=True)
class Refinement(Options):
    """A refinement of each q(z|x) by `steps` steps of Adam with learning rate `lr` on the ELBO, in nats."""

    steps: int = option(
        50,
        help="gradient steps an image; the time they take is the decoder's too",
        minimum=1,
        maximum=MAX_STEPS,
        name="iterative_improvement_steps",
    )
    lr: float = option(0.01, help="learning rate of these steps", maximum=1, name="iterative_improvement_lr")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > 0:
            raise UsageError(f"iterative_improvement_lr must be above 0 and at most 1, not {self.lr}")
