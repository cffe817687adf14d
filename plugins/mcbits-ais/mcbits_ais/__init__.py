"""mcbits-ais adds annealed importance sampling to mcbits: the coder bb-ais and its bound."""

from mcbits.plugins import Lazy, hookimpl


@hookimpl
def mcbits_coders() -> list[Lazy]:
    return [Lazy("mcbits_ais.coder:AISBitsBackCoder", "AISBitsBackCoder", "bb-ais")]


@hookimpl
def mcbits_bounds() -> list[Lazy]:
    return [Lazy("mcbits_ais.bound:AIS", "ais")]
