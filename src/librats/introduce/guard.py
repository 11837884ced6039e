"""What a peer that is called makes of offers: what is heard at all, and how an introducer that cheats is told apart."""

from __future__ import annotations

from collections.abc import Sequence

from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.session.pace import Pace, PaceTable, wait_for_all

__all__ = ["MAX_SKEW", "OfferGuard", "OfferHosts"]

MINUTE = 60.0

MAX_SKEW = 300.0
"""Seconds that a letter's time may differ from our clock's. As long, and as long again, it is remembered."""

MAX_SEEN = 8192
"""Letters that are remembered."""

PER_CALLER, CALLER_BURST = 12.0, 6.0
"""Offers under the name of one caller that are looked at, a minute and at once."""

PER_INTRODUCER, INTRODUCER_BURST = 120.0, 60.0
"""Offers of one introducer that are looked at, a minute and at once: opening one costs three exchanges of keys."""

PER_HOST, HOST_BURST = 12.0, 6.0
"""How often a minute, and at once, others may have us send checks to one host."""

PUNCHES, PUNCH_BURST = 20.0, 10.0
"""How often a minute, and at once, others may have us punch holes, all of them together."""


class OfferGuard:
    """Judges offers, for one client.

    Args:
        per_minute: Offers that are answered, a minute.

    Example:
        >>> guard = OfferGuard(per_minute=30)
        >>> letter = Letter(id="00" * 16, time=5_000)
        >>> guard.judge("ann", letter, now=0.0, wall=5.0)
        >>> guard.judge("ann", letter, now=1.0, wall=6.0)
        <Refusal.REPLAYED: 'replayed'>
    """

    def __init__(self, *, per_minute: float) -> None:
        self._all = Pace(per_minute / MINUTE, max(1.0, per_minute / 4))
        self._callers = PaceTable(PER_CALLER / MINUTE, CALLER_BURST)
        self._introducers = PaceTable(PER_INTRODUCER / MINUTE, INTRODUCER_BURST)
        self._hosts = PaceTable(PER_HOST / MINUTE, HOST_BURST)
        self._punches = Pace(PUNCHES / MINUTE, PUNCH_BURST)
        self._seen: dict[tuple[str, str], float] = {}
        self.counters = dict.fromkeys(
            (
                *("offers", "accepted", "flooded", "tampered", "replayed", "stale", "limited", "refused"),
                *("hosts_refused", "punches", "punches_refused"),
            ),
            0,
        )
        """What has happened so far."""

    def hears(self, introducer: str, caller: str, *, now: float) -> bool:
        """Tell whether an offer is looked at; not where its introducer, or caller, sends floods of them.

        Args:
            introducer: Who has passed it.
            caller: From whom it is, as the introducer says.
            now: Monotonic seconds.
        """
        self.counters["offers"] += 1
        of_caller = self._callers.of((introducer, caller), now=now)
        heard = wait_for_all(of_caller, self._introducers.of(introducer, now=now), now=now) is not None
        self.counters["flooded"] += not heard
        return heard

    def tampered(self) -> Refusal:
        """Take that an offer could not be opened, or says another caller than its introducer."""
        self.counters["tampered"] += 1
        return Refusal.TAMPERED

    def judge(self, caller: str, letter: Letter, *, now: float, wall: float) -> Refusal | None:
        """Judge an offer that was opened.

        Args:
            caller: Who has sealed it.
            letter: What it says.
            now: Monotonic seconds.
            wall: Seconds since 1970.

        Returns:
            Why it is not answered; None where it is.
        """
        if abs(letter.time / 1000 - wall) > MAX_SKEW:
            self.counters["stale"] += 1
            return Refusal.STALE
        self._forget(now)
        if (caller, letter.id) in self._seen:
            self.counters["replayed"] += 1
            return Refusal.REPLAYED
        if len(self._seen) >= MAX_SEEN or self._all.wait(now=now) is None:
            self.counters["limited"] += 1
            return Refusal.LIMIT
        # Until its time is too long ago, also where the clock of its sender is ahead of ours.
        self._seen[caller, letter.id] = now + 2 * MAX_SKEW + 1
        self.counters["accepted"] += 1
        return None

    def _forget(self, now: float) -> None:
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest] > now:
                break
            del self._seen[oldest]

    def punches(self, *, now: float) -> bool:
        """Tell whether one more caller may have us punch holes.

        Args:
            now: Monotonic seconds.
        """
        may = self._punches.wait(now=now) is not None
        self.counters["punches" if may else "punches_refused"] += 1
        return may

    def hosts_within(self, hosts: Sequence[str], *, now: float) -> set[str]:
        """Return those of some hosts that checks may be sent to: nobody has us ask one again and again.

        Args:
            hosts: IP addresses that an offer names.
            now: Monotonic seconds.
        """
        allowed = {host for host in dict.fromkeys(hosts) if self._hosts.wait(host, now=now) is not None}
        self.counters["hosts_refused"] += len(set(hosts) - allowed)
        return allowed


class OfferHosts:
    """The hosts that one offer may have us send to: each counts once, whatever it is named for.

    Args:
        guard: Who counts.
    """

    def __init__(self, guard: OfferGuard) -> None:
        self._guard = guard
        self._judged: dict[str, bool] = {}

    def within(self, hosts: Sequence[str], *, now: float) -> set[str]:
        """Return those of some hosts that may be sent to.

        Args:
            hosts: IP addresses.
            now: Monotonic seconds.
        """
        new = [host for host in dict.fromkeys(hosts) if host not in self._judged]
        allowed = self._guard.hosts_within(new, now=now)
        self._judged |= {host: host in allowed for host in new}
        return {host for host in hosts if self._judged[host]}
