"""Whatever a plugin can bring is registered through hooks, by the built-ins as by anybody else."""

from mcbits.plugins.hooks import Lazy, hookimpl

__all__ = ["Lazy", "hookimpl"]
