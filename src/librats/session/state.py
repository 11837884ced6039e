"""What a session machine in extended framing knows of itself, and what its driver asks."""

from __future__ import annotations

import math
from collections import deque

from librats._core.framing import BlockWriter, FrameQueue
from librats._core.retained import Retained
from librats._core.turns import SessionTurns
from librats._core.unframing import BlockReader
from librats.config import RatsConfig, SessionConfig
from librats.session.events import Event, SessionFailed
from librats.session.frames import FRAME_COST
from librats.session.greeting import Greeting
from librats.session.opening import Opened
from librats.session.pace import Pace
from librats.session.path_keys import PathKeys
from librats.session.payloads import json_shortcut
from librats.session.requests import RequestTable
from librats.session.round_trip import RoundTrip
from librats.session.shared_limits import SharedLimits
from librats.session.stream_table import StreamTable
from librats.types import Entropy

__all__ = ["SessionState"]

FIRST_PING = 0.05
"""Seconds until the first round trip is measured: not while both sides are busy beginning."""

KEPT_AT_LEAST = 512 * 1024
"""Bytes that a session that can move may have on their way in any case, however short memory is."""

MOST_BLOCKS = 1 << 63

MAX_EVENTS = 65536
"""Events other than messages that may wait for a driver that does not take them."""


class SessionState(SessionTurns):
    """State and questions of a :class:`~librats.session.machine.Session`, which describes the arguments.

    Counters of the compiled part begin with 0.
    """

    __slots__ = (
        "_config",
        "_is_path_broken",
        "_malformed",
        "_next_ping",
        "_pace",
        "_peer_going",
        "_peer_said_hello",
        "_sending",
        "_share",
        "_shared",
        "_successions_heard",
        "events",
        "get_buffer",
        "path_keys",
        "shortcut",
    )

    failed: SessionFailed | None
    requests: RequestTable
    round_trip: RoundTrip
    streams: StreamTable

    def __init__(  # noqa: PLR0915 - a line for each thing that a session knows
        self,
        opened: Opened,
        greeting: Greeting,
        *,
        initiator: bool,
        config: SessionConfig,
        entropy: Entropy,
        now: float,
        shared: SharedLimits | None = None,
        window: int | None = None,
    ) -> None:
        self._config = config
        self._shared = shared or SharedLimits(RatsConfig(session=config))
        self._window = config.message_window if window is None else window
        self._share = self._shared.begin_session(self._window)
        self._pace = Pace(config.max_control_rate, config.max_control_rate)
        self.path_keys: PathKeys | None = None
        """Where the keys of further paths come from; None where the session stays on its first one."""
        self.retained: Retained | None = None
        """What was sent and not yet acknowledged, where the session can move."""
        if opened.path_secret:
            self.path_keys = PathKeys(opened.path_secret, initiator=initiator)
            self.retained = Retained(opened.sending)
        self._sending = opened.sending
        self._kept_room = KEPT_AT_LEAST
        self._ack_due = math.inf
        self._stall_told = -math.inf
        self._is_path_broken = False
        self._writer = BlockWriter(opened.sending)
        self._reader = BlockReader(opened.receiving, config.max_message_size)
        self.get_buffer = self._reader.get_buffer
        """Where the driver writes the next bytes from the network: told a buffer that nobody else uses until
        ``buffer_updated``, that one, where nothing is held."""
        self._control = FrameQueue()
        self._replies = FrameQueue(replies=True)
        self._messages = FrameQueue()
        self._events: deque[Event] = deque()
        self.events = self._events
        """What has not been told yet, but for changes of streams; ``take_events`` adds those."""

        self._send_credit = greeting.message_window
        self._max_payload = min(config.max_message_size, greeting.max_message)
        self.shortcut = json_shortcut(self._messages, self._replies, config, self._max_payload)
        """The short way of JSON messages into their queue, for the driver to open."""
        self._window_granted = self._window
        self._malformed = 0

        self.streams = StreamTable(
            self._control, self._events, initiator=initiator, config=config, shared=self._shared, share=self._share
        )
        """The streams of both sides."""
        self._ready_streams = self.streams.ready
        self.requests = RequestTable(
            self._messages, config.max_requests, self._control, self._events, config, self._shared
        )
        """The requests of both sides."""
        self.round_trip = RoundTrip(entropy)
        """Pings and what they tell."""
        self._last_received = now
        self._next_ping = now + min(FIRST_PING, config.ping_interval)
        self._rekeyed_at = now
        self._rekey_messages = min(config.rekey_messages, MOST_BLOCKS)
        self._rekey_interval = config.rekey_interval
        self.failed = None
        """Why this side gave the session up, or None."""
        self._peer_going = False
        self._peer_said_hello = False
        self._successions_heard = 0
        self._max_events = MAX_EVENTS + config.message_window // FRAME_COST
        self._last_words: bytes | None = None

    # What the driver asks

    @property
    def messages_sent(self) -> int:
        """Messages, requests and replies that were queued."""
        return self._sent + self.shortcut.taken

    @property
    def queued(self) -> int:
        """Bytes of messages, requests and replies that wait for room at the network or at the peer."""
        return len(self._messages) + len(self._replies)

    @property
    def messages_in_order(self) -> int:
        """Messages and requests queued so far, which keep their order; replies do not."""
        return self.messages_sent - self._answers_sent

    @property
    def control_queued(self) -> int:
        """Bytes of control frames and datagrams that wait for the network."""
        return len(self._control)

    @property
    def unhandled(self) -> int:
        """Bytes of messages and requests that handlers have not finished, and of parts of such."""
        return self._unhandled + self._reader.assembling

    @property
    def receive_buffer(self) -> int:
        """Bytes that the buffer for the network takes."""
        return self._reader.buffer_size

    @property
    def is_idle(self) -> bool:
        """True where nothing is under way in either direction."""
        return not (self.queued or len(self._control) or self.streams.count or self.requests.count or self._unhandled)

    wants_pause = False
    """Never: credit holds the peer back, and what needs none must go on arriving."""

    @property
    def frames_skipped(self) -> int:
        """Frames of a type that this version does not know, and of peer exchange that do not parse."""
        return self._reader.skipped + self._malformed
