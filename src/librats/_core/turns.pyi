from collections import deque
from typing import Any, Final, Self

from typing_extensions import disjoint_base

from librats._core.framing import BlockWriter, FrameQueue
from librats._core.retained import Retained
from librats._core.unframing import BlockReader

ACK_BYTES: Final[int]
ACK_BLOCKS: Final[int]
ACK_DELAY: Final[float]
MAX_CONTROL: Final[int]

@disjoint_base
class SessionTurns:
    _reader: BlockReader
    _writer: BlockWriter
    _control: FrameQueue
    _replies: FrameQueue
    _messages: FrameQueue
    requests: Any
    retained: Retained | None
    _ready_streams: dict[int, Any]
    _events: deque[Any]
    _last_words: bytes | None
    failed: Any
    _going: bool
    round_trip: Any
    streams: Any
    _ack_due: float
    _last_received: float
    _rekey_interval: float
    _rekeyed_at: float
    _stall_told: float
    _acks_queued: int
    _answers_sent: int
    _beyond_window: int
    _kept_room: int
    _max_events: int
    _max_payload: int
    _send_credit: int
    _sent: int
    _skipped: int
    _told_at: int
    _unhandled: int
    _window: int
    _window_granted: int
    _window_seen: int
    bytes_received: int
    bytes_sent: int
    messages_received: int
    _rekey_messages: int
    _rekeyed_count: int
    _sealed_before: int
    _told_blocks: int
    def __new__(cls, *args: object, **kwargs: object) -> Self: ...
    def buffer_updated(self, count: int, *, now: float, frames: list[Any] | None = None) -> None: ...
    def acknowledge(self, *, along: bool = False) -> None: ...
    def consumed(self, cost: int) -> None: ...
    def send_request(self, payload: tuple[int, Any], name: bytes, *, timeout: float | None, now: float) -> int: ...
    def send_reply(self, number: int, payload: tuple[int, Any]) -> None: ...
    def data_to_send(self, *, now: float) -> bytes: ...
    def finish_round(self, *, begins_with_rekey: bool, now: float) -> bytes: ...
    @property
    def replies_queued(self) -> int: ...
    @property
    def wants_to_send(self) -> bool: ...
    def paths_timer(self) -> float: ...
    def stalls_at(self) -> float: ...
