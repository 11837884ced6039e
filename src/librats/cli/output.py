"""What the command line says: JSON lines and results on standard output, remarks and errors on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["Output", "as_text", "plain"]

LONGEST = 4000

# Escape sequences of ECMA-48: CSI ..., OSC and other strings up to their end, and two-character ones.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]P_^X]|[\x9d\x90\x9f\x9e\x98])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*."
)
_JOINERS = "\u200c\u200d"  # several scripts, and some emoji, are wrong without them


def plain(text: str) -> str:
    """Return a text that may be shown on a terminal, whoever wrote it: one line, and nothing that acts on it.

    Example:
        >>> plain("a \\x1b[31mred\\x1b[0m word\\n")
        'a red word '
    """
    shortened = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(_harmless(c) for c in _ESCAPES.sub("", shortened))


def _harmless(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return " " if character.isspace() else ""


def as_text(data: Any) -> str:
    """Return a message's data as a person would write it: JSON, or how many bytes there are."""
    if isinstance(data, bytes | bytearray | memoryview):
        return f"{memoryview(data).nbytes} bytes"
    return plain(json.dumps(data, ensure_ascii=False))


class Output:
    """Where a sub-command says what it has to say.

    Args:
        as_json: Whether standard output takes JSON, one object a line, instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.trouble = ""
        """Why nothing more can be written to standard output; empty where it can."""
        self.when_closed: Callable[[], object] | None = None
        """Called once when standard output does not take any more."""

    def tell(self, text: str, /, **event: Any) -> None:
        """Write a result: the event as JSON, or else the text."""
        self._write(_encode(event) if self.as_json else text)

    def emit(self, **event: Any) -> None:
        """Write an event as JSON where JSON is wanted, else nothing."""
        if self.as_json:
            self._write(_encode(event))

    def say(self, text: str) -> None:
        """Write text for people: on standard output, or on standard error where the former takes JSON."""
        if self.as_json:
            self.hint(text)
        else:
            self._write(text)

    @staticmethod
    def hint(text: str) -> None:
        """Write a remark on standard error."""
        try:
            print(text, file=sys.stderr, flush=True)
        except OSError:  # nobody is left who could be told
            _silence(sys.stderr)

    def _write(self, line: str) -> None:
        if self.trouble or sys.stdout is None:  # it was closed before we started: nobody wants to know
            return
        encoding = sys.stdout.encoding or "utf-8"
        try:
            print(line.encode(encoding, "replace").decode(encoding), flush=True)
        except OSError as error:
            self.trouble = f"cannot write to standard output: {(error.strerror or str(error)).lower()}"
            _silence(sys.stdout)
            if self.when_closed is not None:
                self.when_closed()


def _encode(event: dict[str, Any]) -> str:
    # Escaped to ASCII: it goes through any encoding, and no control character of a peer's reaches a terminal.
    return json.dumps(event)


def _silence(stream: Any) -> None:
    """Send what is still buffered nowhere, so that the interpreter does not fail on it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
