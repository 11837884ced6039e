"""Relays that share quotas through a real Redis or Valkey server, and go on without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from tests.interop.redis_server import RedisServer
from tests.interop.relayed import running_relay
from tests.reference.turn_talk import eventually

from librats import Address, TurnAllocation, TurnError, TurnServer
from librats.relay import fleet
from librats.relay.fleet import Fleet
from librats.relay.metrics import render_metrics
from librats.relay.server import RelayServer
from librats.runtime.entropy import SystemEntropy
from librats.turn.serving.quotas import QuotaLimits, Quotas

pytestmark = pytest.mark.interop

LIMITS = QuotaLimits(user_allocations=3)
REALM = "example.org"

Join = Callable[..., Awaitable[tuple[Fleet, Quotas]]]


HOUR = 3600.0


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let relays exchange when they are told to, and let nothing be forgotten because a test is slow."""
    monkeypatch.setattr(fleet, "INTERVAL", HOUR)


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = await RedisServer(tmp_path).start()
    yield server
    await server.kill()


@pytest.fixture
async def join(redis: RedisServer) -> AsyncIterator[Join]:
    """Make a member of a fleet, which exchanges when it is told to."""
    made: list[Fleet] = []

    async def new(realm: str = REALM) -> tuple[Fleet, Quotas]:
        quotas = Quotas(LIMITS, threading.Lock())
        made.append(Fleet(redis.url, realm, quotas, entropy=SystemEntropy()))
        return made[-1], quotas

    yield new
    for each in made:
        await each.close()


async def test_what_a_user_has_elsewhere_counts(join: Join) -> None:
    (one, here), (other, there) = await join(), await join()
    assert [here.take("ann"), here.take("ann"), there.take("ann"), there.take("bob")] == [1, 2, 1, 1]
    for each in (one, other, one):
        await each.exchange()
    assert (here.elsewhere, there.elsewhere) == ({"ann": 1, "bob": 1}, {"ann": 2})
    assert (one.relays, other.relays, one.failures, other.failures) == (2, 2, 0, 0)
    assert here.take("ann") == there.take("ann") == 0
    assert (here.held_by("ann"), here.by_owner()) == (3, {"ann": 2})
    here.give_back("ann")
    await one.exchange()
    await other.exchange()
    assert there.take("ann") == 2


async def test_counts_are_read_again_only_where_they_changed(join: Join, redis: RedisServer) -> None:
    (one, here), (other, there) = await join(), await join()
    here.take("ann")
    for each in (one, other, one, other):
        await each.exchange()
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        [key] = [key async for key in client.scan_iter("*:counts:*") if await client.get(key) == '{"ann":1}']
        await client.set(key, '{"ann":2}', keepttl=True)
        await other.exchange()
        assert there.elsewhere == {"ann": 1}
        here.take("ann")
        await one.exchange()
        await other.exchange()
        assert there.elsewhere == {"ann": 2}
        assert 0 < await client.pttl(key) <= 5000 * HOUR


async def test_relays_of_other_realms_are_another_fleet(join: Join) -> None:
    (one, here), (other, _) = await join(), await join("other.example")
    here.take("ann")
    await one.exchange()
    await other.exchange()
    assert (one.relays, other.relays) == (1, 1)


