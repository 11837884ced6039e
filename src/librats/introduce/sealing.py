"""Letters that only two peers can read: Noise IK from the caller to the key of the target, then transport messages.

The first letter is handshake message 1, the answer message 2; what follows is sealed with the keys of the transport, in
the order in which it was sent. The protocol string of the application is bound in, so that a letter for one application
opens in no other, wherever it is carried.
"""

from __future__ import annotations

from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError
from librats.introduce.notices import MAX_SEALED
from librats.noise.handshake import Handshake
from librats.session.opening import peer_id_of

__all__ = ["MAX_LETTER", "NOISE_NAME", "CallerSeal", "TargetSeal", "prologue_of"]

NOISE_NAME = "Noise_IK_25519_ChaChaPoly_SHA256"
PROLOGUE_HEAD = b"librats-introduce\x1f"
OVERHEAD = 96
"""Bytes that message 1 has beyond its payload: an ephemeral key, a sealed static key, and a tag."""

MAX_LETTER = MAX_SEALED - OVERHEAD
"""Bytes of the longest letter."""

MAX_FURTHER = 64
"""Further letters of one side; what comes beyond that is not opened."""


def prologue_of(protocol: str) -> bytes:
    """What both sides must share, from the application's protocol string."""
    return PROLOGUE_HEAD + protocol.encode()


class _Seal:
    """What both sides do once the two letters have passed."""

    def __init__(self, handshake: Handshake) -> None:
        self._handshake = handshake
        self._sending: Cipher | None = None
        self._receiving: Cipher | None = None
        self._further = 0

    @property
    def is_ready(self) -> bool:
        """True where further letters can be sealed."""
        return self._sending is not None

    def _begin(self) -> None:
        self._sending, self._receiving = self._handshake.split()

    def _read(self, sealed: bytes) -> bytes:
        if len(sealed) > MAX_SEALED:
            raise HandshakeError(f"a letter of {len(sealed)} bytes")
        return self._handshake.read_message(sealed)

    def seal_further(self, letter: bytes) -> bytes:
        """Seal a further letter.

        Raises:
            HandshakeError: The two first ones have not passed.
        """
        if self._sending is None:
            raise HandshakeError("a further letter before the answer")
        return self._sending.seal(letter)

    def open_further(self, sealed: bytes) -> bytes:
        """Open a further letter.

        Raises:
            HandshakeError: It was changed, is not the next one, or there were too many.
        """
        self._further += 1
        if self._receiving is None or self._further > MAX_FURTHER:
            raise HandshakeError("a further letter that was not waited for")
        try:
            return self._receiving.open(sealed)
        except RemoteProtocolError:
            raise HandshakeError("a further letter that does not authenticate") from None


class CallerSeal(_Seal):
    """The caller's side of one introduction.

    Args:
        private_key: The caller's X25519 key.
        target_key: The target's public key.
        ephemeral: A fresh private key from the system's entropy.
        protocol: The application's protocol string.

    Raises:
        HandshakeError: Nothing can be sealed for that key.

    Example:
        >>> from librats.noise.dh import public_key
        >>> ann, bob = bytes(range(32)), bytes(range(32, 64))
        >>> caller = CallerSeal(ann, public_key(bob), ephemeral=bytes(range(64, 96)), protocol="chat/1")
        >>> target = TargetSeal(bob, ephemeral=bytes(range(96, 128)), protocol="chat/1")
        >>> target.open(caller.seal(b"an offer"))
        b'an offer'
        >>> caller.open(target.seal(b"an answer"))
        b'an answer'
    """

    def __init__(self, private_key: bytes, target_key: bytes, *, ephemeral: bytes, protocol: str) -> None:
        super().__init__(
            Handshake(
                NOISE_NAME,
                initiator=True,
                prologue=prologue_of(protocol),
                static=private_key,
                remote_static=target_key,
                ephemeral=ephemeral,
            )
        )

    def seal(self, letter: bytes) -> bytes:
        """Seal the offer.

        Raises:
            HandshakeError: It is too long, or the target's key is none.
        """
        if len(letter) > MAX_LETTER:
            raise HandshakeError(f"a letter has at most {MAX_LETTER} bytes, not {len(letter)}")
        return self._handshake.write_message(letter)

    def open(self, sealed: bytes) -> bytes:
        """Open the answer.

        Raises:
            HandshakeError: It was changed, or is not from the target, or not the answer to this offer.
        """
        letter = self._read(sealed)
        self._begin()
        return letter


class TargetSeal(_Seal):
    """The target's side of one introduction.

    Args:
        private_key: The target's X25519 key.
        ephemeral: A fresh private key from the system's entropy.
        protocol: The application's protocol string.
    """

    def __init__(self, private_key: bytes, *, ephemeral: bytes, protocol: str) -> None:
        super().__init__(
            Handshake(
                NOISE_NAME,
                initiator=False,
                prologue=prologue_of(protocol),
                static=private_key,
                ephemeral=ephemeral,
            )
        )
        self.caller_id = ""
        """Peer id of whoever has sealed the offer; empty until it was opened."""

    def open(self, sealed: bytes) -> bytes:
        """Open an offer.

        Raises:
            HandshakeError: It was changed, or is for somebody else, or of another application.
        """
        letter = self._read(sealed)
        key = self._handshake.remote_static
        if key is None:
            raise HandshakeError("an offer without its sender's key")
        self.caller_id = peer_id_of(key)
        return letter

    def seal(self, letter: bytes) -> bytes:
        """Seal the answer.

        Raises:
            HandshakeError: It is too long, or no offer was opened.
        """
        if len(letter) > MAX_LETTER:
            raise HandshakeError(f"a letter has at most {MAX_LETTER} bytes, not {len(letter)}")
        answer = self._handshake.write_message(letter)
        self._begin()
        return answer
