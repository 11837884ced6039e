from typing import Final, Self

from typing_extensions import disjoint_base

@disjoint_base
class ByteQueue:
    taken: Final[int]
    def __new__(cls, *args: object, **kwargs: object) -> Self: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