async def test_a_relay_that_is_gone_takes_its_counts_along(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    (one, here), (killed, there), (closed, elsewhere) = await join(), await join(), await join()
    there.take("ann")
    elsewhere.take("ann")
    for each in (killed, closed, one):
        await each.exchange()
    assert (one.relays, here.elsewhere) == (3, {"ann": 2})
    await closed.close()
    await one.exchange()
    assert (one.relays, here.elsewhere) == (2, {"ann": 1})
    with monkeypatch.context() as patch:
        patch.setattr(fleet, "LIFE", 0.1 / HOUR)
        await killed.exchange()  # for the last time
    while one.relays > 1:
        await one.exchange()
    assert here.elsewhere == {}


async def test_a_server_that_is_away_leaves_the_limits_of_each_relay(
    join: Join, redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one, here), (other, there) = await join(), await join()
    for _ in range(2):
        there.take("ann")
        here.take("ann")
    await other.exchange()
    await one.exchange()
    assert here.take("ann") == 0
    await redis.kill()
    with caplog.at_level(logging.INFO, logger="librats.relay"):
        await one.exchange()
        assert (one.failures, here.take("ann")) == (1, 0)  # what was heard lately still holds
        with monkeypatch.context() as patch:
            patch.setattr(fleet, "LIFE", 0)
            await one.exchange()
        assert here.elsewhere == {}
        assert (here.take("ann"), one.relays) == (3, 1)
        await redis.start()
        await one.exchange()
        told = [record.message for record in caplog.records]
    for each in (other, one, other):  # the first finds that its connection is gone
        await each.exchange()
    assert there.elsewhere == {"ann": 3}
    assert len(told) == 2
    assert "does not answer" in told[0]
    assert "answers again" in told[1]


async def test_a_relay_tells_anew_what_the_server_has_forgotten(join: Join, redis: RedisServer) -> None:
    (one, here), (other, there) = await join(), await join()
    here.take("ann")
    await one.exchange()
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
    for each in (one, one, other):
        await each.exchange()
    assert there.elsewhere == {"ann": 1}


@pytest.mark.parametrize("value", ["no json", '{"ann": "many"}', "[]"])
async def test_counts_that_make_no_sense_are_told_and_left_out(
    join: Join, redis: RedisServer, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    (one, here), (other, _) = await join(), await join()
    await other.exchange()
    async with Redis.from_url(redis.url, decode_responses=True) as client:
        [key] = [key async for key in client.scan_iter("*:counts:*")]
        await client.set(key, value)
        await one.exchange()
    assert (here.elsewhere, one.relays, one.failures) == ({}, 2, 1)
    assert "cannot be read" in caplog.text


def server_of(relay: RelayServer) -> TurnServer:
    where = relay.addresses[0]
    return TurnServer(host=where.host, port=where.port, username="bob", password="secret")


def fleet_of(relay: RelayServer) -> Fleet:
    assert relay._fleet is not None
    return relay._fleet


async def refusal(relay: RelayServer) -> int:
    """Return the code with which a relay refuses an allocation."""
    with pytest.raises(TurnError) as refused:
        await TurnAllocation.open(server_of(relay))
    return refused.value.code


async def test_a_user_cannot_have_more_at_two_relays_than_at_one(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fleet, "run", lambda _: asyncio.Event().wait())
    async with (
        running_relay(tmp_path, quotas=LIMITS, fleet=redis.url) as first,
        running_relay(tmp_path, quotas=LIMITS, fleet=redis.url) as second,
    ):
        kept = [await TurnAllocation.open(server_of(first)) for _ in range(2)]
        kept.append(await TurnAllocation.open(server_of(second)))
        for relay in (first, second, first):
            await fleet_of(relay).exchange()
        assert [await refusal(relay) for relay in (first, second)] == [486, 486]
        told = first.statistics()
        assert told.fleet == (2, 0)
        assert told.as_event()["fleet"] == {"relays": 2, "failures": 0}
        assert b"librats_relay_fleet_relays 2.0" in render_metrics(told)
        assert (told.users, told.allocations) == ({"bob": 2}, 2)
        await redis.kill()  # nothing waits for it
        await kept.pop().close()
        kept.append(await TurnAllocation.open(server_of(second)))
        monkeypatch.setattr(fleet, "LIFE", 0)
        await fleet_of(first).exchange()
        assert first.statistics().fleet == (1, 1)
        kept.append(await TurnAllocation.open(server_of(first)))
        assert first.statistics().users == {"bob": 3}
        for allocation in kept:
            await allocation.close()


async def test_relays_exchange_by_themselves_again_and_again(
    redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fleet, "INTERVAL", 1.0)
    async with (
        running_relay(tmp_path, quotas=LIMITS, fleet=redis.url) as first,
        running_relay(tmp_path, quotas=LIMITS, fleet=redis.url) as second,
    ):
        await eventually(lambda: fleet_of(first).relays == fleet_of(second).relays == 2)
        allocation = await TurnAllocation.open(server_of(second))
        await eventually(lambda: first._quotas.held_by("bob") == 1)
        await allocation.close()


@pytest.mark.long
async def test_a_killed_relay_is_forgotten(redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "INTERVAL", 0.2)
    command = ("relay", "--listen", "127.0.0.1:0", "--user", "bob:secret", "--realm", REALM, "--fleet", redis.url)
    async with running_relay(tmp_path, quotas=LIMITS, fleet=redis.url, realm=REALM) as kept:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "librats", *command, "--json"),
            stdout=subprocess.PIPE,
            env={**os.environ, "LIBRATS_DATA_DIR": str(tmp_path), "SKBUILD_EDITABLE_VERBOSE": "0"},
        )
        try:
            assert process.stdout is not None
            ready = json.loads(await process.stdout.readline())
            there = Address.parse(ready["addresses"][0])
            server = TurnServer(host=there.host, port=there.port, username="bob", password="secret")
            taken = [await TurnAllocation.open(server) for _ in range(3)]
            assert await until_refused(kept) == 486
        finally:
            process.kill()
            await process.wait()
        async with asyncio.timeout(30.0):
            while True:
                with contextlib.suppress(TurnError):
                    await (await TurnAllocation.open(server_of(kept))).close()
                    break
                await asyncio.sleep(0.1)
        await asyncio.gather(*(allocation.close() for allocation in taken))


async def until_refused(relay: RelayServer) -> int:
    """Allocate until the relay knows that it is too much, and return the code that says so."""
    while True:
        try:
            allocation = await TurnAllocation.open(server_of(relay))
        except TurnError as error:
            return error.code
        await allocation.close()
        await asyncio.sleep(0.05)
