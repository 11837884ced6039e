"""What callers hand in to be sent, made into bytes."""

from __future__ import annotations

from typing import Any

from librats.errors import UsageError

__all__ = ["DEFAULT", "Default", "as_buffer", "encode_text"]


class Default:
    """Stands for the configured value, where None means none."""


DEFAULT = Default()


def as_buffer(data: Any) -> bytes | bytearray | memoryview:
    """Return a buffer's bytes without copying them.

    Raises:
        UsageError: It is no contiguous buffer.
    """
    if isinstance(data, bytes | bytearray):
        return data
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError) as error:
        raise UsageError(f"bytes are sent from a contiguous buffer: {error}") from error
    if not view.c_contiguous:
        raise UsageError("bytes are sent from a contiguous buffer; this one has gaps, make a copy of it")
    if view.format == "O":
        raise UsageError("an array of Python objects has no bytes to send, only addresses of this process")
    return view.cast("B") if view.nbytes else b""


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
