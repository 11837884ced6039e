from collections.abc import Callable
from typing import Final, Self, final

from typing_extensions import Buffer

from librats._core.aead import Cipher
from librats._core.blocks import BlockBuffer
from librats._core.byte_queue import ByteQueue

@final
class InnerQueue(ByteQueue):
    def __new__(cls) -> Self: ...
    def add(self, kind: int, payload: Buffer, channel: int = 0) -> None: ...
    def add_app(self, name: bytes, payload: Buffer) -> None: ...
    def add_typed(self, name: bytes, payload: Buffer) -> None: ...

@final
class InnerWriter:
    sealed: Final[int]
    def __new__(cls, cipher: Cipher | None) -> Self: ...
    def seal(self, urgent: InnerQueue, messages: InnerQueue, limit: int) -> bytes: ...

@final
class InnerReader(BlockBuffer):
    skipped: Final[int]
    others: Final[int]
    messages: Final[int]
    window_used: Final[int]
    def __new__(
        cls, cipher: Cipher | None, max_message: int, channel: Callable[[int], tuple[int, str] | None]
    ) -> Self: ...

def channel_number(name: bytes) -> int: ...
