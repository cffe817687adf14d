"""Coupled IWAE is the IWAE whose particles come from one shared uniform draw; each alone is still a draw from q."""

from mcbits.bounds.iwae import IWAE


class CoupledIWAE(IWAE):
    """The coupled IWAE bound; its negative is the ideal rate of BB-CIS (Ruan et al. 2021, section 3.4)."""

    name = "ciwae"
    coupled = True
