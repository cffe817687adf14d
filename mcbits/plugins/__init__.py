"""Everything that a plugin can add is registered through hooks; the built-in plugin uses the same hooks."""

from mcbits.plugins.hooks import Lazy, hookimpl

__all__ = ["Lazy", "hookimpl"]
