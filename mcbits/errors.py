"""Every exception mcbits raises on bad input is an McbitsError whose text is one line: what is wrong, what to do."""


class McbitsError(Exception):
    """Base of all errors; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(McbitsError):
    """An option or argument has no meaning: unknown key, value out of range, options that exclude each other."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A coder, bound, model, observation model or dataset that is not registered."""


class DataError(McbitsError):
    """Images that are missing, unreadable, of the wrong shape, or outside the model's symbols."""


class ModelError(McbitsError):
    """A model that is missing, unreadable, damaged, or not the one a file was made with."""


class FreezeError(ModelError):
    """A network that has no exact integer form: an unsupported layer, non-finite weights, a bound out of reach."""


class PlatformError(McbitsError):
    """The platform's arithmetic rounds where exactness needs it not to."""


class FormatError(McbitsError):
    """A .mcb file that is damaged, truncated, or of an unknown version."""


class SizeError(McbitsError):
    """A .mcb file that claims, or decodes to, more bytes than the caller allows (`max_size`)."""


class PluginError(McbitsError):
    """Two plugins claim one name, or a plugin does not keep its contract."""


class StackError(McbitsError):
    """A push or pop outside the contract of the stack: precision, frequency, shape, or state out of range."""
