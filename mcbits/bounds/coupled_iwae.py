"""Coupled IWAE: the IWAE with particles that one shared uniform drives, each still distributed as q."""

from mcbits.bounds.iwae import IWAE


class CoupledIWAE(IWAE):
    """The ideal rate of BB-CIS (Ruan et al. 2021), which needs the initial bits of one particle only."""

    name = "ciwae"
    coupled = True
