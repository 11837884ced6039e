"""What the streams over a socket can be told."""

from __future__ import annotations

from dataclasses import dataclass

from librats._core.rudp import RudpTable
from librats.errors import ConfigError
from librats.rudp.constants import CongestionControl
from librats.types import Entropy

__all__ = ["DialTries", "RudpConfig"]

LEAST_DATAGRAM = 1220
MOST_DATAGRAM = 65487
MOST_BUFFER = 1 << 30
MOST_STREAMS = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DialTries:
    """How often a Syn is sent: the defaults are those of librats 2."""

    tries: int = 3
    """How often."""

    wait: float = 0.5
    """Seconds between the first two."""

    doubling: bool = True
    """Whether the wait doubles each time."""

    @classmethod
    def punch(cls) -> DialTries:
        """Return those for a path that both sides open at the same time: 8 Syns, 200 ms apart."""
        return cls(tries=8, wait=0.2, doubling=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RudpConfig:
    """Everything a table of streams can be told. Seconds, and bytes.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> from librats.runtime.entropy import SystemEntropy
        >>> len(RudpConfig(control="cubic").new_table(SystemEntropy()))
        0
    """

    control: CongestionControl | str = CongestionControl.MODEL
    """How the sending rate is found; a stream may choose another."""

    max_streams: int = 8192
    """Streams at a time; more are refused."""

    cookie_after: int = 1024
    """Streams from which on a dialer has to prove its address before anything is kept of it; 0: always."""

    send_buffer: int = 1 << 26
    """Most that a stream keeps of what the peer has not acknowledged."""

    receive_buffer: int = 1 << 26
    """Most that a stream keeps of what was not read."""

    receive_window: int = 1 << 20
    """What a stream lets the peer send at first; it grows up to the buffer as the application reads."""

    max_datagram: int = MOST_DATAGRAM
    """The longest datagram that is tried, on a socket that does not fragment; 1220 tries nothing."""

    extended: bool = True
    """Whether to do more than librats 2 can with peers that can it too."""

    accepts: bool = True
    """Whether peers may open streams."""

    idle_timeout: float = 45.0
    """Silence after which a stream is gone."""

    keep_alive: float = 10.0
    """Silence of our own after which the peer is told that we are there."""

    linger: float = 5.0
    """How long a finished stream that nobody holds goes on handing over its last bytes."""

    def __post_init__(self) -> None:
        """Check the values."""
        if self.control not in set(CongestionControl):
            raise ConfigError("control", f"there is no congestion control {self.control!r}")
        limits = {
            "max_streams": (1, MOST_STREAMS - 1),
            "cookie_after": (0, MOST_STREAMS),
            "send_buffer": (1, MOST_BUFFER),
            "receive_buffer": (1, MOST_BUFFER),
            "receive_window": (1, self.receive_buffer),
            "max_datagram": (LEAST_DATAGRAM, MOST_DATAGRAM),
        }
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise ConfigError(name, f"from {low} to {high}")
        for name in ("idle_timeout", "keep_alive", "linger"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, "more than 0 seconds")

    def new_table(self, entropy: Entropy) -> RudpTable:
        """Return an empty table of streams.

        Args:
            entropy: Source of secrets.
        """
        return RudpTable(
            entropy=entropy,
            control=str(self.control),
            max_streams=self.max_streams,
            cookie_after=self.cookie_after,
            send_buffer=self.send_buffer,
            receive_buffer=self.receive_buffer,
            receive_window=self.receive_window,
            max_datagram=self.max_datagram,
            extended=self.extended,
            accepts=self.accepts,
            idle_timeout=self.idle_timeout,
            keep_alive=self.keep_alive,
            linger=self.linger,
        )
