"""Lossless compression with latent-variable models: Monte Carlo bits-back coding that decodes the same on every machine."""

__version__ = "0.1.0"
