"""Records that peers publish in the DHT: where they are, and who introduces them (BEP 44, under their signing key).

A record is a mutable item with the salt ``librats`` under the peer's Ed25519 key. Its value is a bencoded dictionary,
whose unknown members are skipped:

======  ==============================================================================================
``v``   1
``k``   the peer's X25519 key, 32 bytes, whose SHA-256 is the peer id
``e``   until when it is good, in seconds since 1970
``a``   list of compact addresses, the best first
``i``   list of introducers: the 32 bytes of a peer id, and a compact address
``s``   list of the hosts that others see the peer at, 4 or 16 bytes each
``n``   what stands in front of the peer, in a word of :class:`~librats.NatType`
======  ==============================================================================================

Nothing in it proves that whoever has signed it has the X25519 key: that key signs nothing. So a record counts only
under a signing key that is known to be the peer's, from a session, in which the peer has told it, or from a ticket.
What others publish under keys of their own is never looked at, whatever peer it names; a peer of which only the id is
known is looked for through its introducers. Whoever answers at an address has to prove the X25519 key in any case.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections import OrderedDict
from typing import NamedTuple

from msgspec import Struct

from librats._core import bencode
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE, PORT_SIZE, address_of, compact, may_be_told
from librats.dht.items import Item, mutable_target, sign_item
from librats.errors import DecodeError, KrpcError, UsageError
from librats.types import Address

__all__ = ["RECORD_SALT", "IntroducerAt", "KnownRecords", "PeerRecord", "introducer_hash", "record_target"]

RECORD_SALT = b"librats"
"""Salt of the items that records are."""

VERSION = 1
KEY_SIZE = 32
ID_SIZE = 32
MAX_ADDRESSES, MAX_INTRODUCERS, MAX_SEEN = 16, 8, 4
"""With so many of the longest ones a record has 952 bytes; the DHT takes 1,000."""
MAX_NAT = 32
MAX_TIME = (1 << 53) - 1
MAX_DEPTH, MAX_TOKENS = 3, 512

SKEW = 300.0
"""Seconds that clocks may differ."""

MAX_LIFETIME = 7 * 86400.0
"""Seconds for which a record may be good."""

MAX_KNOWN = 1024


class IntroducerAt(NamedTuple):
    """An introducer, and where it is."""

    peer_id: str
    """Who it is."""

    address: Address
    """IP address and TCP port."""


def record_target(verify_key: bytes) -> bytes:
    """Return where the record of a peer is kept: 20 bytes.

    Args:
        verify_key: The peer's Ed25519 key.
    """
    return mutable_target(verify_key, RECORD_SALT)


def introducer_hash(peer_id: str) -> bytes:
    """Return the hash under which the introducers of a peer announce themselves: 20 bytes.

    Args:
        peer_id: The peer's id, in hex.

    Raises:
        UsageError: That is no peer id.

    Example:
        >>> introducer_hash("ab" * 32).hex()
        'e7d0eeb038b3af69aa7f306205371838123a4e33'
    """
    try:
        raw = bytes.fromhex(peer_id)
    except ValueError:
        raw = b""
    if len(raw) != ID_SIZE:
        raise UsageError(f"not a peer id: {peer_id!r}; it has 64 hex digits")
    return hashlib.sha1(b"librats introducers" + raw, usedforsecurity=False).digest()


class PeerRecord(Struct, frozen=True, kw_only=True):
    """What a peer tells of itself in the DHT.

    Example:
        >>> from librats.peers.identity import Identity
        >>> alice = Identity(bytes(range(32)))
        >>> record = PeerRecord(
        ...     public_key=alice.public_key, expires=1_700_007_200, addresses=(Address("203.0.113.7", 80),), sequence=7
        ... )
        >>> item = record.sign(bytes(alice.signing_key))
        >>> item.target == record_target(alice.verify_key)
        True
        >>> PeerRecord.read(item, now=1_700_000_000.0, peer_id=alice.peer_id) == record
        True
    """

    public_key: bytes
    """The peer's X25519 key, 32 bytes."""

    expires: int
    """Until when it is good, in seconds since 1970."""

    addresses: tuple[Address, ...] = ()
    """Where the peer can be dialled: IP addresses with ports, the best first. Nothing of it is proven."""

    introducers: tuple[IntroducerAt, ...] = ()
    """Public introducers that the peer is connected to."""

    seen: tuple[str, ...] = ()
    """IP addresses that others see the peer at, by which two find out that they share a network."""

    nat: str = ""
    """What stands in front of the peer, in a word of :class:`~librats.NatType`, or of a later version; empty where it
    does not know."""

    sequence: int = 0
    """The highest one counts."""

    @property
    def peer_id(self) -> str:
        """The id of the peer: 64 hex digits."""
        return hashlib.sha256(self.public_key).hexdigest()

    def sign(self, seed: bytes) -> Item:
        """Return the item to put. Of addresses only the first 16 are in it, of introducers 8, of ``seen`` 4.

        Args:
            seed: Seed of the peer's signing key (Ed25519), 32 bytes.

        Raises:
            UsageError: An address is no IP address with a port, or the key, the seed, the time or the sequence number
                cannot be.
        """
        if len(self.public_key) != KEY_SIZE or not 0 <= self.expires <= MAX_TIME:
            raise UsageError(f"a key has {KEY_SIZE} bytes, and times are from 0 to {MAX_TIME}")
        value: dict[str, object] = {"v": VERSION, "k": self.public_key, "e": self.expires}
        for name, packed in (
            ("a", [_packed(address) for address in self.addresses[:MAX_ADDRESSES]]),
            ("i", [bytes.fromhex(one) + _packed(address) for one, address in self.introducers[:MAX_INTRODUCERS]]),
            ("s", [compact(host, 0)[:-PORT_SIZE] for host in self.seen[:MAX_SEEN]]),
            ("n", self.nat[:MAX_NAT].encode()),
        ):
            if packed:
                value[name] = packed
        return sign_item(value, seed=seed, sequence=self.sequence, salt=RECORD_SALT)

    @classmethod
    def read(cls, item: Item, *, now: float, peer_id: str | None = None) -> PeerRecord:
        """Read an item, and check its signature.

        Args:
            item: What was found under the peer's signing key.
            now: Seconds since 1970.
            peer_id: Whose record it has to be; None for anybody's, which proves nothing of whom it names.

        Returns:
            The record, without those addresses that nobody can have.

        Raises:
            DecodeError: It is no record, another peer's, or not good now.
        """
        if item.key is None or item.salt != RECORD_SALT:
            raise DecodeError("an item that is no record")
        try:
            item.check()
        except KrpcError as error:
            raise DecodeError(f"a record that breaks a rule: {error}") from None
        value = bencode.decode(item.value, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
        if not isinstance(value, dict) or value.get(b"v") != VERSION:
            raise DecodeError("a record of another form or version")
        key, expires = value.get(b"k"), value.get(b"e")
        if not isinstance(key, bytes) or len(key) != KEY_SIZE:
            raise DecodeError("a record without a key")
        if not isinstance(expires, int) or not now - SKEW < expires < now + MAX_LIFETIME + SKEW:
            raise DecodeError(f"a record that is good until {str(expires)[:24]}, which is past, or too far ahead")
        record = cls(
            public_key=key,
            expires=expires,
            addresses=_addresses(value),
            introducers=_introducers(value),
            seen=_seen(value),
            nat=_word(value),
            sequence=item.sequence,
        )
        if peer_id not in (None, record.peer_id):
            raise DecodeError(f"a record of {record.peer_id[:8]}, not of {str(peer_id)[:8]}")
        return record


def _packed(address: Address) -> bytes:
    packed = compact(address.host, address.port)
    if not address.port:
        raise UsageError(f"an address to dial has a port of 1 to 65535: {address}")
    return packed


def _listed(value: dict[bytes, object], name: bytes, sizes: tuple[int, ...], most: int) -> list[bytes]:
    """Return the first of what a member lists, all of it being byte strings of some sizes."""
    listed = value.get(name, [])
    if not isinstance(listed, list):
        raise DecodeError(f"a record whose {name.decode()} is no list")
    for one in listed:
        if not isinstance(one, bytes) or len(one) not in sizes:
            raise DecodeError(f"a record with something else in {name.decode()}")
    return listed[:most]


def _is_possible(packed: bytes) -> bool:
    """Whether somebody can have an address: it is one that he may tell of himself."""
    return may_be_told(packed, by=packed)


def _addresses(value: dict[bytes, object]) -> tuple[Address, ...]:
    listed = _listed(value, b"a", (IPV4_SIZE, IPV6_SIZE), MAX_ADDRESSES)
    return tuple(dict.fromkeys(address_of(one) for one in listed if _is_possible(one)))


def _introducers(value: dict[bytes, object]) -> tuple[IntroducerAt, ...]:
    listed = _listed(value, b"i", (ID_SIZE + IPV4_SIZE, ID_SIZE + IPV6_SIZE), MAX_INTRODUCERS)
    return tuple(
        dict.fromkeys(
            IntroducerAt(one[:ID_SIZE].hex(), address_of(one[ID_SIZE:]))
            for one in listed
            if _is_possible(one[ID_SIZE:])
        )
    )


def _seen(value: dict[bytes, object]) -> tuple[str, ...]:
    listed = _listed(value, b"s", (IPV4_SIZE - PORT_SIZE, IPV6_SIZE - PORT_SIZE), MAX_SEEN)
    return tuple(dict.fromkeys(str(ipaddress.ip_address(one)) for one in listed))


def _word(value: dict[bytes, object]) -> str:
    word = value.get(b"n", b"")
    if not isinstance(word, bytes):
        raise DecodeError("a record whose n is no text")
    text = word[:MAX_NAT].decode("ascii", "replace")
    return text if text.isprintable() and text.isascii() else ""


class KnownRecords:
    """The newest records of peers, as long as they are good: no node of the DHT can take one back to an older one.

    Args:
        most: Peers of which one is kept.

    Example:
        >>> known = KnownRecords()
        >>> known.take(PeerRecord(public_key=bytes(32), expires=100, sequence=2), now=0.0).sequence
        2
        >>> known.take(PeerRecord(public_key=bytes(32), expires=100, sequence=1), now=0.0).sequence
        2
    """

    def __init__(self, *, most: int = MAX_KNOWN) -> None:
        self._most = most
        self._records: OrderedDict[str, PeerRecord] = OrderedDict()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._records)

    def get(self, peer_id: str, *, now: float) -> PeerRecord | None:
        """Return the newest record of a peer.

        Args:
            peer_id: The peer.
            now: Seconds since 1970.
        """
        record = self._records.get(peer_id)
        if record is not None and record.expires <= now - SKEW:
            del self._records[peer_id]
            return None
        return record

    def take(self, record: PeerRecord, *, now: float) -> PeerRecord:
        """Take a record that was read, and return the newest one of that peer.

        Args:
            record: The record.
            now: Seconds since 1970.
        """
        peer_id = record.peer_id
        known = self.get(peer_id, now=now)
        newest = record if known is None or record.sequence >= known.sequence else known
        self._records[peer_id] = newest
        self._records.move_to_end(peer_id)
        while len(self._records) > self._most:
            self._records.popitem(last=False)
        return newest
