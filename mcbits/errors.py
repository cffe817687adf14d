"""Every exception that mcbits raises on bad input is an McbitsError; its text says in one line what is wrong."""

_PACKAGES = {
    "imagecodecs": "imagecodecs",
    "torch": "torch",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "pillow_jxl": "pillow-jxl-plugin",
    "zstandard": "zstandard",
}
"""The modules that only some jobs need, and the packages that have them."""


def lacking(module: str) -> str:
    """Return the end of a line that says that a module is missing and how to install it; "" for no optional module.

    Named after its package and not as an extra of mcbits, since pip finds the package beside a checkout as well.
    """
    package = _PACKAGES.get(module.partition(".")[0])
    return f"{package}, which is not installed: pip install {package}" if package else ""


class McbitsError(Exception):
    """The base of all errors of mcbits. `exit_code` is the exit code of the command line."""

    exit_code = 1


class UsageError(McbitsError):
    """A wrong option or argument: an unknown key, a value out of range, options that exclude each other."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name of a coder, bound, model, frozen model, observation model or dataset that is not registered."""


class DataError(McbitsError):
    """Data that is missing, unreadable, of the wrong shape or outside the model's symbols, or a file not writable."""


class ModelError(McbitsError):
    """A model that is missing, unreadable, damaged, or not the one a file was made with."""


class FreezeError(ModelError):
    """A network that has no exact integer form: an unsupported layer, non-finite weights, a bound out of reach."""


class PlatformError(McbitsError):
    """A platform whose arithmetic rounds where the result must be exact."""


class FormatError(McbitsError):
    """A .mcb file that is damaged, truncated, or of an unknown version."""


class SizeError(McbitsError):
    """A .mcb file that claims more bytes of images than the caller allows (`max_size`)."""


class PluginError(McbitsError):
    """A plugin that claims the name of another plugin, or that breaks its contract."""


class StackError(McbitsError):
    """A push or pop that breaks the contract of the stack: precision, frequency, shape or state out of range."""
