"""Who may come in: how often handshakes begin."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.unit.peers.dialled import Dialled, from_host

from librats import RatsConfig
from librats.peers.entry.access import Access
from librats.peers.entry.admission import Admission
from librats.peers.handling.dispatch import Dispatcher
from librats.peers.handling.handlers import HandlerTable
from librats.runtime.tasks import TaskSet
from librats.session.shared_limits import SharedLimits


def admission(**limits: Any) -> Admission:
    config, handlers, tasks = RatsConfig(**limits), HandlerTable(), TaskSet()
    dispatcher = Dispatcher(handlers, tasks, config.session)
    return Admission(config, handlers, dispatcher, tasks, {}, access=Access(), shared=SharedLimits(config))


async def test_each_source_and_all_together_begin_so_many_handshakes_and_wait_half_a_second() -> None:
    door = admission(max_handshake_rate=8, max_handshake_rate_per_source=4)
    links = [from_host("192.0.2.1") for _ in range(8)]
    own = [door.handshake_begins(link) for link in links]
    assert own == [0.0] * 4 + [pytest.approx(wait) for wait in (0.25, 0.25, 0.25, 0.25)]
    assert [cast("Dialled", link).is_aborted for link in links] == [False] * 5 + [True, True, False]
    assert door.refusals["max_handshake_rate_per_source"] == 2
    another = [door.handshake_begins(from_host(f"192.0.2.{number}")) for number in range(2, 10)]
    assert another == [0.0] * 2 + [pytest.approx(wait) for wait in (0.125, 0.25, 0.375, 0.5, 0.25, 0.5)]
    assert door.refusals["max_handshake_rate"] == 2


async def test_a_source_that_is_refused_for_the_sake_of_all_has_used_up_nothing_of_its_own() -> None:
    door = admission(max_handshake_rate=8, max_handshake_rate_per_source=4)
    for number in range(12):
        door.handshake_begins(from_host(f"192.0.2.{number}"))
    for _ in range(20):
        assert door.handshake_begins(from_host("192.0.2.99")) == pytest.approx(0.125)
    assert door.refusals["max_handshake_rate"] == 20
    later = [door.handshake_begins(from_host("192.0.2.99", now=0.6)) for _ in range(5)]
    assert later == [pytest.approx(wait) for wait in (0.025,) * 5]
