"""This package registers the coder best-of and its bound."""

from mcbits.plugins import Lazy, hookimpl


@hookimpl
def mcbits_coders() -> list[Lazy]:
    return [Lazy(f"{__name__}.best_of:BestOfCoder", "BestOfCoder", "best-of")]


@hookimpl
def mcbits_bounds() -> list[Lazy]:
    return [Lazy(f"{__name__}.best_joint:BestJoint", "best-joint")]
