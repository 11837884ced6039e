"""What a peer id looks like."""

from __future__ import annotations

import re
from typing import TypeGuard

from librats.errors import UsageError

__all__ = ["check_peer_id", "is_peer_id"]

PEER_ID = re.compile(r"[0-9a-f]{64}")


def is_peer_id(value: object) -> TypeGuard[str]:
    """Tell whether something has the form of a peer id: 64 lower-case hex digits.

    Example:
        >>> from librats.peer_ids import is_peer_id
        >>> is_peer_id("0a" * 32), is_peer_id("0A" * 32), is_peer_id(None)
        (True, False, False)
    """
    return isinstance(value, str) and PEER_ID.fullmatch(value) is not None


def check_peer_id(value: object) -> None:
    """Check that something has the form of a peer id.

    Raises:
        UsageError: It has not.
    """
    if not is_peer_id(value):
        raise UsageError(f"not a peer id: {value!r}; it has 64 lower-case hex digits")
