"""What callers hand in, and what stands for what they left out."""

from __future__ import annotations

from numbers import Real

from librats.errors import UsageError

__all__ = ["DEFAULT", "Default", "check_timeout", "encode_text"]


class Default:
    """Stands for the configured value, where None means none."""


DEFAULT = Default()


def check_timeout(timeout: object) -> None:
    """Check that something can be waited for that many seconds; None is for ever.

    Raises:
        UsageError: It is no number, or none above 0.
    """
    if timeout is None:
        return
    try:
        is_good = isinstance(timeout, Real) and float(timeout) > 0
    except OverflowError:  # a whole number that is too big for a float, and would be for any clock
        is_good = False
    if not is_good:
        raise UsageError(f"a timeout is a number of seconds above 0, or None, not {timeout!r}")


def encode_text(text: str) -> bytes:
    """Encode text as UTF-8.

    Raises:
        UsageError: It is no string, or has lone surrogates.
    """
    if not isinstance(text, str):
        raise UsageError(f"text is a string, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UsageError("text with lone surrogates has no UTF-8 form") from error
