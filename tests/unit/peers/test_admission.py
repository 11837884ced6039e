"""Who may come in: how often handshakes begin."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from librats import RatsConfig
from librats.peers.entry.access import Access
from librats.peers.entry.admission import Admission
from librats.peers.handling.dispatch import Dispatcher
from librats.peers.handling.handlers import HandlerTable
from librats.runtime.tasks import TaskSet
from librats.session.shared_limits import SharedLimits
from librats.types import Address

if TYPE_CHECKING:
    from librats.services.session import Link


def admission(**limits: Any) -> Admission:
    config, handlers, tasks = RatsConfig(**limits), HandlerTable(), TaskSet()
    dispatcher = Dispatcher(handlers, tasks, config.session)
    return Admission(config, handlers, dispatcher, tasks, {}, access=Access(), shared=SharedLimits(config))


def from_host(host: str, now: float = 0.0) -> Link:
    return cast("Link", SimpleNamespace(address=Address(host, 5000), now=lambda: now))


async def test_each_source_and_all_together_begin_so_many_handshakes_and_wait_half_a_second() -> None:
    door = admission(max_handshake_rate=8, max_handshake_rate_per_source=4)
    own = [door.handshake_begins(from_host("192.0.2.1")) for _ in range(8)]
    assert own == [0.0] * 4 + [pytest.approx(0.25), pytest.approx(0.5), None, None]
    assert door.refusals["max_handshake_rate_per_source"] == 2
    another = [door.handshake_begins(from_host(f"192.0.2.{number}")) for number in range(2, 10)]
    assert another == [0.0] * 2 + [pytest.approx(number / 8) for number in range(1, 5)] + [None, None]
    assert door.refusals["max_handshake_rate"] == 2


async def test_a_source_that_is_refused_for_the_sake_of_all_has_used_up_nothing_of_its_own() -> None:
    door = admission(max_handshake_rate=8, max_handshake_rate_per_source=4)
    for number in range(12):
        door.handshake_begins(from_host(f"192.0.2.{number}"))
    assert {door.handshake_begins(from_host("192.0.2.99")) for _ in range(20)} == {None}
    later = [door.handshake_begins(from_host("192.0.2.99", now=0.6)) for _ in range(5)]
    assert later == [pytest.approx(number / 8 - 0.1) for number in range(1, 5)] + [None]
