"""Runs of messages taken apart, for tests that look at each message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from librats._core.messages import MessageRun

__all__ = ["each"]


def each(items: Iterable[Any]) -> Iterator[Any]:
    """Yield frames or events, and for a run each of its messages."""
    for item in items:
        if isinstance(item, MessageRun):
            yield from item
        else:
            yield item
