"""What two peers tell each other first inside the session: where they listen, and how they see each other."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from librats.errors import DecodeError, UsageError
from librats.ice.addresses import ORDER, Reach, reach_of
from librats.types import Address

__all__ = ["UNSPECIFIED", "Hello"]

MAX_ADDRESSES = 16
MAX_TEXT = 64
MAX_NUMBER = (1 << 53) - 1
UNSPECIFIED = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - nothing listens there
VERIFY_KEY = re.compile(r"[0-9a-f]{64}")


class Hello(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The hello frame: a JSON object whose unknown members are ignored.

    Example:
        >>> Hello.decode(Hello(listen=["192.0.2.7:8081"], observed="198.51.100.4:40000").encode()).addresses
        [Address(host='192.0.2.7', port=8081)]
    """

    listen: list[str] = []
    """Where the sender takes connections."""

    observed: str = ""
    """Where the sender sees the receiver."""

    key: str = ""
    """The sender's Ed25519 key, with which it signs records, in 64 hex digits."""

    session: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)] = 0
    """Greater for each later session with the receiver, the same on all links of one; 0 where the sender has no such
    numbers."""

    def encode(self) -> bytes:
        """Return the frame's body."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> Hello:
        """Read a frame's body.

        Raises:
            DecodeError: It is no such object, or has too much in it.
        """
        try:
            hello = msgspec.json.decode(body, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"a hello that does not parse: {error}") from error
        texts = (*hello.listen, hello.observed, hello.key)
        if len(hello.listen) > MAX_ADDRESSES or max(map(len, texts)) > MAX_TEXT:
            raise DecodeError("a hello with too much in it")
        return hello

    @property
    def verify_key(self) -> bytes | None:
        """The sender's Ed25519 key, 32 bytes; None where it does not tell, or tells something else."""
        return bytes.fromhex(self.key) if VERIFY_KEY.fullmatch(self.key) else None

    @property
    def addresses(self) -> list[Address]:
        """The listening addresses that are IP addresses with a port; what else the peer wrote is left out."""
        found = []
        for text in self.listen:
            try:
                address = Address.parse(text)
            except UsageError:
                continue
            if address.is_literal and address.port:
                found.append(address)
        return found

    def listen_for(self, seen_at: str) -> list[str]:
        """Return where the sender listens, as far as others may be told to dial there.

        That is nowhere nearer than the sender is: else a stranger would have us knock at our own host's doors, or at
        those of our network. An unspecified address stands for the one that the sender is seen at.

        Args:
            seen_at: IP address at which the sender is seen.

        Example:
            >>> hello = Hello(listen=["127.0.0.1:80", "192.168.1.1:80", "192.0.2.7:80", "[::]:80"])
            >>> hello.listen_for("192.0.2.7"), len(hello.listen_for("192.168.1.9")), len(hello.listen_for("127.0.0.1"))
            (['192.0.2.7:80', '[::]:80'], 3, 4)
        """
        least = max(ORDER.index(reach_of(seen_at)), ORDER.index(Reach.LOOPBACK))
        found = []
        for text in self.listen:
            try:
                host = Address.parse(text).host
            except UsageError:
                continue
            if host in UNSPECIFIED or ORDER.index(reach_of(host)) >= least:
                found.append(text)
        return found
