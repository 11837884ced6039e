"""What the library logs, as the command line shows it."""

from __future__ import annotations

import logging

from librats.cli.output import plain

__all__ = ["start_logging"]


class _OneLine(logging.Formatter):
    """Leaves tracebacks to those who asked for details."""

    def __init__(self, *, details: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")
        self._details = details

    def format(self, record: logging.LogRecord) -> str:
        """Return one line, and a traceback only where details are wanted; nothing in it acts on a terminal."""
        if self._details:
            return "\n".join(map(plain, super().format(record).split("\n")))
        text = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            text += f" ({type(record.exc_info[1]).__name__}: {record.exc_info[1]})"
        return f"librats: {record.levelname.lower()}: {plain(text)}"


def start_logging(level: str) -> None:
    """Log on standard error from that level on; tracebacks only where it is ``debug``."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(details=level == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
