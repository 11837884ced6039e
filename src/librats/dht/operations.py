"""What is asked of a node of the DHT: a lookup in each family of addresses, then storing; or a ping."""

from __future__ import annotations

from dataclasses import dataclass, field

from librats._core import krpc
from librats._core.krpc import KrpcMessage
from librats.dht.items import Item
from librats.dht.lookup import Found, Lookup

__all__ = ["Finished", "Operation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What was asked of a node has come to its end."""

    number: int
    """What the method returned that began it."""

    target: bytes
    """What was looked up."""

    nodes: list[Found]
    """The nearest nodes that answered, of all families: see :meth:`librats.dht.lookup.Lookup.closest`."""

    peers: list[bytes]
    """Compact addresses of peers."""

    item: Item | None
    """The newest valid item."""

    stored: int
    """How many nodes took the announcement or the item."""

    refusals: list[tuple[int, str]]
    """Code and words of the nodes that did not take it."""

    asked: int
    """How many nodes were asked."""

    hops: int
    """How many nodes told of each other, one of the next, up to the nearest."""


@dataclass(slots=True, eq=False)
class Operation:
    """What was asked of a node, and how far it has come: lookups first, then what is stored with the nodes found."""

    number: int
    target: bytes
    lookups: list[Lookup]
    is_ours: bool
    store: dict[str, object] | None = None
    store_method: int = 0
    is_storing: bool = False
    storing: int = 0
    stored: int = 0
    refusals: list[tuple[int, str]] = field(default_factory=list)
    pinged: list[Found] = field(default_factory=list)

    def settle(self, address: bytes, message: KrpcMessage | None) -> None:
        """Take note of what has come of a ping, or of storing something with a node.

        Args:
            address: The compact address of the node.
            message: Its response or error; None where it has not answered.
        """
        self.storing -= 1
        if message is None:
            return
        if message.id is not None and not self.lookups:
            self.pinged.append(Found(message.id, address, None))
        if message.kind == krpc.RESPONSE:
            self.stored += 1
        else:
            code, words = message.fault
            self.refusals.append((code, words.decode(errors="replace")))

    def outcome(self) -> Finished:
        """Return what has come of it."""
        items = [lookup.item for lookup in self.lookups if lookup.item is not None]
        return Finished(
            number=self.number,
            target=self.target,
            nodes=[*self.pinged, *(node for lookup in self.lookups for node in lookup.closest())],
            peers=[peer for lookup in self.lookups for peer in lookup.peers],
            item=max(items, key=lambda item: item.sequence, default=None),
            stored=self.stored,
            refusals=self.refusals,
            asked=sum(lookup.asked for lookup in self.lookups),
            hops=max((lookup.hops for lookup in self.lookups), default=0),
        )
