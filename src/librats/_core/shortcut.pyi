from collections.abc import Callable
from typing import Any, Final, Self, final

from librats._core.byte_queue import ByteQueue

@final
class Shortcut:
    taken: Final[int]
    def __new__(
        cls, queue: ByteQueue, beside: ByteQueue | None, encode: Callable[[Any], bytes], max_size: int, max_depth: int
    ) -> Self: ...
    def open(self, room: int) -> None: ...
    def close(self) -> None: ...
    def take(self, name: object, value: object) -> bool: ...
