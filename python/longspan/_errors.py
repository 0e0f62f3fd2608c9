"""The exceptions of longspan. Each is also the built-in exception that Python programs expect."""


class Error(Exception):
    """Base class. The message is one line: what, where, which value, what to do.

    ``code`` is the exit status that the program ends with for the same error: 2 to 9.
    """

    code: int = 1


class UsageError(Error, ValueError):
    """A bad argument: an option, a shape, a range."""

    code = 2


class DTypeError(Error, TypeError):
    """An argument of a type that is not computed with, such as a float64 array."""

    code = 2


class FormatError(Error, ValueError):
    """A bad model, config, tokenizer or data file."""

    code = 3


class IoError(Error, OSError):
    """The operating system refused: open, read, write, sync."""

    code = 4


class LimitError(Error, MemoryError):
    """Memory or another limit would be exceeded."""

    code = 5


class NumericError(Error, ArithmeticError):
    """A loss, a gradient or a result is not finite."""

    code = 6


class LockedError(Error, RuntimeError):
    """Another process owns the directory."""

    code = 7


class PeerError(Error, RuntimeError):
    """Another process of the same run failed."""

    code = 8


class CancelledError(Error, RuntimeError):
    """A hook or a callback ended the call. Nothing is broken; results are not there."""

    code = 9


BY_CODE: dict[int, type[Error]] = {
    kind.code: kind
    for kind in (UsageError, FormatError, IoError, LimitError, NumericError, LockedError, PeerError,
                 CancelledError)
}

__all__ = ["Error", "UsageError", "DTypeError", "FormatError", "IoError", "LimitError",
           "NumericError", "LockedError", "PeerError", "CancelledError"]
