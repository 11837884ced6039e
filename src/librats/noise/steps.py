"""What the tokens of handshake messages do (Noise revision 34, 5.3), in Python, and compiled where it can be."""

from __future__ import annotations

from librats._core import symmetric
from librats._core.aead import Cipher
from librats.noise import dh
from librats.noise.cipher_state import TAG_SIZE
from librats.noise.patterns import NoiseProtocol, Token
from librats.noise.symmetric_state import SymmetricState

__all__ = ["Steps", "new_steps", "overhead_of", "program_of"]

TOKENS = tuple(Token(token) for token in symmetric.TOKENS)


def program_of(tokens: tuple[Token, ...]) -> bytes:
    """Return a message's tokens as bytes: of each its place in the list of all."""
    return bytes(map(TOKENS.index, tokens))


def overhead_of(tokens: tuple[Token, ...], *, has_key: bool, uses_psks: bool) -> tuple[int, bool]:
    """Tell how many bytes keys and tags take in a message of these tokens.

    Args:
        tokens: The message's.
        has_key: Whether the message before has left a key behind.
        uses_psks: Whether the pattern has pre-shared keys.

    Returns:
        The bytes, and whether there is a key behind it.
    """
    size = 0
    for token in tokens:
        if token is Token.E:
            size += dh.KEY_SIZE
            has_key = has_key or uses_psks
        elif token is Token.S:
            size += dh.KEY_SIZE + TAG_SIZE * has_key
        else:
            has_key = True
    return size + TAG_SIZE * has_key, has_key


def new_steps(
    protocol: NoiseProtocol,
    *,
    initiator: bool,
    prologue: bytes = b"",
    static: bytes | None = None,
    static_public: bytes | None = None,
    ephemeral: bytes | None = None,
    remote_static: bytes | None = None,
    psks: bytes = b"",
) -> Steps | symmetric.Sha256Steps:
    """Return what one side of a handshake goes on from: compiled, where there is that for the hash function.

    Args:
        protocol: The name says where the hash begins, and with which hash function.
        initiator: True on the side that writes the first message.
        prologue: What is hashed first.
        static: This side's private key, 32 bytes, or None.
        static_public: The key that belongs to it; computed where it is None.
        ephemeral: This side's private key for this handshake, or None.
        remote_static: The other side's public key, where it is known beforehand.
        psks: The pre-shared keys one behind the other.
    """
    if symmetric.AVAILABLE and protocol.digest == "sha256":
        return symmetric.Sha256Steps(
            protocol.name.encode("ascii"),
            initiator=initiator,
            prologue=prologue,
            static=static,
            static_public=static_public,
            ephemeral=ephemeral,
            remote_static=remote_static,
            psks=psks,
        )
    return Steps(
        protocol,
        initiator=initiator,
        prologue=prologue,
        static=static,
        static_public=static_public,
        ephemeral=ephemeral,
        remote_static=remote_static,
        psks=psks,
    )


class Steps:
    """What one side of a handshake knows, and what the tokens of its messages do to that.

    The arguments are those of :func:`new_steps`.
    """

    __slots__ = (
        "_ephemeral_public",
        "_initiator",
        "_private_keys",
        "_psks",
        "_remote_keys",
        "_symmetric",
        "_uses_psks",
        "static_public",
    )

    def __init__(
        self,
        protocol: NoiseProtocol,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes | None,
        static_public: bytes | None,
        ephemeral: bytes | None,
        remote_static: bytes | None,
        psks: bytes,
    ) -> None:
        self._initiator = initiator
        self._private_keys = {Token.S: static or b"", Token.E: ephemeral or b""}
        self._ephemeral_public: bytes | None = None
        self._remote_keys = {} if remote_static is None else {Token.S: remote_static}
        self._psks = [psks[start : start + dh.KEY_SIZE] for start in range(0, len(psks), dh.KEY_SIZE)]
        self._uses_psks = bool(psks)
        if static is not None and static_public is None:
            static_public = dh.public_key(static)
        self.static_public = static_public or bytes(dh.KEY_SIZE)
        """This side's static public key; zeros where it has none."""
        self._symmetric = SymmetricState(protocol.name, protocol.digest)
        self._symmetric.mix_hash(prologue)

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key, or None."""
        return self._remote_keys.get(Token.S)

    @property
    def handshake_hash(self) -> bytes:
        """The hash over everything so far."""
        return self._symmetric.handshake_hash

    def mix_hash(self, data: bytes) -> None:
        """Bind the data to the handshake."""
        self._symmetric.mix_hash(data)

    def prepare(self) -> None:
        """Compute this side's ephemeral public key now, and not in the message that carries it."""
        if self._ephemeral_public is None:
            self._ephemeral_public = dh.public_key(self._private_keys[Token.E])

    def write(self, program: bytes, payload: bytes) -> bytes:
        """Return the message of those tokens.

        Raises:
            HandshakeError: The other side's key has low order.
        """
        parts: list[bytes] = []
        for token in (TOKENS[place] for place in program):
            if token is Token.E:
                self.prepare()
                parts.append(self._ephemeral_public or b"")
                self._mix_ephemeral(parts[-1])
            elif token is Token.S:
                parts.append(self._symmetric.encrypt_and_hash(self.static_public))
            else:
                self._mix_secret(token)
        parts.append(self._symmetric.encrypt_and_hash(payload))
        return b"".join(parts)

    def read(self, program: bytes, message: bytes) -> bytes:
        """Return the payload of a message of those tokens.

        Raises:
            HandshakeError: The other side's key has low order.
            RemoteProtocolError: It is shorter than its keys and tags, or does not authenticate.
        """
        offset = 0
        for token in (TOKENS[place] for place in program):
            if token is Token.E:
                self._remote_keys[token] = message[offset : offset + dh.KEY_SIZE]
                offset += dh.KEY_SIZE
                self._mix_ephemeral(self._remote_keys[token])
            elif token is Token.S:
                size = dh.KEY_SIZE + TAG_SIZE * self._symmetric.has_key
                self._remote_keys[token] = self._symmetric.decrypt_and_hash(message[offset : offset + size])
                offset += size
            else:
                self._mix_secret(token)
        return self._symmetric.decrypt_and_hash(message[offset:])

    def split(self) -> tuple[Cipher, Cipher, bytes]:
        """Return the transport ciphers, initiator to responder and back, and a secret beside them."""
        return self._symmetric.split()

    def _mix_ephemeral(self, public_key: bytes) -> None:
        self._symmetric.mix_hash(public_key)
        if self._uses_psks:
            # 9.2: a pre-shared key alone gives the same keys every time; the ephemeral one makes them unique.
            self._symmetric.mix_key(public_key)

    def _mix_secret(self, token: Token) -> None:
        if token is Token.PSK:
            self._symmetric.mix_key_and_hash(self._psks.pop(0))
            return
        mine, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        secret = dh.exchange(self._private_keys[Token(mine)], self._remote_keys[Token(theirs)])
        self._symmetric.mix_key(secret)
