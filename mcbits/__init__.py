"""Lossless compression with latent-variable models: Monte Carlo bits-back coding that decodes alike everywhere."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcbits.archive.collection import open_pictures as open
    from mcbits.archive.jobs import compress, decompress
    from mcbits.archive.models import load_model
    from mcbits.training.fit import fit

    __version__: str

__all__ = ["compress", "decompress", "fit", "get_include", "load_model", "open"]


def get_include() -> str:
    """Return the folder of the C headers: the `include_dirs` of an extension that cimports from mcbits."""
    return os.path.dirname(__file__)


def __getattr__(name: str) -> Any:
    # Loaded on first use, so that `mcbits --help` starts fast, and by name: nothing that decodes imports torch.
    if name == "fit":
        from importlib import import_module

        return import_module("mcbits.training.fit").fit
    if name == "open":
        from mcbits.archive.collection import open_pictures

        return open_pictures
    if name in __all__:
        from mcbits.archive import jobs, models

        return getattr(models if name == "load_model" else jobs, name)
    if name == "__version__":
        from mcbits.plugins.registry import own_version

        return own_version()
    raise AttributeError(f"module 'mcbits' has no attribute {name!r}")
