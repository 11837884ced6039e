"""Items that nodes keep for others (BEP 44): immutable ones under their hash, mutable ones under a signing key."""

from __future__ import annotations

import hashlib

import nacl.bindings
from msgspec import Struct
from nacl.exceptions import BadSignatureError

from librats._core import bencode
from librats.errors import BencodeError, KrpcError, UsageError

__all__ = ["Item", "ItemStore", "immutable_target", "mutable_target", "sign_item"]

MAX_VALUE = 1000
MAX_SALT = 64
KEY_SIZE = 32
SEED_SIZE = 32
SIGNATURE_SIZE = 64
HOURS = 3600.0

PROTOCOL_ERROR = 203
VALUE_TOO_BIG = 205
INVALID_SIGNATURE = 206
SALT_TOO_BIG = 207
CAS_MISMATCH = 301
SEQUENCE_TOO_LOW = 302


def immutable_target(value: bytes) -> bytes:
    """Return where an immutable item is kept: the SHA-1 of its encoded value."""
    return hashlib.sha1(value, usedforsecurity=False).digest()


def mutable_target(key: bytes, salt: bytes = b"") -> bytes:
    """Return where a mutable item is kept: the SHA-1 of its public key and its salt."""
    return hashlib.sha1(key + salt, usedforsecurity=False).digest()


def _signed_part(value: bytes, sequence: int, salt: bytes) -> bytes:
    head = b"4:salt%d:%b" % (len(salt), salt) if salt else b""
    return b"%b3:seqi%de1:v%b" % (head, sequence, value)


class Item(Struct, frozen=True, kw_only=True):
    """An item, as it is sent."""

    value: bytes
    """The value as it is encoded."""

    key: bytes | None = None
    """Public key (Ed25519) of a mutable item; None makes it an immutable one."""

    signature: bytes = b""
    """Signature of a mutable item."""

    sequence: int = 0
    """Sequence number of a mutable item; the highest one counts."""

    salt: bytes = b""
    """What tells apart mutable items under the same key."""

    @property
    def target(self) -> bytes:
        """Where it is kept: 20 bytes."""
        return immutable_target(self.value) if self.key is None else mutable_target(self.key, self.salt)

    def fields(self, compare: int | None) -> dict[str, object]:
        """Return what a query has that puts it, by the names of :func:`librats._core.krpc_writer.query`.

        Args:
            compare: The sequence number that is to be replaced (``cas``); None for any.
        """
        if self.key is None:
            return {"item": self.value}
        named = {"key": self.key, "signature": self.signature, "sequence": self.sequence, "compare": compare}
        return {"item": self.value, **named, "salt": self.salt or None}

    def check(self) -> None:
        """See that it keeps the rules of BEP 44, its signature included.

        Raises:
            KrpcError: It does not; with the code to answer: 203, 205, 206 or 207.
        """
        if len(self.value) > MAX_VALUE:
            raise KrpcError(VALUE_TOO_BIG, "message (v field) too big")
        try:
            bencode.decode(self.value)
        except BencodeError:
            raise KrpcError(PROTOCOL_ERROR, "the value is not canonical bencode") from None
        if self.key is None:
            return
        if len(self.salt) > MAX_SALT:
            raise KrpcError(SALT_TOO_BIG, "salt (salt field) too big")
        if len(self.key) != KEY_SIZE or len(self.signature) != SIGNATURE_SIZE:
            raise KrpcError(PROTOCOL_ERROR, "a key or signature of another size")
        signed = self.signature + _signed_part(self.value, self.sequence, self.salt)
        try:
            nacl.bindings.crypto_sign_open(signed, self.key)
        except BadSignatureError:
            raise KrpcError(INVALID_SIGNATURE, "invalid signature") from None


def sign_item(value: object, *, seed: bytes, sequence: int, salt: bytes = b"") -> Item:
    """Make a mutable item.

    Args:
        value: What bencode can write, at most 1,000 bytes of it.
        seed: Seed of the signing key (Ed25519), 32 bytes.
        sequence: Higher than that of the item before it; not negative, and of 64 bits at the most.
        salt: At most 64 bytes.

    Raises:
        UsageError: The value, the seed, the sequence number or the salt cannot be.

    Example:
        >>> from librats.dht.items import sign_item
        >>> item = sign_item("hello", seed=bytes(32), sequence=7)
        >>> item.check()
        >>> item.value, item.target.hex()[:8]
        (b'5:hello', '8c30c97e')
    """
    encoded = bencode.encode(value)
    if len(encoded) > MAX_VALUE or len(salt) > MAX_SALT:
        raise UsageError(f"a value has at most {MAX_VALUE} bytes, and a salt {MAX_SALT}")
    if len(seed) != SEED_SIZE or not 0 <= sequence < 1 << 63:
        raise UsageError(f"a seed has {SEED_SIZE} bytes, and a sequence number 63 bits")
    key, secret = nacl.bindings.crypto_sign_seed_keypair(seed)
    signature = nacl.bindings.crypto_sign(_signed_part(encoded, sequence, salt), secret)[:SIGNATURE_SIZE]
    return Item(value=encoded, key=key, signature=signature, sequence=sequence, salt=salt)


class ItemStore:
    """Items that are kept for others, for two hours after they were put last.

    Args:
        max_items: How many there may be; then the one that was put longest ago goes.
    """

    def __init__(self, *, max_items: int = 1000) -> None:
        if max_items < 1:
            raise UsageError("a store has room for one item at the least")
        self._max_items = max_items
        # In the order in which they were put.
        self._kept: dict[bytes, tuple[Item, float]] = {}

    def __len__(self) -> int:
        """Return how many there are, expired ones that nobody asked for included."""
        return len(self._kept)

    def put(self, item: Item, *, now: float, compare: int | None = None) -> None:
        """Keep an item, or keep it for longer.

        Args:
            item: What is put.
            now: Seconds.
            compare: The sequence number that is to be replaced (``cas``); None for any.

        Raises:
            KrpcError: It is not kept; with the code to answer: those of :meth:`Item.check`, 301 where another sequence
                number is there than the one to replace, 302 where a higher one is.
        """
        item.check()
        target = item.target
        there = self.get(target, now=now)
        if there is not None and item.key is not None:
            if compare is not None and there.sequence != compare:
                raise KrpcError(CAS_MISMATCH, "the CAS hash mismatched, re-read value and try again")
            same = there.sequence == item.sequence and there.value == item.value
            if item.sequence < there.sequence or (item.sequence == there.sequence and not same):
                raise KrpcError(SEQUENCE_TOO_LOW, "sequence number less than current")
        self._kept.pop(target, None)
        self._kept[target] = (item, now)
        while len(self._kept) > self._max_items:
            del self._kept[next(iter(self._kept))]

    def get(self, target: bytes, *, now: float) -> Item | None:
        """Return what is kept there, if it was put within the last two hours.

        Args:
            target: 20 bytes.
            now: Seconds.
        """
        item, put = self._kept.get(target, (None, now))
        if item is not None and now - put >= 2 * HOURS:
            del self._kept[target]
            return None
        return item

    def expire(self, *, now: float) -> None:
        """Forget what was put longer ago than two hours.

        Args:
            now: Seconds.
        """
        for target in [target for target, (_, put) in self._kept.items() if now - put >= 2 * HOURS]:
            del self._kept[target]
