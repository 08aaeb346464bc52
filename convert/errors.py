"""Why a conversion was refused; nothing is left behind then."""


class ConvertError(Exception):
    """The input cannot be converted, or the output must not be written: what, which one, what to do."""


class DriftError(ConvertError):
    """The converted model does not do what the checkpoint does."""
