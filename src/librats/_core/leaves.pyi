from collections.abc import Iterable
from typing import Final

AVAILABLE: Final[bool]

def leaf_hashes(pieces: Iterable[bytes | bytearray | memoryview], skip: int = 0) -> bytes: ...
def top_above(hashes: bytes, low: int, width: int, proof: bytes) -> bytes: ...
