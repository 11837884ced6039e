"""Where a server over HTTP sends those who ask it for something (RFC 9110, section 15.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin

__all__ = ["moved_to"]

MOVED: Final = frozenset({301, 302, 303, 307, 308})


def moved_to(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Return where a server sends us; None where it gives an answer of its own.

    Args:
        url: What it was asked for.
        status: What it answers.
        headers: The fields of its answer.

    Raises:
        ValueError: What it names is no URL.

    Example:
        >>> from librats.bittorrent.redirects import moved_to
        >>> moved_to("http://192.0.2.1/a/b", 302, {"Location": "../c"})
        'http://192.0.2.1/c'
        >>> moved_to("http://192.0.2.1/a/b", 304, {"Location": "../c"}) is None
        True
    """
    location = headers.get("Location") if status in MOVED else None
    return None if location is None else urljoin(url, location)
