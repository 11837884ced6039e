"""What the verbs of ``client.dht`` return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from librats.types import Address

__all__ = ["DhtItem", "DhtNodeInfo", "DhtStored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtNodeInfo:
    """A node of the DHT that has answered."""

    node_id: bytes
    """Its id, 20 bytes."""

    address: Address
    """Where it has answered from."""

    rtt: float | None = None
    """Seconds from the query to the answer; None where that was not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtItem:
    """A value that was kept in the DHT (BEP 44), checked against its hash or its signature."""

    target: bytes
    """Where it is kept, 20 bytes."""

    value: Any
    """The value: numbers, bytes, lists, and dictionaries with keys of bytes. Text comes back as bytes."""

    key: bytes | None = None
    """Public key (Ed25519) of who has signed a mutable item; None for an immutable one."""

    salt: bytes = b""
    """What tells apart mutable items under the same key."""

    sequence: int = 0
    """Sequence number of a mutable item: the highest one counts."""

    signature: bytes = b""
    """Signature of a mutable item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtStored:
    """What has come of storing a value in the DHT."""

    target: bytes
    """Where it is kept, 20 bytes: what :meth:`~librats.DhtHandle.get` is called with."""

    sequence: int
    """Sequence number of a mutable item; 0 for an immutable one."""

    nodes: int
    """How many nodes have taken it."""
