from collections.abc import Iterable, Iterator
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
class MessageRun:
    kind: Final[int]
    name: Final[str]
    payloads: Final[list[bytes]]
    cost: Final[int]
    longest: Final[int]
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Message]: ...
    def message(self, index: int) -> Message: ...
    def cost_of(self, count: int) -> int: ...
    def nests_deeper(self, limit: int) -> bool: ...

def json_nests_deeper(text: bytes, limit: int) -> bool: ...
def make_message(kind: int, name: str, payload: bytes, cost: int) -> Message: ...
def make_run(kind: int, name: str, payloads: Iterable[bytes], overhead: int) -> MessageRun: ...
