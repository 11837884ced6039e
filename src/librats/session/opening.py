"""The opening of a session: librats 2's blocks around the Noise XX handshake (LIBRATS2 wire, sections 2 and 3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from librats._core.aead import Cipher
from librats.errors import DecodeError, HandshakeError
from librats.noise.handshake import Handshake
from librats.session.greeting import MAX_GREETING, Greeting

__all__ = ["LAST_MESSAGE", "Opened", "Opening", "peer_id_of"]

NOISE_NAME = "Noise_XX_25519_ChaChaPoly_SHA256"
PROLOGUE_HEAD = b"librats-proto\x1f"
LENGTH_PREFIX = 4

# The three messages of XX with empty payloads: e; e, ee, s, es; s, se.
BARE_SIZES = (32, 96, 64)
LAST_MESSAGE = 2


def peer_id_of(public_key: bytes) -> str:
    """The id of the peer with that X25519 key: its SHA-256 in lower-case hex."""
    return hashlib.sha256(public_key).hexdigest()


@lru_cache(maxsize=64)
def _encoded(greeting: Greeting) -> bytes:
    return greeting.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
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


class Opening:
    """The handshake machine of one link: bytes in, bytes out, in the end :attr:`result`.

    Args:
        initiator: True on the side that dialled.
        private_key: Our X25519 private key, 32 bytes.
        public_key: The key that belongs to it, 32 bytes; computed where it is None.
        ephemeral: A fresh X25519 private key, 32 bytes from the system's entropy.
        protocol: The application's protocol string, ``name/version``; both sides must give the same.
        greeting: What we tell about ourselves.
        expect_id: The only peer id that is accepted, or None for any.
    """

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
        self._initiator = initiator
        self._handshake = Handshake(
            NOISE_NAME,
            initiator=initiator,
            prologue=PROLOGUE_HEAD + protocol.encode(),
            static=private_key,
            ephemeral=ephemeral,
            static_public=public_key,
        )
        self._own_greeting = _encoded(greeting)
        self._expect_id = expect_id
        self._step = 0
        self._failed = False
        self._greeting: Greeting | None = None
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self.result: Opened | None = None
        """The secure channel, once there is one."""
        if initiator:
            self._write()

    @property
    def step(self) -> int:
        """How many of the three handshake messages have passed."""
        return self._step

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
        while self.result is None and len(self._incoming) >= LENGTH_PREFIX:
            size = int.from_bytes(self._incoming[:LENGTH_PREFIX])
            bare = BARE_SIZES[self._step]
            if not bare <= size <= bare + MAX_GREETING:
                raise HandshakeError(f"not a librats peer: handshake message {self._step + 1} of {size} bytes")
            if len(self._incoming) < LENGTH_PREFIX + size:
                return
            block = bytes(self._incoming[LENGTH_PREFIX : LENGTH_PREFIX + size])
            del self._incoming[: LENGTH_PREFIX + size]
            self._read(block)

    def receive_eof(self) -> None:
        """Take the end of the peer's bytes.

        Raises:
            HandshakeError: The handshake is not finished.
        """
        if self.result is None:
            raise HandshakeError("the peer hung up during the handshake: another protocol name, or it refused")

    def _read(self, block: bytes) -> None:
        payload = self._handshake.read_message(block)
        if self._step > 0:
            try:
                self._greeting = Greeting.decode(payload)
            except DecodeError as error:
                raise HandshakeError(str(error)) from error
        self._step += 1
        if self._step <= LAST_MESSAGE:
            if self._step == LAST_MESSAGE:
                self._check_peer()  # before message 3, which would show our own key
            self._write()
        if self._step > LAST_MESSAGE:
            self._finish()

    def _write(self) -> None:
        message = self._handshake.write_message(self._own_greeting if self._step > 0 else b"")
        self._outgoing += len(message).to_bytes(LENGTH_PREFIX) + message
        self._step += 1

    def _check_peer(self) -> str:
        public_key = self._handshake.remote_static
        if public_key is None:
            raise HandshakeError("the peer showed no key")
        peer_id = peer_id_of(public_key)
        if self._expect_id is not None and peer_id != self._expect_id:
            raise HandshakeError(f"expected peer {self._expect_id[:8]}, but {peer_id[:8]} answered")
        return peer_id

    def _finish(self) -> None:
        peer_id = self._check_peer()
        sending, receiving = self._handshake.split()
        if sending is None or receiving is None or self._handshake.remote_static is None:
            raise HandshakeError("the handshake gave no keys")
        self.result = Opened(
            sending=sending,
            receiving=receiving,
            public_key=self._handshake.remote_static,
            peer_id=peer_id,
            handshake_hash=self._handshake.handshake_hash,
            greeting=self._greeting,
        )
