"""The HandshakeState object of Noise (revision 34, 5.3): one side of one handshake."""

from __future__ import annotations

from collections.abc import Sequence

from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError, UsageError
from librats.noise import dh
from librats.noise.cipher_state import TAG_SIZE
from librats.noise.patterns import HandshakePattern, NoiseProtocol, Token
from librats.noise.symmetric_state import new_state

__all__ = ["MAX_MESSAGE_SIZE", "Handshake"]

E, S, PSK = Token.E, Token.S, Token.PSK  # looking a member up in its class takes time

MAX_MESSAGE_SIZE = 65535
"""Bytes that a handshake message may have at most, its keys and tags included (section 3)."""


class Handshake:
    """One side of one Noise handshake.

    Both sides take turns with :meth:`write_message` and :meth:`read_message`, the initiator first, until
    :attr:`is_complete`; then :meth:`split` gives the ciphers for what follows. After an error that is not a
    :class:`~librats.UsageError` the handshake has failed for good. An object belongs to one thread at a time.

    Args:
        protocol_name: ``Noise_<pattern>_25519_ChaChaPoly_<hash>``.
        initiator: True on the side that writes the first message.
        prologue: What both sides must agree on beforehand, byte for byte.
        static: This side's private key, where the pattern has one.
        remote_static: The other side's public key, where the pattern wants it known beforehand.
        psks: Pre-shared keys of 32 bytes, in the order in which the pattern uses them.
        ephemeral: A private key from the system's entropy source, never used before or again. Needed by every
            side that writes; ignored where the pattern lets this side only read.
        static_public: The public key of ``static``, where the caller has it: it is not computed again then.

    Raises:
        UsageError: The name is not supported; a key is missing, superfluous, or has not 32 bytes.

    Example:
        >>> name = "Noise_NN_25519_ChaChaPoly_SHA256"
        >>> alice = Handshake(name, initiator=True, ephemeral=bytes(range(32)))
        >>> bob = Handshake(name, initiator=False, ephemeral=bytes(range(32, 64)))
        >>> bob.read_message(alice.write_message(b"hello"))
        b'hello'
        >>> alice.read_message(bob.write_message(b"hello yourself"))
        b'hello yourself'
        >>> alice.handshake_hash == bob.handshake_hash
        True
        >>> (alice_sends, _), (_, bob_receives) = alice.split(), bob.split()
        >>> bob_receives.open(alice_sends.seal(b"a secret"))
        b'a secret'
    """

    __slots__ = (
        "_ciphers",
        "_failed",
        "_handshake_hash",
        "_index",
        "_initiator",
        "_private_keys",
        "_protocol",
        "_psks",
        "_remote_keys",
        "_static_public",
        "_symmetric",
    )

    def __init__(
        self,
        protocol_name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        static: bytes | None = None,
        remote_static: bytes | None = None,
        psks: Sequence[bytes] = (),
        ephemeral: bytes | None = None,
        static_public: bytes | None = None,
    ) -> None:
        """Take the keys, and bind the prologue and the keys that are known beforehand."""
        self._protocol = NoiseProtocol.parse(protocol_name)
        self._initiator = initiator
        pattern = self._protocol.pattern
        has_static = pattern.is_known(initiator=initiator) or pattern.sends(Token.S, initiator=initiator)
        _require_key("static", static, needed=has_static)
        _require_key("remote_static", remote_static, needed=pattern.is_known(initiator=not initiator))
        sends_ephemeral = pattern.sends(Token.E, initiator=initiator)
        if sends_ephemeral:
            _require_key("ephemeral", ephemeral, needed=True)
        if len(psks) != pattern.psk_count or any(len(psk) != dh.KEY_SIZE for psk in psks):
            raise UsageError(f"psks: this pattern wants {pattern.psk_count} of {dh.KEY_SIZE} bytes each")

        self._static_public = static_public
        self._private_keys: dict[str, bytes] = {}
        self._remote_keys: dict[str, bytes] = {}
        if static is not None:
            self._private_keys[Token.S] = bytes(static)
        if ephemeral is not None and sends_ephemeral:
            self._private_keys[Token.E] = bytes(ephemeral)
        if remote_static is not None:
            self._remote_keys[Token.S] = bytes(remote_static)
        self._psks = [bytes(psk) for psk in reversed(psks)]
        self._index = 0
        self._failed = False
        self._handshake_hash: bytes | None = None
        self._ciphers: tuple[Cipher, Cipher] | None = None
        self._symmetric = new_state(protocol_name, self._protocol.digest)
        self._symmetric.mix_hash(bytes(prologue))
        self._mix_known_keys(pattern)

    def __repr__(self) -> str:
        """Tell the protocol, the side and how far it has come, never a key."""
        side = "initiator" if self._initiator else "responder"
        total = len(self._protocol.pattern.messages)
        state = "failed" if self._failed else "complete" if self.is_complete else f"{self._index} of {total} messages"
        return f"<Handshake {self._protocol.name} {side}, {state}>"

    @property
    def is_complete(self) -> bool:
        """True when every message has been written or read."""
        return self._handshake_hash is not None

    @property
    def has_failed(self) -> bool:
        """True when a message was refused; nothing more will come of this handshake."""
        return self._failed

    @property
    def is_my_turn(self) -> bool:
        """True where :meth:`write_message` is next, False where :meth:`read_message` is, or nothing more."""
        return not self._failed and not self.is_complete and (self._index % 2 == 0) == self._initiator

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key, None until it is known and after a failure.

        A key that came in a message is there as soon as that message has been read. Whether its owner has
        proved by then to hold it, or does so in a later message, depends on the pattern (7.7); in XX it has.
        """
        return None if self._failed else self._remote_keys.get(S)

    @property
    def handshake_hash(self) -> bytes:
        """A name of this channel that both sides share and no other channel has (11.2).

        Raises:
            UsageError: The handshake is not complete.
        """
        if self._handshake_hash is None:
            raise UsageError("the handshake is not complete")
        return self._handshake_hash

    def write_message(self, payload: bytes = b"") -> bytes:
        """Return the next message to send.

        Args:
            payload: What to carry along. How well it is protected depends on pattern and message (7.7).

        Raises:
            UsageError: It is not this side's turn, or the message would have more than 65,535 bytes.
            HandshakeError: The other side's key has low order, or the handshake failed before.
        """
        tokens = self._next_tokens(writing=True)
        size = self._overhead(tokens) + len(payload)
        if size > MAX_MESSAGE_SIZE:
            raise UsageError(f"a handshake message has at most {MAX_MESSAGE_SIZE} bytes, not {size}")
        self._failed = True  # until all of it is done: a half-written state must never be used again
        symmetric = self._symmetric
        parts: list[bytes] = []
        for token in tokens:
            if token is E:
                public_key = dh.public_key(self._private_keys[token])
                parts.append(public_key)
                self._mix_ephemeral(public_key)
            elif token is S:
                parts.append(symmetric.encrypt_and_hash(self._own_static()))
            else:
                self._mix_secret(token)
        parts.append(symmetric.encrypt_and_hash(bytes(payload)))
        self._advance()
        return b"".join(parts)

    def read_message(self, message: bytes) -> bytes:
        """Take the other side's next message and return its payload.

        Raises:
            UsageError: It is this side's turn to write, or the handshake is complete.
            HandshakeError: The message is too short or too long, was changed, or comes from someone with
                other keys or another prologue; or the handshake failed before.
        """
        tokens = self._next_tokens(writing=False)
        self._failed = True  # until all of it has proved right
        least = self._overhead(tokens)
        if not least <= len(message) <= MAX_MESSAGE_SIZE:
            raise HandshakeError(
                f"handshake message {self._index + 1} has {least} to {MAX_MESSAGE_SIZE} bytes, not {len(message)}"
            )
        try:
            payload = self._read(tokens, bytes(message))
        except RemoteProtocolError as error:
            raise HandshakeError(
                f"handshake message {self._index + 1} does not authenticate: "
                "its sender has another prologue (protocol name and version), or other keys, or it was changed"
            ) from error
        self._advance()
        return payload

    def split(self) -> tuple[Cipher | None, Cipher | None]:
        """Return the ciphers for what this side sends and for what it receives, both with a counter of 0.

        In a one-way pattern the initiator's second and the responder's first are None. The ciphers are given
        out once, because two with one key would use every counter value twice.

        Raises:
            UsageError: The handshake is not complete, or its ciphers have been given out.
        """
        if not self.is_complete:
            raise UsageError("the handshake is not complete")
        if self._ciphers is None:
            raise UsageError("the ciphers of this handshake have been given out")
        from_initiator, from_responder = self._ciphers
        self._ciphers = None
        backward = None if self._protocol.pattern.is_one_way else from_responder
        return (from_initiator, backward) if self._initiator else (backward, from_initiator)

    def _mix_known_keys(self, pattern: HandshakePattern) -> None:
        # 5.3: the initiator's key comes first on both sides.
        for owner in (True, False):
            if pattern.is_known(initiator=owner):
                mine = owner == self._initiator
                self._symmetric.mix_hash(self._own_static() if mine else self._remote_keys[Token.S])

    def _own_static(self) -> bytes:
        if self._static_public is None:
            self._static_public = dh.public_key(self._private_keys[Token.S])
        return self._static_public

    def _next_tokens(self, *, writing: bool) -> tuple[Token, ...]:
        if self._failed:
            raise HandshakeError("the handshake has failed")
        if self._handshake_hash is not None:
            raise UsageError("the handshake is complete")
        if ((self._index % 2 == 0) == self._initiator) is not writing:
            raise UsageError(f"it is {'the other' if writing else 'this'} side's turn to write")
        return self._protocol.pattern.messages[self._index]

    def _overhead(self, tokens: tuple[Token, ...]) -> int:
        """Tell how many bytes keys and tags take in a message of these tokens."""
        has_key = self._symmetric.has_key
        size = 0
        for token in tokens:
            if token is E:
                size += dh.KEY_SIZE
                has_key = has_key or self._protocol.pattern.psk_count > 0
            elif token is S:
                size += dh.KEY_SIZE + TAG_SIZE * has_key
            else:
                has_key = True
        return size + TAG_SIZE * has_key

    def _read(self, tokens: tuple[Token, ...], message: bytes) -> bytes:
        symmetric = self._symmetric
        offset = 0
        for token in tokens:
            if token is E:
                self._remote_keys[token] = message[offset : offset + dh.KEY_SIZE]
                offset += dh.KEY_SIZE
                self._mix_ephemeral(self._remote_keys[token])
            elif token is S:
                size = dh.KEY_SIZE + TAG_SIZE * symmetric.has_key
                self._remote_keys[token] = symmetric.decrypt_and_hash(message[offset : offset + size])
                offset += size
            else:
                self._mix_secret(token)
        return symmetric.decrypt_and_hash(message[offset:])

    def _mix_ephemeral(self, public_key: bytes) -> None:
        self._symmetric.mix_hash(public_key)
        if self._protocol.pattern.psk_count:
            # 9.2: a pre-shared key alone gives the same keys every time; the ephemeral one makes them unique.
            self._symmetric.mix_key(public_key)

    def _mix_secret(self, token: Token) -> None:
        if token is PSK:
            self._symmetric.mix_key_and_hash(self._psks.pop())
            return
        of_initiator, of_responder = token
        mine, theirs = (of_initiator, of_responder) if self._initiator else (of_responder, of_initiator)
        self._symmetric.mix_key(dh.exchange(self._private_keys[mine], self._remote_keys[theirs]))

    def _advance(self) -> None:
        self._index += 1
        self._failed = False
        if self._index == len(self._protocol.pattern.messages):
            self._handshake_hash = self._symmetric.handshake_hash
            self._ciphers = self._symmetric.split()
            # Forward secrecy: nothing here may still lead to the transport keys.
            self._private_keys.clear()
            del self._symmetric


def _require_key(name: str, key: bytes | None, *, needed: bool) -> None:
    if key is None:
        if needed:
            raise UsageError(f"{name}: this pattern needs the key on this side")
    elif not needed:
        # Refused rather than ignored: whoever hands a key in counts on its being checked.
        raise UsageError(f"{name}: this pattern does not use the key on this side")
    elif len(key) != dh.KEY_SIZE:
        raise UsageError(f"{name}: a key has {dh.KEY_SIZE} bytes, not {len(key)}")
