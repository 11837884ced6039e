from typing import Final, Self

from typing_extensions import Buffer, disjoint_base

from librats._core.aead import Cipher
from librats._core.messages import Message, MessageRun

_Frame = Message | MessageRun | tuple[object, ...]

@disjoint_base
class BlockBuffer:
    error: Final[str | None]
    opened: Final[int]
    def __new__(cls, cipher: Cipher | None, *args: object, **kwargs: object) -> Self: ...
    @property
    def buffer_size(self) -> int: ...
    def get_buffer(self) -> memoryview: ...
    def trim(self) -> None: ...
    def received(self, count: int) -> list[_Frame]: ...
    def feed(self, data: Buffer) -> list[_Frame]: ...
