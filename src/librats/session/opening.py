"""The opening of a session: librats 2's blocks around the Noise XX handshake (LIBRATS2 wire, sections 2 and 3)."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import lru_cache

import msgspec
from msgspec import Struct

from librats._core import symmetric
from librats._core.aead import Cipher
from librats.errors import DecodeError, HandshakeError
from librats.noise.handshake import Handshake
from librats.reasons import AttemptReason
from librats.session.greeting import MAX_GREETING, Feature, Greeting
from librats.session.path_keys import JOIN_SIZE, Join

__all__ = [
    "LAST_MESSAGE",
    "PROLOGUE_SIZE",
    "BlockOpening",
    "Opened",
    "Opening",
    "PlainOpened",
    "is_plaintext",
    "peer_id_of",
    "prologue_of",
]

NOISE_NAME = "Noise_XX_25519_ChaChaPoly_SHA256"
PROLOGUE_HEAD = b"librats-proto\x1f"
LENGTH_PREFIX = 4
PROLOGUE_SIZE = 2
"""Bytes that tell the prologue's length in a plaintext opening."""

# The three messages of XX with empty payloads: e; e, ee, s, es; s, se.
BARE_SIZES = (32, 96, 64)
LAST_MESSAGE = 2

PATHS = int(Feature.PATHS)


def _hashlib_sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_sha256 = symmetric.sha256 if symmetric.AVAILABLE else _hashlib_sha256


@lru_cache(maxsize=64)
def prologue_of(protocol: str) -> bytes:
    """What both sides of a handshake must share, from the application's protocol string."""
    return PROLOGUE_HEAD + protocol.encode()


def peer_id_of(public_key: bytes) -> str:
    """The id of the peer with that X25519 key: its SHA-256 in lower-case hex."""
    return _sha256(public_key).hex()


def is_plaintext(block: bytes) -> bool:
    """Whether a first block is that of a peer without encryption, of whatever protocol."""
    return block[PROLOGUE_SIZE : PROLOGUE_SIZE + len(PROLOGUE_HEAD)] == PROLOGUE_HEAD


@lru_cache(maxsize=64)
def _encoded(greeting: Greeting) -> bytes:
    return greeting.encode()


@lru_cache(maxsize=64)
def _decoded(payload: bytes) -> Greeting | None:
    # A node greets with the same words from its start to its end, on every link.
    return Greeting.decode(payload)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What the handshake left behind."""

    sending: Cipher
    """Cipher of the direction to the peer."""

    receiving: Cipher
    """Cipher of the direction from the peer."""

    public_key: bytes
    """The peer's X25519 key, 32 bytes."""

    peer_id: str
    """The peer's id."""

    handshake_hash: bytes
    """32 bytes that only these two sides of this handshake share (channel binding)."""

    greeting: Greeting | None
    """What the peer told about itself; None for a librats 2 node."""

    path_secret: bytes = b""
    """Where the keys of further paths come from; empty where one of the sides does not move to any."""


class PlainOpened(Struct, frozen=True, kw_only=True):
    """What is left where encryption is off: nothing to seal or open with, and nothing proven."""

    peer_id: str
    """The peer's id, as it says."""

    sending: None = None
    receiving: None = None
    greeting: None = None


class BlockOpening(ABC):
    """What comes before a session: blocks in, blocks out, in the end :attr:`result`."""

    _hung_up: str
    """Why a peer may have hung up."""

    def __init__(self) -> None:
        self._failed = False
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.result: Opened | PlainOpened | None = None
        """The channel, once there is one."""
        self.join: Join | None = None
        """The session that a connection wants to belong to, where it begins none."""

    def prepare(self) -> None:  # noqa: B027 - not every kind has anything to do
        """Do what can be done before the peer is heard; the driver calls it while it waits for that."""

    @property
    @abstractmethod
    def step(self) -> int:
        """How many of the three handshake messages have passed; all where no more are waited for."""

    @property
    def _is_over(self) -> bool:
        """True where what comes next is the session's."""
        return self.result is not None or self.join is not None

    @property
    def leftover(self) -> bytes:
        """Bytes that came behind the last handshake message: the session's first."""
        return bytes(self._incoming)

    def data_to_send(self) -> bytes:
        """Return what is to go to the peer, once."""
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer.

        Args:
            data: Any number of bytes. What follows the last message is kept as :attr:`leftover`.

        Raises:
            HandshakeError: No channel will come of this.
        """
        if self._failed:
            raise HandshakeError("the handshake has failed")
        self._incoming += data
        try:
            self._read_blocks()
        except HandshakeError:
            self._failed = True
            raise

    def _read_blocks(self) -> None:
        while not self._is_over and len(self._incoming) >= LENGTH_PREFIX:
            size = int.from_bytes(self._incoming[:LENGTH_PREFIX])
            self._check_size(size)
            if len(self._incoming) < LENGTH_PREFIX + size:
                return
            block = bytes(self._incoming[LENGTH_PREFIX : LENGTH_PREFIX + size])
            del self._incoming[: LENGTH_PREFIX + size]
            self._read(block)

    def _write_block(self, body: bytes) -> None:
        self._outgoing += len(body).to_bytes(LENGTH_PREFIX) + body

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes.

        Raises:
            HandshakeError: The handshake is not finished.
        """
        if not self._is_over:
            raise HandshakeError(f"the peer hung up during the handshake: {self._hung_up}")

    @abstractmethod
    def _check_size(self, size: int) -> None:
        """Refuse the next block by its length."""

    @abstractmethod
    def _read(self, block: bytes) -> None:
        """Take the next block."""


