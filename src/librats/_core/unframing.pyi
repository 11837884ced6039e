from typing import Final, Self, final

from typing_extensions import Buffer

from librats._core.aead import Cipher
from librats._core.messages import Message, MessageRun

_Frame = Message | MessageRun | tuple[object, ...]

@final
class BlockReader:
    error: Final[str | None]
    opened: Final[int]
    skipped: Final[int]
    window_used: Final[int]
    def __new__(cls, cipher: Cipher, max_message: int) -> Self: ...
    @property
    def assembling(self) -> int: ...
    @property
    def buffer_size(self) -> int: ...
    def get_buffer(self) -> memoryview: ...
    def trim(self) -> None: ...
    def received(self, count: int) -> list[_Frame]: ...
    def feed(self, data: Buffer) -> list[_Frame]: ...
