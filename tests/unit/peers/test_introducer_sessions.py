"""Sessions with introducers: what of a configuration counts there."""

from __future__ import annotations

import os
from typing import cast

import pytest
from tests.unit.peers.dialled import Dialled, from_host

from librats import Identity, RatsConfig, SessionConfig
from librats.peers.introducer_sessions import IntroducerSessions
from librats.session.greeting import Feature
from librats.testing.entropy import SeededEntropy


def sessions_of(config: RatsConfig, most: int = 1) -> IntroducerSessions:
    identity = Identity.generate()
    return IntroducerSessions(
        lambda: identity,
        config,
        entropy=SeededEntropy(1),
        new_key=os.urandom,
        agent="test",
        features=Feature.INTRODUCED,
        most=most,
    )


async def test_messages_are_short_whatever_the_configuration_says_and_signs_of_life_are_as_it_says() -> None:
    wanted = SessionConfig(max_message_size=1 << 30, max_json_size=1 << 20, ping_interval=3.0, idle_timeout=9.0)
    sessions = sessions_of(RatsConfig(session=wanted))
    link = sessions.new_link()
    used = link._config
    assert (used.max_message_size, used.max_json_size) == (65536, 65536)
    assert (used.ping_interval, used.idle_timeout) == (3.0, 9.0)
    assert sessions._greeting.max_message == 65536
    link.abort()


async def test_who_begins_sessions_and_says_no_more_loses_the_oldest_to_the_next_one() -> None:
    sessions = sessions_of(RatsConfig(max_half_open_per_source=3), most=10)
    links = [from_host("192.0.2.1") for _ in range(30)]
    assert [sessions._connected(link) for link in links] == [True] * 30
    assert [cast("Dialled", link).is_aborted for link in links] == [True] * 27 + [False] * 3
    others = [from_host(f"192.0.2.{number}") for number in range(2, 32)]
    assert [sessions._connected(other) for other in others] == [True] * 30
    assert len(sessions._open) == 5  # half of the places, for those that are not known yet
    for link in (*links, *others):
        sessions.link_closed(link)
    assert (len(sessions._open), len(sessions._half_open)) == (0, 0)


async def test_a_source_whose_handshakes_wait_for_the_sake_of_all_has_used_up_nothing_of_its_own() -> None:
    sessions = sessions_of(RatsConfig())
    links = [from_host(f"10.0.{number // 256}.{number % 256}") for number in range(750)]
    began = [sessions.handshake_begins(link) for link in links]
    assert began[:500] == [0.0] * 500
    assert began[500:] == [pytest.approx(number / 500) for number in range(1, 251)]
    newcomers = [from_host("192.0.2.1") for _ in range(100)]
    assert [sessions.handshake_begins(link) for link in newcomers] == [pytest.approx(1 / 500)] * 100
    refused = [cast("Dialled", link).is_aborted for link in [*links, *newcomers]]
    assert refused == [False] * 500 + [True] + [False] * 249 + [True] * 99 + [False]
    later = [sessions.handshake_begins(from_host("192.0.2.1", now=1.5)) for _ in range(41)]
    assert later == [0.0] * 40 + [pytest.approx(1 / 20)]
