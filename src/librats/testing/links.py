"""What lies between two machines: how long a packet takes, and whether it arrives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from librats.errors import ConfigError
from librats.testing.entropy import SeededEntropy
from librats.testing.packets import IPV4_HEADER

__all__ = ["BurstLoss", "LinkConditions", "Path"]

MIN_MTU = 576
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstLoss:
    """Losses that come in bursts, as on a radio link: the model of Gilbert and Elliott.

    A link is in a good or in a bad state, and may change it with every packet. A burst has ``1 / leave`` packets on
    average, and the link is bad for a part of ``enter / (enter + leave)`` of them.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> burst = BurstLoss(enter=0.01, leave=0.25)
        >>> round(burst.average, 3)
        0.038
    """

    enter: float
    """How likely a packet finds the link turned bad, 0 to 1."""

    leave: float
    """How likely a packet finds it turned good again, above 0 and up to 1."""

    bad: float = 1.0
    """Which part of the packets is lost in the bad state."""

    good: float = 0.0
    """Which part is lost in the good one."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("enter", "leave", "bad", "good"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, "must be a part from 0 to 1")
        if not self.leave:
            raise ConfigError("leave", "must be above 0, or a burst never ends")

    @property
    def average(self) -> float:
        """Which part of all packets is lost."""
        part = self.enter / (self.enter + self.leave)
        return part * self.bad + (1 - part) * self.good


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkConditions:
    """How a link treats the packets of one direction.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        >>> LinkConditions(delay=0.04, loss=0.02, bandwidth=1_250_000, queue=64_000).bandwidth
        1250000
    """

    delay: float = 0.01
    """Seconds that a packet takes, one way."""

    jitter: float = 0.0
    """Up to that many seconds more, different for each packet: they overtake each other."""

    loss: float = 0.0
    """Which part of the packets is lost, 0 to 1."""

    burst: BurstLoss | None = None
    """Losses in bursts, besides those."""

    reordering: float = 0.0
    """Which part of the packets is held back, so that later ones overtake them."""

    held_back: float = 0.02
    """Seconds for which they are."""

    duplication: float = 0.0
    """Which part of the packets arrives twice."""

    bandwidth: float | None = None
    """Bytes a second; None where a packet's size makes no difference."""

    queue: int | None = None
    """Bytes that wait in front of a link whose bandwidth is used up; what comes beyond them is lost (tail drop). None
    where any number may wait."""

    coalescing: float = 0.0
    """Seconds for which packets are collected at the other end before they arrive together, as network cards do with
    those of fast links. A simulation of many packets a second is quicker with a ten-thousandth."""

    mtu: int = 1500
    """Bytes of the longest IP packet. A longer datagram travels in pieces, of which none may be lost; where its sender
    forbids that, it is dropped, and the sender is told."""

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("delay", "jitter", "held_back", "coalescing"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(name, "must be a number of seconds, 0 or more")
        for name in ("loss", "reordering", "duplication"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(name, "must be a part from 0 to 1")
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise ConfigError("bandwidth", "must be more than 0 bytes a second, or None")
        if self.queue is not None and not self.queue >= 0:
            raise ConfigError("queue", "must be a number of bytes, or None")
        if not self.mtu >= MIN_MTU:
            raise ConfigError("mtu", f"must be at least {MIN_MTU} bytes")

    def changed(self, changes: Mapping[str, Any]) -> LinkConditions:
        """Return them with some values changed.

        Raises:
            ConfigError: There is no such value, or it makes no sense.
        """
        known = LinkConditions.__dataclass_fields__
        for name in sorted(changes.keys() - known.keys()):
            raise ConfigError(name, f"is not known; there is {', '.join(known)}")
        return replace(self, **changes)

    def pieces(self, size: int) -> int:
        """Return into how many packets a datagram is taken apart, of that many bytes with its headers."""
        if size <= self.mtu:
            return 1
        each = (self.mtu - IPV4_HEADER) // 8 * 8
        return -(-(size - IPV4_HEADER) // each)


class Path:
    """One direction between two machines, or of one machine's access to the network.

    Args:
        conditions: How it treats packets.
        entropy: Decides which packets are lost, and when they arrive.
    """

    __slots__ = ("_entropy", "_free_at", "_is_bad", "_is_plain", "conditions", "is_cut")

    def __init__(self, conditions: LinkConditions, entropy: SeededEntropy) -> None:
        self.is_cut = False
        """True where nothing gets through."""
        self._entropy = entropy
        self._free_at = 0.0
        self._is_bad = False
        self.change(conditions)

    def change(self, conditions: LinkConditions) -> None:
        """Treat packets like that from now on; what waits in the queue goes on waiting."""
        self.conditions = conditions
        """How it treats packets."""
        self._is_plain = conditions == LinkConditions(delay=conditions.delay, mtu=conditions.mtu)

    @property
    def backlog(self) -> float:
        """When the last of the packets that wait will have left, in virtual seconds."""
        return self._free_at

    def carry(self, size: int, now: float, pieces: int = 1) -> float | None:
        """Return when a packet arrives that is sent now; None where it is lost, or one of its pieces is."""
        if self.is_cut:
            return None
        conditions = self.conditions
        if self._is_plain:
            return now + conditions.delay
        when = now
        if conditions.bandwidth is not None:
            begins = self._free_at if self._free_at > now else now
            waiting = (begins - now) * conditions.bandwidth
            if conditions.queue is not None and waiting and waiting + size > conditions.queue:
                return None
            # What is lost behind the queue has taken its time on the wire, too.
            when = self._free_at = begins + size / conditions.bandwidth
        if self._is_lost(pieces):
            return None
        when += conditions.delay
        if conditions.jitter:
            when += conditions.jitter * self._entropy.fraction()
        if conditions.reordering and self._entropy.chance(conditions.reordering):
            when += conditions.held_back
        if conditions.coalescing:
            when = max(when, math.ceil(when / conditions.coalescing - ROUNDING) * conditions.coalescing)
        return when

    def copy(self, when: float) -> float | None:
        """Return when a packet that arrives then does so once more; None where it does not."""
        conditions = self.conditions
        if not conditions.duplication or not self._entropy.chance(conditions.duplication):
            return None
        return when + conditions.jitter * self._entropy.fraction()

    def _is_lost(self, pieces: int) -> bool:
        loss, burst, chance = self.conditions.loss, self.conditions.burst, self._entropy.chance
        lost = False
        for _ in range(pieces):
            if burst is not None:
                turns = chance(burst.leave if self._is_bad else burst.enter)
                self._is_bad ^= turns
                part = burst.bad if self._is_bad else burst.good
                lost |= bool(part) and chance(part)
            if loss and chance(loss):
                lost = True
        return lost
