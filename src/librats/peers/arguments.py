"""What callers hand in, and what stands for what they left out."""

from __future__ import annotations

from librats.errors import UsageError

__all__ = ["DEFAULT", "Default", "encode_text"]


class Default:
    """Stands for the configured value, where None means none."""


DEFAULT = Default()


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
