"""Whether connections of a BitTorrent client are encrypted, and how such a one begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, Literal

from librats.bittorrent.stream_encryption import (
    CryptoMethod,
    IncomingEncryption,
    NewCipher,
    OutgoingEncryption,
    StreamCipher,
    is_plain,
    obfuscated,
)
from librats.errors import RemoteProtocolError, UsageError
from librats.runtime.entropy import SystemEntropy
from librats.types import Entropy

__all__ = ["ENCRYPTION_MODES", "Cover", "EncryptionMode", "EncryptionRules", "find_obfuscated", "new_rc4"]

EncryptionMode = Literal["off", "allow", "prefer", "require"]
"""Whether connections are encrypted; see :class:`EncryptionRules`."""

ENCRYPTION_MODES: Final[tuple[EncryptionMode, ...]] = ("off", "allow", "prefer", "require")
"""All of them."""

PLAIN_FIRST = (CryptoMethod.PLAINTEXT, CryptoMethod.RC4)
RC4_FIRST = (CryptoMethod.RC4, CryptoMethod.PLAINTEXT)
RC4_ALONE = (CryptoMethod.RC4,)
RC4_KEY_SIZE = 20

Buffer = bytes | bytearray | memoryview


@lru_cache(maxsize=1)
def _library() -> NewCipher | None:
    """Load the package when the first connection needs it; None where it is not there, or has no RC4."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - an extra, and slow to load
        from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers import Cipher  # noqa: PLC0415
    except ImportError:
        return None

    def rc4(key: bytes) -> StreamCipher:
        return Cipher(ARC4(key), mode=None).encryptor()

    try:
        rc4(bytes(RC4_KEY_SIZE))
    except UnsupportedAlgorithm:
        return None
    return rc4


def new_rc4(key: bytes) -> StreamCipher:
    """Return RC4 of the package ``cryptography`` with a key of 20 bytes, from its first byte on.

    Raises:
        UsageError: The package is not there, or has it not.
    """
    rc4 = _library()
    if rc4 is None:
        raise UsageError("encryption needs the package cryptography, with RC4: pip install 'librats[torrent]'")
    return rc4(key)


@lru_cache(maxsize=4096)
def _obfuscated(info_hash: bytes) -> bytes:
    return obfuscated(info_hash)


def find_obfuscated(info_hashes: Iterable[bytes], wanted: bytes) -> bytes | None:
    """Return the one of these torrents that an encrypted connection is for; None where it is none of them."""
    return next((info_hash for info_hash in info_hashes if _obfuscated(info_hash) == wanted), None)


class EncryptionRules:
    """What a client does about message stream encryption.

    Args:
        mode: ``"off"``: it does not know of it. ``"allow"``: it takes what comes, dials without, and with where that
            ends without a word, or the peer asks for it. ``"prefer"``: it dials with, and without where that ends so;
            RC4 is chosen where there is a choice. ``"require"``: every connection is encrypted with RC4.

    Raises:
        UsageError: It is none of these, or one that needs the package ``cryptography``, which is not there.
    """

    def __init__(self, mode: str) -> None:
        if mode not in ENCRYPTION_MODES:
            raise UsageError(f"encryption is one of {', '.join(ENCRYPTION_MODES)}")
        self.mode = mode
        """What is done."""
        self.is_asked_for = mode in {"prefer", "require"}
        """Whether peers are told that connections should be encrypted (``e`` of BEP 10's handshake)."""
        if self.is_asked_for:
            new_rc4(bytes(RC4_KEY_SIZE))
        self.is_on = mode != "off" and importlib.util.find_spec("cryptography") is not None
        """Whether a connection may be encrypted at all."""
        self.entropy: Entropy = SystemEntropy()
        """For pads."""

    def begins_encrypted(self, known: bool | None) -> bool:
        """Say whether to dial a peer with encryption.

        Args:
            known: What it is known to take; None where that is not known.
        """
        if not self.is_on or self.mode == "require":
            return self.is_on
        wanted = self.is_asked_for if known is None else known
        return wanted and _library() is not None

    @property
    def may_turn(self) -> bool:
        """Whether a peer that ends a connection without a word is dialled once more in the other way."""
        return self.is_on and self.mode != "require"

    def outgoing(self, info_hash: bytes) -> OutgoingEncryption:
        """Return how a connection begins that we have dialled."""
        methods = RC4_ALONE if self.mode == "require" else PLAIN_FIRST
        return OutgoingEncryption(new_rc4, self.entropy, info_hash, methods=methods)

    def incoming(self, find: Callable[[bytes], bytes | None]) -> IncomingEncryption:
        """Return how a connection begins that a peer has dialled.

        Raises:
            RemoteProtocolError: The package has no longer what it needs.
        """
        if _library() is None:
            raise RemoteProtocolError("an encrypted connection, which is beyond this version of cryptography")
        methods: Sequence[CryptoMethod] = {"allow": PLAIN_FIRST, "prefer": RC4_FIRST}.get(self.mode, RC4_ALONE)
        return IncomingEncryption(new_rc4, self.entropy, find, methods=methods)


class Cover:
    """What stands between the bytes of a connection and the peer wire, while it begins and as long as it is encrypted.

    Args:
        rules: What the client does about encryption.
        find: Returns the info-hash whose obfuscated hash it is given.
        send: Takes what is to be sent.
        info_hash: For which torrent it was dialled; None where the peer dials us.
    """

    def __init__(
        self,
        rules: EncryptionRules,
        find: Callable[[bytes], bytes | None],
        send: Callable[[Buffer], object],
        info_hash: bytes | None,
    ) -> None:
        self._rules = rules
        self._find = find
        self._send = send
        self._begun = b""  # what a peer that dials us has said, while it is not known whether it is encrypted
        self._start: OutgoingEncryption | IncomingEncryption | None = None
        if info_hash is not None:
            self._start = rules.outgoing(info_hash)
        self.is_needless = False
        """Whether all that follows is as it is, and need not come by here."""
        self.method: CryptoMethod | None = None
        """What follows an encrypted start, once that is agreed on."""

    def receive(self, data: memoryview) -> bytes | None:
        """Take the next bytes of the connection.

        Returns:
            What is for the peer wire; None where that is these very bytes, decrypted in their place.

        Raises:
            RemoteProtocolError: They cannot be, or the peer does not encrypt though it must.
        """
        start = self._start
        if start is not None and start.is_done and start.decryptor is not None:
            start.decryptor.update_into(data, data)
            return None
        if start is None:
            self._begun += bytes(data)
            plain = is_plain(self._begun)
            if plain is None:
                return b""
            begun, self._begun = self._begun, b""
            if plain:
                if self._rules.mode == "require":
                    raise RemoteProtocolError("it does not encrypt")
                self.is_needless = True
                return begun
            start = self._start = self._rules.incoming(self._find)
            data = memoryview(begun)
        payload = start.receive(data)
        self.method = start.method
        if outgoing := start.data_to_send():
            self._send(outgoing)
        self.is_needless = start.is_done and start.decryptor is None
        return payload

    def write(self, data: Buffer) -> None:
        """Send bytes of the peer wire."""
        start = self._start
        if start is not None:
            start.write(data)
            data = start.data_to_send()
        if data:
            self._send(data)
