"""Message stream encryption (MSE, also called PE): the start of a connection that does not look like BitTorrent.

Both sides make a secret by Diffie-Hellman, prove that they know the torrent, and agree on whether all that follows is
encrypted with RC4, or nothing after the start. It hides a connection from those who only look at bytes. It tells
nobody who the peer is, and RC4 is broken: what must stay secret needs a session of librats.

There is no standard but the page "Message Stream Encryption" of the Vuze wiki; its numbers of steps are named here.
RC4 is handed in, for it comes from a library. Diffie-Hellman is three lines of the interpreter's arithmetic: the
package that has RC4 checks the same prime anew for each connection, for 20 ms, which any stranger could have it do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from hashlib import sha1
from struct import Struct
from typing import Final, Protocol

from librats.errors import RemoteProtocolError
from librats.types import Entropy

__all__ = [
    "DH_GENERATOR",
    "DH_PRIME",
    "KEY_SIZE",
    "MAX_PAD",
    "CryptoMethod",
    "DhKey",
    "IncomingEncryption",
    "NewCipher",
    "OutgoingEncryption",
    "StreamCipher",
    "is_plain",
    "obfuscated",
]

DH_PRIME: Final = int(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563",
    16,
)
"""The prime of Diffie-Hellman, 768 bits."""

DH_GENERATOR: Final = 2
"""Its generator."""

KEY_SIZE: Final = 96
"""Bytes of a public key, and of the secret."""

MAX_PAD: Final = 512
"""Random bytes that each side puts in at one place at most."""

HASH_SIZE = 20
PRIVATE_SIZE = 20
DISCARDED = 1024
VERIFICATION = bytes(8)
PLAIN_START = b"\x13BitTorrent protocol"
MAX_INITIAL = 65_535
_OFFER = Struct(">8sIH")
_CHOICE = Struct(">IH")
_LENGTH = Struct(">H")

Buffer = bytes | bytearray | memoryview


class CryptoMethod(IntEnum):
    """What comes after the start."""

    PLAINTEXT = 1
    RC4 = 2


class DhKey:
    """A pair of keys of Diffie-Hellman that is used once.

    Args:
        entropy: For the private one, 160 bits.

    Example:
        >>> from librats.bittorrent.stream_encryption import DhKey
        >>> from librats.runtime.entropy import SystemEntropy
        >>> one, other = DhKey(SystemEntropy()), DhKey(SystemEntropy())
        >>> one.shared(other.public) == other.shared(one.public)
        True
    """

    def __init__(self, entropy: Entropy) -> None:
        self._private = int.from_bytes(entropy.token_bytes(PRIVATE_SIZE))
        self.public = pow(DH_GENERATOR, self._private, DH_PRIME).to_bytes(KEY_SIZE)
        """The public key, 96 bytes."""

    def shared(self, theirs: bytes) -> bytes:
        """Return the secret with the owner of another public key, 96 bytes.

        Raises:
            RemoteProtocolError: The key is one that makes no secret.
        """
        value = int.from_bytes(theirs)
        if not 1 < value < DH_PRIME - 1:
            raise RemoteProtocolError("a public key that makes no secret")
        return pow(value, self._private, DH_PRIME).to_bytes(KEY_SIZE)


class StreamCipher(Protocol):
    """One direction of RC4."""

    def update(self, data: Buffer) -> bytes:
        """Return the next bytes, encrypted or decrypted."""

    def update_into(self, data: Buffer, buf: Buffer) -> int:
        """Put the next bytes, encrypted or decrypted, into a buffer, which may be their own; return how many."""


NewCipher = Callable[[bytes], StreamCipher]
"""Returns RC4 with a key, from its first byte on."""


def is_plain(begun: Buffer) -> bool | None:
    """Say whether a connection that begins so is not encrypted at its start; None while both can be.

    Example:
        >>> from librats.bittorrent.stream_encryption import is_plain
        >>> is_plain(b"\\x13Bit"), is_plain(b"\\x13BitTorrent protocol..."), is_plain(b"\\x13Bat")
        (None, True, False)
    """
    begun = bytes(begun[: len(PLAIN_START)])
    if not PLAIN_START.startswith(begun):
        return False
    return True if len(begun) == len(PLAIN_START) else None


def obfuscated(info_hash: bytes) -> bytes:
    """Return the hash by which whoever knows a torrent finds out which one a connection is for, 20 bytes."""
    return _hash(b"req2", info_hash)


class _Start:
    """What both roles have in common. ``_step`` is what is done next with what has come; it says whether it could."""

    def __init__(self, new_cipher: NewCipher, entropy: Entropy) -> None:
        self.method: CryptoMethod | None = None
        """What comes after the start, once that is agreed on."""
        self.encryptor: StreamCipher | None = None
        """What encrypts all that follows; None where nothing does, or it is not known yet."""
        self.decryptor: StreamCipher | None = None
        """What decrypts all that follows; None where nothing does, or it is not known yet."""
        self._new_cipher = new_cipher
        self._entropy = entropy
        self._came = bytearray()
        self._outgoing: list[bytes] = []
        self._waiting: list[bytes] = []  # written before the way of sending was agreed on
        self._payload: list[bytes] = []
        self._step: Callable[[], bool] | None = None
        self._secret = b""
        self._sending: StreamCipher
        self._receiving: StreamCipher
        self._pad = 0

    @property
    def is_done(self) -> bool:
        """Whether the start is over: from here on :attr:`encryptor` and :attr:`decryptor` are all that is needed."""
        return self._step is None

    def receive(self, data: Buffer) -> bytes:
        """Take the next bytes of the connection.

        Returns:
            What of them is for the peer wire, decrypted; the start's own bytes are not among it.

        Raises:
            RemoteProtocolError: They are no start of an encrypted connection, or beyond a limit.
        """
        self._came += data
        while self._step is not None and self._step():
            pass
        if self._step is None:
            rest, self._came = bytes(self._came), bytearray()
            self._payload.append(self.decryptor.update(rest) if self.decryptor is not None else rest)
        payload, self._payload = b"".join(self._payload), []
        return payload

    def write(self, data: Buffer) -> None:
        """Have bytes of the peer wire sent, as soon as the start is so far."""
        if self.method is None:
            self._waiting.append(bytes(data))
        else:
            self._outgoing.append(self.encryptor.update(data) if self.encryptor is not None else bytes(data))

    def data_to_send(self) -> bytes:
        """Return what is to be sent, once."""
        outgoing, self._outgoing = b"".join(self._outgoing), []
        return outgoing

    # Parts of the start

    def _random_pad(self) -> bytes:
        return self._entropy.token_bytes(self._entropy.randbelow(MAX_PAD + 1))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._came[:size])
        del self._came[:size]
        return taken

    def _agree(self, key: DhKey) -> None:
        self._secret = key.shared(self._take(KEY_SIZE))

    def _make_ciphers(self, info_hash: bytes, *, sends: bytes, receives: bytes) -> None:
        self._sending = self._new_cipher(_hash(sends, self._secret, info_hash))
        self._receiving = self._new_cipher(_hash(receives, self._secret, info_hash))
        for cipher in (self._sending, self._receiving):
            cipher.update(bytes(DISCARDED))

    def _sync(self, marker: bytes) -> bool:
        """Pass over the pad before a marker, and the marker; return whether it has come."""
        at = self._came.find(marker, 0, MAX_PAD + len(marker))
        if at >= 0:
            del self._came[: at + len(marker)]
        elif len(self._came) >= MAX_PAD + len(marker):
            raise RemoteProtocolError("the start of an encrypted connection is not found")
        return at >= 0

    def _choose(self, method: CryptoMethod) -> None:
        self.method = method
        if method is CryptoMethod.RC4:
            self.encryptor, self.decryptor = self._sending, self._receiving
        waiting, self._waiting = self._waiting, []
        for data in waiting:
            self.write(data)


class OutgoingEncryption(_Start):
    """The side that has dialled.

    What is written before the peer has answered goes with the start, encrypted: the handshake.

    Args:
        new_cipher: Where ciphers come from.
        entropy: For the key and pads.
        info_hash: The torrent, 20 bytes, which the peer must know, too.
        methods: What may come after the start.

    Example:
        >>> import asyncio
        >>> from librats.runtime.entropy import SystemEntropy
        >>> from librats.services.torrenting.encryption import new_rc4
        >>> from librats.bittorrent.stream_encryption import IncomingEncryption, OutgoingEncryption, obfuscated
        >>> torrent = b"t" * 20
        >>> one = OutgoingEncryption(new_rc4, SystemEntropy(), torrent)
        >>> other = IncomingEncryption(new_rc4, SystemEntropy(), {obfuscated(torrent): torrent}.get)
        >>> one.write(b"hello")
        >>> other.receive(one.data_to_send())
        b''
        >>> one.receive(other.data_to_send())
        b''
        >>> other.receive(one.data_to_send()), other.method.name
        (b'hello', 'PLAINTEXT')
        >>> one.receive(other.data_to_send()), one.is_done
        (b'', True)
    """

    def __init__(
        self,
        new_cipher: NewCipher,
        entropy: Entropy,
        info_hash: bytes,
        *,
        methods: Sequence[CryptoMethod] = (CryptoMethod.PLAINTEXT, CryptoMethod.RC4),
    ) -> None:
        super().__init__(new_cipher, entropy)
        self._info_hash = info_hash
        self._provided = sum(set(methods))
        self._key = DhKey(entropy)
        self._outgoing = [self._key.public, self._random_pad()]  # step 1
        self._marker = b""
        self._chosen = CryptoMethod.PLAINTEXT
        self._step = self._take_key

    def _take_key(self) -> bool:
        if len(self._came) < KEY_SIZE:
            return False
        self._agree(self._key)
        self._make_ciphers(self._info_hash, sends=b"keyA", receives=b"keyB")
        waiting, self._waiting = b"".join(self._waiting), []
        initial, rest = waiting[:MAX_INITIAL], waiting[MAX_INITIAL:]
        if rest:
            self._waiting.append(rest)
        pad = self._random_pad()
        offer = _OFFER.pack(VERIFICATION, self._provided, len(pad)) + pad + _LENGTH.pack(len(initial)) + initial
        self._outgoing += [  # step 3
            _hash(b"req1", self._secret),
            _xor(obfuscated(self._info_hash), _hash(b"req3", self._secret)),
            self._sending.update(offer),
        ]
        self._marker = self._receiving.update(VERIFICATION)
        self._step = self._find_answer
        return True

    def _find_answer(self) -> bool:
        if not self._sync(self._marker):
            return False
        self._step = self._take_choice
        return True

    def _take_choice(self) -> bool:
        if len(self._came) < _CHOICE.size:
            return False
        chosen, self._pad = _CHOICE.unpack(self._receiving.update(self._take(_CHOICE.size)))
        if chosen not in set(CryptoMethod) or not chosen & self._provided or self._pad > MAX_PAD:
            raise RemoteProtocolError("an answer to an encrypted connection that cannot be")
        self._chosen = CryptoMethod(chosen)
        self._step = self._take_pad
        return True

    def _take_pad(self) -> bool:
        if len(self._came) < self._pad:
            return False
        self._receiving.update(self._take(self._pad))
        self._choose(self._chosen)
        self._step = None
        return False


class IncomingEncryption(_Start):
    """The side that was dialled. It does nothing that costs before 96 bytes have come, and makes one secret.

    Args:
        new_cipher: Where ciphers come from.
        entropy: For the key and pads.
        find: Returns the info-hash whose :func:`obfuscated` hash it is given; None where it is not here.
        methods: What may come after the start, best first.
    """

    def __init__(
        self,
        new_cipher: NewCipher,
        entropy: Entropy,
        find: Callable[[bytes], bytes | None],
        *,
        methods: Sequence[CryptoMethod] = (CryptoMethod.PLAINTEXT, CryptoMethod.RC4),
    ) -> None:
        super().__init__(new_cipher, entropy)
        self._find = find
        self._methods = tuple(methods)
        self._offered = self._initial = 0
        self._step = self._take_key

    def _take_key(self) -> bool:
        if len(self._came) < KEY_SIZE:
            return False
        key = DhKey(self._entropy)
        self._agree(key)
        self._outgoing += [key.public, self._random_pad()]  # step 2
        self._step = self._find_request
        return True

    def _find_request(self) -> bool:
        if not self._sync(_hash(b"req1", self._secret)):
            return False
        self._step = self._take_torrent
        return True

    def _take_torrent(self) -> bool:
        if len(self._came) < HASH_SIZE:
            return False
        info_hash = self._find(_xor(self._take(HASH_SIZE), _hash(b"req3", self._secret)))
        if info_hash is None:
            raise RemoteProtocolError("an encrypted connection for a torrent that is not here")
        self._make_ciphers(info_hash, sends=b"keyB", receives=b"keyA")
        self._step = self._take_offer
        return True

    def _take_offer(self) -> bool:
        if len(self._came) < _OFFER.size:
            return False
        verification, self._offered, self._pad = _OFFER.unpack(self._receiving.update(self._take(_OFFER.size)))
        if verification != VERIFICATION or self._pad > MAX_PAD:
            raise RemoteProtocolError("an offer of an encrypted connection that cannot be")
        self._step = self._take_pad
        return True

    def _take_pad(self) -> bool:
        size = self._pad + _LENGTH.size
        if len(self._came) < size:
            return False
        (self._initial,) = _LENGTH.unpack(self._receiving.update(self._take(size))[self._pad :])
        chosen = next((method for method in self._methods if method & self._offered), None)
        if chosen is None:
            raise RemoteProtocolError("an encrypted connection in no way that is taken")
        pad = self._random_pad()
        answer = VERIFICATION + _CHOICE.pack(chosen, len(pad)) + pad
        self._outgoing.append(self._sending.update(answer))  # step 4
        self._choose(chosen)
        self._step = self._take_initial
        return True

    def _take_initial(self) -> bool:
        """Take what comes with the start: it is encrypted even where nothing after it is."""
        part = self._take(self._initial)
        self._payload.append(self._receiving.update(part))
        self._initial -= len(part)
        if not self._initial:
            self._step = None
        return False


def _hash(*parts: bytes) -> bytes:
    return sha1(b"".join(parts), usedforsecurity=False).digest()


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
