"""Sessions with introducers: what of a configuration counts there."""

from __future__ import annotations

import os

from librats import Identity, RatsConfig, SessionConfig
from librats.peers.introducer_sessions import IntroducerSessions
from librats.session.greeting import Feature
from librats.testing.entropy import SeededEntropy


async def test_messages_are_short_whatever_the_configuration_says_and_signs_of_life_are_as_it_says() -> None:
    identity = Identity.generate()
    wanted = SessionConfig(max_message_size=1 << 30, max_json_size=1 << 20, ping_interval=3.0, idle_timeout=9.0)
    sessions = IntroducerSessions(
        lambda: identity,
        RatsConfig(session=wanted),
        entropy=SeededEntropy(1),
        new_key=os.urandom,
        agent="test",
        features=Feature.INTRODUCED,
        most=1,
    )
    link = sessions.new_link()
    used = link._config
    assert (used.max_message_size, used.max_json_size) == (65536, 65536)
    assert (used.ping_interval, used.idle_timeout) == (3.0, 9.0)
    assert sessions._greeting.max_message == 65536
    link.abort()
