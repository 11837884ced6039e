from typing import Final, Self, final

from typing_extensions import Buffer

from librats._core.aead import Cipher

@final
class Message:
    kind: Final[int]
    name: Final[str]
    payload: Final[bytes]
    cost: Final[int]
    request_id: Final[int]
    timeout_ms: Final[int]

_Frame = Message | tuple[object, ...]

@final
class BlockReader:
    error: Final[str | None]
    opened: Final[int]
    skipped: Final[int]
    window_used: Final[int]
    def __new__(cls, cipher: Cipher, max_message: int) -> Self: ...
    @property
    def buffer_size(self) -> int: ...
    def get_buffer(self) -> memoryview: ...
    def trim(self) -> None: ...
    def received(self, count: int) -> list[_Frame]: ...
    def feed(self, data: Buffer) -> list[_Frame]: ...

def json_nests_deeper(text: bytes, limit: int) -> bool: ...
def make_message(kind: int, name: str, payload: bytes, cost: int) -> Message: ...
