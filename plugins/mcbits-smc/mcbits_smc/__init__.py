"""This package registers BB-SMC, plain and coupled, their bounds, the VRNN and the piano rolls."""

from mcbits.plugins import Lazy, hookimpl


@hookimpl
def mcbits_coders() -> list[Lazy]:
    return [
        Lazy("mcbits_smc.smc_bits_back:SMCBitsBackCoder", "SMCBitsBackCoder", "bb-smc"),
        Lazy("mcbits_smc.csmc_bits_back:CSMCBitsBackCoder", "CSMCBitsBackCoder", "bb-csmc"),
    ]


@hookimpl
def mcbits_bounds() -> list[Lazy]:
    return [Lazy("mcbits_smc.fivo:FIVO", "fivo"), Lazy("mcbits_smc.fivo:CoupledFIVO", "cfivo")]


@hookimpl
def mcbits_models() -> list[Lazy]:
    return [Lazy("mcbits_smc.vrnn:VRNN", "VRNN")]


@hookimpl
def mcbits_frozen_models() -> list[Lazy]:
    return [Lazy("mcbits_smc.frozen_vrnn:FrozenVRNN", "VRNN")]


@hookimpl
def mcbits_datasets() -> list[Lazy]:
    return [Lazy("mcbits_smc.pianorolls:PianoRolls", "pianorolls")]
