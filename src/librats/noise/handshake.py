"""The HandshakeState object of Noise (revision 34, 5.3): one side of one handshake."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from librats._core import symmetric
from librats._core.aead import Cipher
from librats.errors import HandshakeError, RemoteProtocolError, UsageError
from librats.noise import dh
from librats.noise.patterns import NoiseProtocol, Token
from librats.noise.steps import Steps, new_steps, overhead_of, program_of

__all__ = ["MAX_MESSAGE_SIZE", "Handshake"]

MAX_MESSAGE_SIZE = 65535
"""Bytes that a handshake message may have at most, its keys and tags included (section 3)."""


class _Message(NamedTuple):
    program: bytes
    overhead: int


class _Plan(NamedTuple):
    """What follows from the protocol's name and the side, for every handshake alike."""

    protocol: NoiseProtocol
    messages: tuple[_Message, ...]
    has_static: bool
    knows_static: bool
    has_ephemeral: bool
    known_keys: tuple[bool, ...]
    """The keys that are known beforehand, the initiator's first (5.3): True for one of this side."""


@lru_cache(maxsize=64)
def _plan(protocol_name: str, initiator: bool) -> _Plan:
    protocol = NoiseProtocol.parse(protocol_name)
    pattern = protocol.pattern
    messages = []
    has_key = False
    for tokens in pattern.messages:
        overhead, has_key = overhead_of(tokens, has_key=has_key, uses_psks=pattern.psk_count > 0)
        messages.append(_Message(program_of(tokens), overhead))
    return _Plan(
        protocol,
        tuple(messages),
        has_static=pattern.is_known(initiator=initiator) or pattern.sends(Token.S, initiator=initiator),
        knows_static=pattern.is_known(initiator=not initiator),
        has_ephemeral=pattern.sends(Token.E, initiator=initiator),
        known_keys=tuple(owner == initiator for owner in (True, False) if pattern.is_known(initiator=owner)),
    )


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
        "_export_secret",
        "_failed",
        "_handshake_hash",
        "_index",
        "_initiator",
        "_plan",
        "_remote_static",
        "_steps",
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
        self._plan = plan = _plan(protocol_name, initiator)
        self._initiator = initiator
        _require_key("static", static, needed=plan.has_static)
        _require_key("remote_static", remote_static, needed=plan.knows_static)
        if plan.has_ephemeral:
            _require_key("ephemeral", ephemeral, needed=True)
        psk_count = plan.protocol.pattern.psk_count
        if len(psks) != psk_count or (psk_count and any(len(psk) != dh.KEY_SIZE for psk in psks)):
            raise UsageError(f"psks: this pattern wants {psk_count} of {dh.KEY_SIZE} bytes each")
        self._index = 0
        self._failed = False
        self._handshake_hash: bytes | None = None
        self._remote_static = remote_static
        self._ciphers: tuple[Cipher, Cipher] | None = None
        self._export_secret = b""
        self._steps: Steps | symmetric.Sha256Steps | None = new_steps(
            plan.protocol,
            initiator=initiator,
            prologue=bytes(prologue),
            static=static if static is None else bytes(static),
            static_public=static_public,
            ephemeral=bytes(ephemeral) if ephemeral is not None and plan.has_ephemeral else None,
            remote_static=remote_static if remote_static is None else bytes(remote_static),
            psks=b"".join(psks),
        )
        for is_mine in plan.known_keys:
            self._steps.mix_hash(self._steps.static_public if is_mine else bytes(remote_static or b""))

    def __repr__(self) -> str:
        """Tell the protocol, the side and how far it has come, never a key."""
        side = "initiator" if self._initiator else "responder"
        total = len(self._plan.messages)
        state = "failed" if self._failed else "complete" if self.is_complete else f"{self._index} of {total} messages"
        return f"<Handshake {self._plan.protocol.name} {side}, {state}>"

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
        return None if self._failed else self._remote_static

    @property
    def handshake_hash(self) -> bytes:
        """A name of this channel that both sides share and no other channel has (11.2).

        Raises:
            UsageError: The handshake is not complete.
        """
        if self._handshake_hash is None:
            raise UsageError("the handshake is not complete")
        return self._handshake_hash

    @property
    def export_secret(self) -> bytes:
        """32 bytes that only these two sides know, beside the transport keys: the third output of their derivation.

        Raises:
            UsageError: The handshake is not complete.
        """
        if not self.is_complete:
            raise UsageError("the handshake is not complete")
        return self._export_secret

    def prepare(self) -> None:
        """Compute this side's ephemeral key now, while it waits, and not in the message that carries it.

        Nothing happens where the pattern lets this side send none, or the handshake is complete.
        """
        if self._steps is not None and self._plan.has_ephemeral:
            self._steps.prepare()

    def write_message(self, payload: bytes = b"") -> bytes:
        """Return the next message to send.

        Args:
            payload: What to carry along. How well it is protected depends on pattern and message (7.7).

        Raises:
            UsageError: It is not this side's turn, or the message would have more than 65,535 bytes.
            HandshakeError: The other side's key has low order, or the handshake failed before.
        """
        steps, program, overhead = self._next(writing=True)
        size = overhead + len(payload)
        if size > MAX_MESSAGE_SIZE:
            raise UsageError(f"a handshake message has at most {MAX_MESSAGE_SIZE} bytes, not {size}")
        self._failed = True  # until all of it is done: a half-written state must never be used again
        message = steps.write(program, bytes(payload))
        self._advance(steps)
        return message

    def read_message(self, message: bytes) -> bytes:
        """Take the other side's next message and return its payload.

        Raises:
            UsageError: It is this side's turn to write, or the handshake is complete.
            HandshakeError: The message is too short or too long, was changed, or comes from someone with
                other keys or another prologue; or the handshake failed before.
        """
        steps, program, overhead = self._next(writing=False)
        self._failed = True  # until all of it has proved right
        if not overhead <= len(message) <= MAX_MESSAGE_SIZE:
            raise HandshakeError(
                f"handshake message {self._index + 1} has {overhead} to {MAX_MESSAGE_SIZE} bytes, not {len(message)}"
            )
        try:
            payload = steps.read(program, bytes(message))
        except RemoteProtocolError as error:
            raise HandshakeError(
                f"handshake message {self._index + 1} does not authenticate: "
                "its sender has another prologue (protocol name and version), or other keys, or it was changed"
            ) from error
        self._remote_static = steps.remote_static
        self._advance(steps)
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
        backward = None if self._plan.protocol.pattern.is_one_way else from_responder
        return (from_initiator, backward) if self._initiator else (backward, from_initiator)

    def _next(self, *, writing: bool) -> tuple[Steps | symmetric.Sha256Steps, bytes, int]:
        if self._failed:
            raise HandshakeError("the handshake has failed")
        if self._steps is None:
            raise UsageError("the handshake is complete")
        if ((self._index % 2 == 0) == self._initiator) is not writing:
            raise UsageError(f"it is {'the other' if writing else 'this'} side's turn to write")
        return self._steps, *self._plan.messages[self._index]

    def _advance(self, steps: Steps | symmetric.Sha256Steps) -> None:
        self._index += 1
        self._failed = False
        if self._index == len(self._plan.messages):
            self._handshake_hash = steps.handshake_hash
            from_initiator, from_responder, self._export_secret = steps.split()
            self._ciphers = (from_initiator, from_responder)
            self._steps = None  # forward secrecy: nothing here may still lead to the transport keys


def _require_key(name: str, key: bytes | None, *, needed: bool) -> None:
    if key is None:
        if needed:
            raise UsageError(f"{name}: this pattern needs the key on this side")
    elif not needed:
        # Refused rather than ignored: whoever hands a key in counts on its being checked.
        raise UsageError(f"{name}: this pattern does not use the key on this side")
    elif len(key) != dh.KEY_SIZE:
        raise UsageError(f"{name}: a key has {dh.KEY_SIZE} bytes, not {len(key)}")
