from collections.abc import Iterator
from typing import Final, final

@final
class Message:
    kind: Final[int]
    name: Final[str]
    payload: Final[bytes]
    cost: Final[int]
    request_id: Final[int]
    timeout_ms: Final[int]

@final
class ReplyReceived:
    request_id: Final[int]
    kind: Final[int]
    payload: Final[bytes]
    def __init__(self, request_id: int, kind: int, payload: bytes) -> None: ...
    def __eq__(self, other: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class MessageRun:
    kind: Final[int]
    name: Final[str]
    cost: Final[int]
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Message]: ...
    def message(self, index: int) -> Message: ...
    def payloads(self, first: int, count: int) -> list[bytes]: ...
    def json_array(self, first: int, count: int, max_size: int, max_depth: int) -> bytes | None: ...
    def cost_of(self, first: int, count: int) -> int: ...

def json_nests_deeper(text: bytes, limit: int) -> bool: ...
def make_message(kind: int, name: str, payload: bytes, cost: int) -> Message: ...
