from typing import Final, Self, final

from librats._core.aead import Cipher

AVAILABLE: Final[bool]
TOKENS: Final[tuple[str, ...]]

@final
class Sha256Steps:
    def __new__(
        cls,
        name: bytes,
        *,
        initiator: bool,
        prologue: bytes,
        static: bytes | None,
        static_public: bytes | None,
        ephemeral: bytes | None,
        remote_static: bytes | None,
        psks: bytes,
    ) -> Self: ...
    @property
    def static_public(self) -> bytes: ...
    @property
    def remote_static(self) -> bytes | None: ...
    @property
    def handshake_hash(self) -> bytes: ...
    def mix_hash(self, data: bytes) -> None: ...
    def write(self, program: bytes, payload: bytes) -> bytes: ...
    def read(self, program: bytes, message: bytes) -> bytes: ...
    def split(self) -> tuple[Cipher, Cipher, bytes]: ...

def x25519(private_key: bytes, public_key: bytes) -> bytes | None: ...
def x25519_public(private_key: bytes) -> bytes: ...
