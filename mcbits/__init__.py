"""Lossless compression with latent-variable models: Monte Carlo bits-back coding that decodes alike everywhere."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcbits.compression import compress, decompress, load_model

__version__ = "0.1.0"
__all__ = ["compress", "decompress", "load_model"]


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that `mcbits --help` does not wait for it.
    if name in __all__:
        from mcbits import compression

        return getattr(compression, name)
    raise AttributeError(f"module 'mcbits' has no attribute {name!r}")
