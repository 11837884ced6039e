"""Sessions with introducers: what of a configuration counts there."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from librats import Identity, RatsConfig, SessionConfig
from librats.peers.introducer_sessions import IntroducerSessions
from librats.session.greeting import Feature
from librats.testing.entropy import SeededEntropy
from librats.types import Address

if TYPE_CHECKING:
    from librats.services.session import Link


def sessions_of(config: RatsConfig) -> IntroducerSessions:
    identity = Identity.generate()
    return IntroducerSessions(
        lambda: identity,
        config,
        entropy=SeededEntropy(1),
        new_key=os.urandom,
        agent="test",
        features=Feature.INTRODUCED,
        most=1,
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


def from_host(host: str, now: float = 0.0) -> Link:
    return cast("Link", SimpleNamespace(address=Address(host, 5000), now=lambda: now))


async def test_a_source_whose_handshakes_are_refused_for_the_sake_of_all_has_used_up_nothing_of_its_own() -> None:
    sessions = sessions_of(RatsConfig())
    began = [sessions.handshake_begins(from_host(f"10.0.{number // 256}.{number % 256}")) for number in range(1001)]
    assert [delay is None for delay in began] == [False] * 1000 + [True]  # half of them within the second that follows
    assert {sessions.handshake_begins(from_host("192.0.2.1")) for _ in range(100)} == {None}
    later = [sessions.handshake_begins(from_host("192.0.2.1", now=1.5)) for _ in range(41)]
    assert later == [0.0] * 40 + [None]