class Opening(BlockOpening):
    """The Noise handshake of one link.

    Args:
        initiator: True on the side that dialled.
        private_key: Our X25519 private key, 32 bytes.
        public_key: The key that belongs to it, 32 bytes; computed where it is None.
        ephemeral: A fresh X25519 private key, 32 bytes from the system's entropy.
        protocol: The application's protocol string, ``name/version``; both sides must give the same.
        greeting: What we tell about ourselves.
        expect_id: The only peer id that is accepted, or None for any.
    """

    result: Opened | None
    _hung_up = "another protocol name, no encryption there, or it refused"

    def __init__(
        self,
        *,
        initiator: bool,
        private_key: bytes,
        ephemeral: bytes,
        protocol: str,
        greeting: Greeting,
        expect_id: str | None = None,
        public_key: bytes | None = None,
    ) -> None:
        super().__init__()
        self._initiator = initiator
        self._handshake = Handshake(
            NOISE_NAME,
            initiator=initiator,
            prologue=prologue_of(protocol),
            static=private_key,
            ephemeral=ephemeral,
            static_public=public_key,
        )
        self._own_greeting = _encoded(greeting)
        self._own_features = int(greeting.features)
        self._expect_id = expect_id
        self._step = 0
        self._greeting: Greeting | None = None
        self._public_key = b""
        self._peer_id = ""
        if initiator:
            self._write()

    @property
    def step(self) -> int:
        """How many of the three handshake messages have passed."""
        return self._step

    def prepare(self) -> None:
        """Make the ephemeral key, which would otherwise be made while the peer waits for it."""
        self._handshake.prepare()

    def expect(self, peer_id: str | None) -> None:
        """Accept only that peer, or any where it is None; before anything of it is read."""
        self._expect_id = peer_id

    def _check_size(self, size: int) -> None:
        bare = BARE_SIZES[self._step]
        if size == JOIN_SIZE and self._step == 0 and not self._initiator:
            return
        if not bare <= size <= bare + MAX_GREETING:
            raise HandshakeError(f"not a librats peer: handshake message {self._step + 1} of {size} bytes")

    def _read(self, block: bytes) -> None:
        if len(block) == JOIN_SIZE:
            self.join = Join.decode(block)
            return
        if self._step == 0 and is_plaintext(block):
            raise HandshakeError("the peer does without encryption, which is required here")
        payload = self._handshake.read_message(block)
        if self._step > 0:
            try:
                self._greeting = _decoded(payload)
            except DecodeError as error:
                raise HandshakeError(str(error)) from error
        self._step += 1
        if self._step <= LAST_MESSAGE:
            if self._step == LAST_MESSAGE:
                self._check_peer()  # before message 3, which would show our own key
            self._write()
        if self._step > LAST_MESSAGE:
            if not self._peer_id:
                self._check_peer()
            self._finish()

    def _write(self) -> None:
        message = self._handshake.write_message(self._own_greeting if self._step > 0 else b"")
        self._write_block(message)
        self._step += 1

    def _check_peer(self) -> None:
        public_key = self._handshake.remote_static
        if public_key is None:
            raise HandshakeError("the peer showed no key")
        peer_id = peer_id_of(public_key)
        if self._expect_id is not None and peer_id != self._expect_id:
            raise HandshakeError(
                f"expected peer {self._expect_id[:8]}, but {peer_id[:8]} answered", AttemptReason.WRONG_IDENTITY
            )
        self._public_key, self._peer_id = public_key, peer_id

    def _finish(self) -> None:
        sending, receiving = self._handshake.split()
        if sending is None or receiving is None:
            raise HandshakeError("the handshake gave no keys")
        features = self._own_features & (self._greeting.features if self._greeting is not None else 0)
        self.result = Opened(
            sending=sending,
            receiving=receiving,
            public_key=self._public_key,
            peer_id=self._peer_id,
            handshake_hash=self._handshake.handshake_hash,
            greeting=self._greeting,
            path_secret=self._handshake.export_secret if features & PATHS else b"",
        )
