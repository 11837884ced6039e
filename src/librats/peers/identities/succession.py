"""Records that say that one identity follows another, signed by both."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from librats.errors import DecodeError, UsageError
from librats.peers.identity import Identity

__all__ = ["Succession"]

VERSION = 1
CONTEXT = b"librats identity succession, version 1"
KEY_SIZE = 32
SIGNATURE_SIZE = 64
SIGNED_SIZE = 1 + 8 + 4 * KEY_SIZE
RECORD_SIZE = SIGNED_SIZE + 2 * SIGNATURE_SIZE
MAX_CHAIN = 8
MAX_TIME = (1 << 64) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """One identity follows another: what :meth:`~librats.RatsClient.rotate_identity` makes and peers are told.

    One that was decoded or made is always signed by both identities.

    Example:
        >>> old, new = Identity.generate(), Identity.generate()
        >>> record = Succession.make(old, new, created=1_700_000_000)
        >>> again = Succession.decode(record.encode())
        >>> again == record, again.old_id == old.peer_id, again.new_id == new.peer_id
        (True, True, True)
    """

    created: int
    """When it was made, in seconds since 1970, as the peer says."""

    old_public_key: bytes
    """The X25519 key of the identity before, 32 bytes."""

    old_verify_key: bytes
    """The Ed25519 key of the identity before, 32 bytes."""

    new_public_key: bytes
    """The X25519 key of the identity that follows, 32 bytes."""

    new_verify_key: bytes
    """The Ed25519 key of the identity that follows, 32 bytes."""

    signatures: tuple[bytes, bytes]
    """Ed25519 signatures of the identity before and of the one that follows, 64 bytes each."""

    @property
    def old_id(self) -> str:
        """Peer id of the identity before."""
        return hashlib.sha256(self.old_public_key).hexdigest()

    @property
    def new_id(self) -> str:
        """Peer id of the identity that follows."""
        return hashlib.sha256(self.new_public_key).hexdigest()

    @classmethod
    def make(cls, old: Identity, new: Identity, *, created: int) -> Succession:
        """Make the record that one identity follows another.

        Args:
            old: The identity before.
            new: The identity that follows.
            created: Seconds since 1970.

        Raises:
            UsageError: They are the same, or the time cannot be written.
        """
        if old == new:
            raise UsageError("an identity cannot follow itself")
        if not 0 <= created <= MAX_TIME:
            raise UsageError(f"seconds since 1970 are not {created}")
        signed = _signed(created, old.public_key, old.verify_key, new.public_key, new.verify_key)
        return cls(
            created=created,
            old_public_key=old.public_key,
            old_verify_key=old.verify_key,
            new_public_key=new.public_key,
            new_verify_key=new.verify_key,
            signatures=(old.sign(CONTEXT + signed), new.sign(CONTEXT + signed)),
        )

    def encode(self) -> bytes:
        """Return the record as it travels, 265 bytes; see the protocol's specification."""
        keys = (self.old_public_key, self.old_verify_key, self.new_public_key, self.new_verify_key)
        return _signed(self.created, *keys) + b"".join(self.signatures)

    @classmethod
    def decode(cls, data: bytes) -> Succession:
        """Read a record and check both signatures.

        Raises:
            DecodeError: It is no record of this version, its signatures are not those of its keys, or an identity
                would follow itself.
        """
        if len(data) != RECORD_SIZE:
            raise DecodeError(f"a succession of {len(data)} bytes, not {RECORD_SIZE}", len(data))
        if data[0] != VERSION:
            raise DecodeError(f"a succession of version {data[0]}")
        keys = [data[at : at + KEY_SIZE] for at in range(9, SIGNED_SIZE, KEY_SIZE)]
        signatures = data[SIGNED_SIZE:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
        if keys[0] == keys[2]:
            raise DecodeError("a succession from an identity to itself", 9)
        for verify_key, signature, offset in zip(keys[1::2], signatures, (SIGNED_SIZE, SIGNED_SIZE + 64), strict=True):
            try:
                VerifyKey(verify_key).verify(CONTEXT + data[:SIGNED_SIZE], signature)
            except BadSignatureError as error:
                raise DecodeError("a succession with a signature that is not that of its key", offset) from error
        return cls(
            created=int.from_bytes(data[1:9]),
            old_public_key=keys[0],
            old_verify_key=keys[1],
            new_public_key=keys[2],
            new_verify_key=keys[3],
            signatures=signatures,
        )


def _signed(created: int, *keys: bytes) -> bytes:
    return bytes([VERSION]) + created.to_bytes(8) + b"".join(keys)


def encode_chain(records: Sequence[Succession]) -> bytes:
    """Return what a frame carries: the latest records, at most 8, the oldest first."""
    return b"".join(record.encode() for record in records[-MAX_CHAIN:])


def decode_chain(data: bytes) -> list[Succession]:
    """Read what a frame carries.

    Raises:
        DecodeError: It is not 1 to 8 records, of which each begins with the identity that the one before ends with.
    """
    if not data or len(data) % RECORD_SIZE or len(data) > MAX_CHAIN * RECORD_SIZE:
        raise DecodeError(f"successions of {len(data)} bytes", len(data))
    records: list[Succession] = []
    for at in range(0, len(data), RECORD_SIZE):
        try:
            record = Succession.decode(data[at : at + RECORD_SIZE])
        except DecodeError as error:
            raise DecodeError(error.what, at + error.offset) from error
        if records and not _follows(records[-1], record):
            raise DecodeError("successions that do not follow each other", at)
        records.append(record)
    return records


def _follows(before: Succession, after: Succession) -> bool:
    return (before.new_public_key, before.new_verify_key) == (after.old_public_key, after.old_verify_key)


def chain_to(identity: Identity, records: Sequence[Succession]) -> list[Succession]:
    """Return those of the records that lead, one after the other, to an identity; the oldest first."""
    chain: list[Succession] = []
    wanted = identity.public_key, identity.verify_key
    for record in reversed(records):
        if (record.new_public_key, record.new_verify_key) == wanted:
            chain.insert(0, record)
            wanted = record.old_public_key, record.old_verify_key
    return chain[-MAX_CHAIN:]
