from collections.abc import Sequence
from typing import Any

def is_packet(data: bytes) -> bool: ...
def parse(data: bytes) -> dict[str, Any]: ...
def serialise(
    kind: int,
    *,
    conn_id: int,
    number: int,
    ack: int = 0,
    timestamp: int = 0,
    timestamp_difference: int = 0,
    window: int = 0,
    extensions: Sequence[tuple[int, bytes]] = (),
    payload: bytes = b"",
) -> bytes: ...
