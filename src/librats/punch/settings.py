"""What punching may cost, and how fast it goes."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PunchSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PunchSettings:
    """The budget of one side. Times in seconds.

    Example:
        >>> PunchSettings().birthday_probes / PunchSettings().birthday_rate
        4.0
    """

    rounds: int = 3
    """How often it is tried, each time from fresh ports, before one technique is given up."""

    interval: float = 0.05
    """Between two datagrams to the same address."""

    patience: float = 1.5
    """How long a round is waited for, from the agreed start, where chance does not decide."""

    tcp_interval: float = 0.5
    """Between two attempts to connect, at least; it is longer where the peer is further away than that."""

    tcp_patience: float = 3.0
    """How long a round over TCP is waited for."""

    answer_time: float = 10.0
    """How long the peer is waited for to say something."""

    birthday_sockets: int = 256
    """Sockets of the side behind a NAT that allocates at random."""

    birthday_probes: int = 2000
    """Datagrams that the other side sends to ports drawn at random, in one round."""

    birthday_rate: float = 500.0
    """How many of those a second."""

    window: int = 24
    """How many foretold ports are tried."""

    observations: int = 5
    """How many mappings are looked at to foretell the next one."""

    packets: int = 10_000
    """Datagrams altogether, whatever happens."""

    seconds: float = 30.0
    """How long it takes altogether, at the most."""
