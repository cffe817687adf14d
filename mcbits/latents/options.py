"""The options that decide what a latent model's distributions are: checked when made, the same for both sides."""

from dataclasses import dataclass, fields

import numpy as np

from mcbits.distributions.base import MAX_PRECISION
from mcbits.errors import UsageError

MAX_STEPS = 1_000
"""What a hostile file can make a decoder spend on an image."""


@dataclass(frozen=True)
class Precisions:
    """Bits of precision: of the stack (lprec, bprec), the latent grid, p(z), q(z|x), p(x|z), and the choice of a
    particle."""

    lprec: int = 32
    bprec: int = 32
    log_num_bucket: int = 8
    prior_mprec: int = 8
    prop_mprec: int = 16
    cond_mprec: int = 16
    index_mprec: int = 24

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise UsageError(f"{f.name} must be a whole number of bits, not {value!r}")
            object.__setattr__(self, f.name, int(value))
        if not (1 <= self.lprec and 1 <= self.bprec and self.lprec + self.bprec <= 64):
            raise UsageError(f"lprec {self.lprec} and bprec {self.bprec} must be at least 1 and together at most 64")
        for name in ("prior_mprec", "prop_mprec", "cond_mprec", "index_mprec"):
            if not 1 <= getattr(self, name) <= min(self.lprec, MAX_PRECISION):
                raise UsageError(
                    f"{name} must be between 1 and the smaller of lprec and {MAX_PRECISION}, not {getattr(self, name)}"
                )
        if not 1 <= self.log_num_bucket <= min(self.prior_mprec, self.prop_mprec, 16):
            raise UsageError(
                f"log_num_bucket must be between 1 and the smallest of prior_mprec, prop_mprec and 16, "
                f"not {self.log_num_bucket}"
            )


@dataclass(frozen=True)
class Refinement:
    """Refine each q(z|x) by `steps` steps of Adam with learning rate `lr` on the ELBO; UsageError out of range."""

    steps: int = 50
    lr: float = 0.01

    def __post_init__(self) -> None:
        if type(self.steps) is not int or not 1 <= self.steps <= MAX_STEPS:
            raise UsageError(f"iterative_improvement_steps must be between 1 and {MAX_STEPS}, not {self.steps!r}")
        if type(self.lr) not in (int, float) or not 0 < self.lr <= 1:
            raise UsageError(f"iterative_improvement_lr must be above 0 and at most 1, not {self.lr!r}")
        object.__setattr__(self, "lr", float(self.lr))
