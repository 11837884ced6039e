from typing import Protocol, final

from librats._core.rudp import RudpTable

class _Secrets(Protocol):
    def token_bytes(self, size: int, /) -> bytes: ...

CONTROLS: dict[str, int]

@final
class UtpTable(RudpTable):
    def __init__(
        self,
        entropy: _Secrets,
        *,
        control: str = "ledbat",
        max_streams: int = 8192,
        max_half_open: int = 512,
        send_buffer: int = ...,
        receive_buffer: int = ...,
        receive_window: int = ...,
        max_datagram: int = 1472,
        accepts: bool = True,
        idle_timeout: float = 300.0,
        keep_alive: float = 25.0,
        linger: float = 5.0,
    ) -> None: ...
    @property
    def shrunk_at(self) -> float: ...
