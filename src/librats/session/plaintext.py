"""The opening of a session without encryption: one block each way (LIBRATS2 wire, section 3.2).

    prologue_length:u16 | prologue | peer id: 32 bytes

Nothing of it is proven. The session that follows has librats 2 framing, also between two of our nodes.
"""

from __future__ import annotations

from librats.errors import HandshakeError
from librats.session.opening import LAST_MESSAGE, PROLOGUE_SIZE, BlockOpening, PlainOpened, is_plaintext, prologue_of

__all__ = ["PlaintextOpening"]

MAX_BLOCK = 65535
ID_SIZE = 32


class PlaintextOpening(BlockOpening):
    """What two sides tell each other where encryption is off at both.

    Args:
        initiator: True on the side that dialled.
        peer_id: Who we are.
        protocol: The application's protocol string, ``name/version``; both sides must give the same.
    """

    _hung_up = "another protocol name, encryption is required there, or it refused"

    def __init__(self, *, initiator: bool, peer_id: str, protocol: str) -> None:
        super().__init__()
        prologue = prologue_of(protocol)
        self._initiator = initiator
        self._head = len(prologue).to_bytes(PROLOGUE_SIZE) + prologue
        self._own = self._head + bytes.fromhex(peer_id)
        if initiator:
            self._write_block(self._own)

    @property
    def step(self) -> int:
        """0 until the peer's block has come; then nothing more is waited for."""
        return 0 if self.result is None else LAST_MESSAGE + 1

    def _check_size(self, size: int) -> None:
        if not ID_SIZE <= size <= MAX_BLOCK:
            raise HandshakeError(f"not a librats peer: a first block of {size} bytes")

    def _read(self, block: bytes) -> None:
        if not is_plaintext(block):
            raise HandshakeError("the peer requires encryption, which is off here, or is no librats peer")
        if not block.startswith(self._head):
            raise HandshakeError("the peer is of another protocol")
        peer_id = block[len(self._head) : len(self._head) + ID_SIZE]
        if len(peer_id) < ID_SIZE:
            raise HandshakeError("the peer's first block breaks off")
        if not self._initiator:
            self._write_block(self._own)
        self.result = PlainOpened(peer_id=peer_id.hex())
