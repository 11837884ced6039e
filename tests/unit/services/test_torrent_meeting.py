"""Peers that are met through those who have told of them: who is asked, once, and how long is waited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from librats.bittorrent.events import PeersTold
from librats.bittorrent.extensions import HolepunchKind, HolepunchMessage, read_holepunch
from librats.services.torrenting import meeting
from librats.services.torrenting.meeting import Meetings
from librats.types import Address

ONE, OTHER = Address("203.0.113.5", 6881), Address("203.0.113.6", 6881)


class Teller:
    """A peer that has told of others."""

    def __init__(self, key: str = "teller", *, punches: bool = True) -> None:
        self.key = key
        self.punches = punches
        self.said: list[HolepunchMessage] = []

    def send_extended(self, name: str, payload: bytes) -> bool:
        assert name == "ut_holepunch"
        self.said.append(read_holepunch(payload))
        return self.punches


def told(teller: Teller, *addresses: Address, unreached: bool = True) -> Meetings:
    link: Any = teller
    meetings = Meetings()
    meetings.told(PeersTold(link, addresses, unreached=frozenset(addresses if unreached else ())))
    return meetings


def test_whoever_has_told_of_a_peer_is_asked_once() -> None:
    teller = Teller()
    meetings = told(teller, ONE)
    assert [meetings.ask(ONE, {"teller"}) for _ in range(2)] == [True, False]
    assert teller.said == [HolepunchMessage(kind=HolepunchKind.RENDEZVOUS, address=ONE)]


def test_the_first_to_tell_is_asked() -> None:
    first, second = Teller("first"), Teller("second")
    meetings = told(first, ONE)
    link: Any = second
    meetings.told(PeersTold(link, (ONE, OTHER)))
    assert meetings.ask(ONE, {"first", "second"})
    assert meetings.ask(OTHER, {"first", "second"})
    assert [len(teller.said) for teller in (first, second)] == [1, 1]


def test_one_that_is_gone_is_not_asked() -> None:
    teller = Teller()
    assert not told(teller, ONE).ask(ONE, set())
    assert teller.said == []


def test_one_that_brings_nobody_together_is_not_waited_for() -> None:
    assert not told(Teller(punches=False), ONE).ask(ONE, {"teller"})


def test_who_is_connected_already_is_not_asked_for() -> None:
    meetings = told(Teller(), ONE, OTHER)
    meetings.met(ONE)
    assert [meetings.is_unreached(address) for address in (ONE, OTHER)] == [False, True]
    assert not meetings.ask(ONE, {"teller"})


def test_one_that_was_reached_is_dialled_first() -> None:
    meetings = told(Teller(), ONE, unreached=False)
    assert not meetings.is_unreached(ONE)
    assert meetings.ask(ONE, {"teller"})


def test_no_more_are_remembered_than_there_are_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "MAX_CANDIDATES", 3)
    addresses = [Address("203.0.113.9", port) for port in range(1, 10)]
    meetings = told(Teller(), *addresses)
    assert [meetings.is_unreached(address) for address in addresses] == [True] * 3 + [False] * 6


async def test_a_meeting_is_over_when_the_peer_is_there() -> None:
    meetings = told(Teller(), ONE)
    waiting = asyncio.ensure_future(meetings.wait(ONE))
    await asyncio.sleep(0)
    meetings.met(OTHER)
    meetings.met(ONE)
    meetings.met(ONE)
    assert await waiting


async def test_a_meeting_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "MEETING_TIME", 0.01)
    meetings = told(Teller(), ONE)
    assert not await meetings.wait(ONE)
    meetings.met(ONE)  # later, of no matter
