from typing import Final, Self, final

from librats._core.aead import Cipher
from librats._core.blocks import BlockBuffer

@final
class BlockReader(BlockBuffer):
    acknowledged: Final[int]
    skipped: Final[int]
    window_used: Final[int]
    def __new__(cls, cipher: Cipher, max_message: int) -> Self: ...
    @property
    def assembling(self) -> int: ...
