from typing import Any

def is_packet(data: bytes) -> bool: ...
def parse(data: bytes) -> dict[str, Any]: ...
def serialise(
    kind: int,
    *,
    conn_id: int,
    number: int,
    flags: int = 0,
    window: int = 0,
    ack: int = 0,
    sack: int = 0,
    payload: bytes = b"",
) -> bytes: ...
