"""What operators get wrong, and what a reload does, on a relay in this process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import WAIT, Peer, TurnClient
from tests.reference.certificates import make_certificate

from librats.errors import ConfigError, UsageError
from librats.relay import server as module
from librats.relay.config import RelayConfig
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, Method
from librats.turn.serving.quotas import QuotaLimits
from librats.turn.serving.tables import Settings
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay

TRANSPORT = (Attribute.REQUESTED_TRANSPORT, 17)
AT_ONCE = {
    *("certificate", "private_key", "try_alternate", "try_alternate_tls", "users", "secrets", "allow_peers"),
    *("deny_peers", "quotas", "settings", "drain_timeout"),
}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.01)


async def test_a_host_to_relay_from_that_is_another_machines_is_told_at_the_start(start_relay: StartRelay) -> None:
    with pytest.raises(ConfigError, match=r"relay_hosts: cannot relay from 192\.0\.2\.1"):
        await start_relay(relay_hosts=("127.0.0.1", "192.0.2.1"))


@pytest.mark.parametrize("threads", [1, 2])
async def test_a_second_relay_does_not_take_half_of_what_comes_to_the_port_of_the_first(
    start_relay: StartRelay, threads: int
) -> None:
    first = await start_relay(tcp=False, threads=threads)
    with pytest.raises(ConfigError, match="already in use"):
        await start_relay(tcp=False, threads=threads, listen=tuple(first.addresses))


async def test_other_addresses_of_the_machine_are_as_closed_as_those_that_are_listened_on(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def addresses() -> list[str]:
        return ["127.0.0.1", "198.51.100.9", "fe80::1%lo"]

    monkeypatch.setattr(module, "interface_addresses", addresses)
    server = await start_relay(allow_peers=())
    with TurnClient(server.addresses[0]) as client:
        await run_in_thread(client.allocate)
        assert await run_in_thread(lambda: client.permit(("198.51.100.9", 22))) == 403
        assert await run_in_thread(lambda: client.permit(("198.51.100.10", 22))) == 0
        server.reload(server.config)
        assert await run_in_thread(lambda: client.bind(0x4000, ("198.51.100.9", 22))) == 403


def test_a_reload_uses_each_field_or_says_that_it_needs_a_restart() -> None:
    fields = {field.name for field in dataclasses.fields(RelayConfig)}
    assert fields - set(module._FIXED) == AT_ONCE


async def test_a_reload_says_which_of_the_settings_need_a_restart(start_relay: StartRelay) -> None:
    server = await start_relay()
    settings = replace(server.config.settings, source_answers=7, max_permissions=3)
    changed = replace(server.config, settings=settings, max_connections=5)
    assert server.reload(changed) == ["max_connections", "settings.source_answers"]


async def test_a_reload_limits_what_is_relayed_altogether(start_relay: StartRelay) -> None:
    server = await start_relay()
    with TurnClient(server.addresses[0]) as client, Peer() as peer:

        def talk(count: int) -> None:
            for _ in range(count):
                client.send_channel(0x4000, bytes(1000))

        await run_in_thread(client.allocate)
        assert await run_in_thread(lambda: client.bind(0x4000, peer.address)) == 0
        server.reload(replace(server.config, quotas=QuotaLimits(total_bandwidth=1)))
        assert await run_in_thread(lambda: client.refresh(600)) == 0  # the thread has read what was posted by now
        await run_in_thread(lambda: talk(100))  # a burst of 65,536 bytes is let through
        await until(lambda: server.statistics().dropped.get("over_limit", 0) > 0)
        server.reload(replace(server.config, quotas=QuotaLimits()))
        assert await run_in_thread(lambda: client.refresh(600)) == 0
        while not await run_in_thread(peer.hears_nothing):
            pass
        await run_in_thread(lambda: talk(1))
        assert len(await run_in_thread(peer.receive)) == 1000


async def test_a_reload_that_fails_changes_nothing(start_relay: StartRelay, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "relay.test")
    server = await start_relay(tls_listen=(Address("127.0.0.1", 0),), certificate=certificate)
    before = server.config
    changed = replace(before, quotas=QuotaLimits(total_allocations=1), settings=Settings(max_permissions=1))
    with pytest.raises(UsageError, match="not allowed"):
        server.reload(replace(changed, users={"ann\0": "secret"}))
    with pytest.raises(ConfigError, match="certificate"):
        server.reload(replace(changed, certificate=tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match="certificate"):
        server.reload(replace(changed, certificate=None, tls_listen=()))
    assert server.config is before
    with TurnClient(server.addresses[0]) as client, TurnClient(server.addresses[0]) as second:
        assert await run_in_thread(lambda: client.code(Method.ALLOCATE, TRANSPORT)) == 0
        assert await run_in_thread(lambda: second.code(Method.ALLOCATE, TRANSPORT)) == 0
