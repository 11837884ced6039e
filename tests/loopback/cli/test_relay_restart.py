"""A relay that dies, or is told to stop, under clients of ours that go on."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.reference.turn_talk import Events, Heard, eventually, exchange, peer_on

from librats import Address, TurnAllocated, TurnAllocation, TurnError, TurnLost, TurnServer

if TYPE_CHECKING:
    from tests.loopback.cli.conftest import Command, Start

OPTIONS = ("--json", "--user", "bob:secret", "--allow-peer", "127.0.0.0/8")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


async def relay_on(start: Start, place: str, *more: str) -> tuple[Command, Address]:
    command = await start("relay", "--listen", place, *OPTIONS, *more)
    return command, Address.parse((await command.event_named("ready"))["addresses"][0])


def server_at(address: Address, transport: Any = "udp") -> TurnServer:
    return TurnServer(host=address.host, port=address.port, username="bob", password="secret", transport=transport)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_killed_relay_leaves_a_gap_and_no_error(start: Start, transport: str) -> None:
    command, address = await relay_on(start, "127.0.0.1:0")
    heard, events = Heard(), Events()
    server = server_at(address, transport)
    relay = await TurnAllocation.open(server, receive=heard, on_event=events, keep_alive=0.3)
    async with relay, peer_on() as (echoed, peer):
        assert relay.send(b"before", peer.local_address)
        assert (await echoed.until(1))[0][0] == b"before"
        command.process.kill()
        await command.process.wait()
        relay.send(b"into the gap", peer.local_address)
        again, _ = await relay_on(start, str(address))
        await events.until(TurnAllocated, 2)
        # The peer is let in without being asked for again, a moment after the allocation.
        await eventually(lambda: peer.send(b"are you there?", relay.relayed_address) and heard.datagrams)
        assert heard.datagrams[0] == (b"are you there?", peer.local_address)
        await eventually(lambda: relay.send(b"afterwards", peer.local_address) and echoed.datagrams[1:])
        assert echoed.datagrams[1][0] == b"afterwards"
        assert [type(event) for event in events.seen] == [TurnAllocated, TurnLost, TurnAllocated]
    assert (await again.stop(signal.SIGTERM)).status == 0


async def test_a_draining_relay_serves_whom_it_has_and_nobody_else(start: Start) -> None:
    command, address = await relay_on(start, "127.0.0.1:0")
    heard, events = Heard(), Events()
    async with await TurnAllocation.open(server_at(address), receive=heard, on_event=events) as relay:
        command.process.send_signal(signal.SIGTERM)
        await command.event_named("draining")
        with pytest.raises(TurnError) as refused:
            await TurnAllocation.open(server_at(address))
        assert refused.value.code == 508
        await exchange(relay, heard, rounds=3)
        await relay.refresh()
        assert command.process.returncode is None
        assert [type(event) for event in events.seen] == [TurnAllocated]
    done = await command.finish()
    assert (done.status, done.stderr) == (0, "")


async def test_a_drain_ends_at_its_deadline_and_the_client_goes_on_with_the_next_relay(start: Start) -> None:
    command, address = await relay_on(start, "127.0.0.1:0", "--drain-timeout", "0.5")
    heard, events = Heard(), Events()
    relay = await TurnAllocation.open(server_at(address), receive=heard, on_event=events, keep_alive=0.3)
    async with relay:
        command.process.send_signal(signal.SIGTERM)
        done = await command.finish()
        assert (done.status, done.stderr) == (0, "")
        assert done.events[-1]["allocations"] == 1
        await relay_on(start, str(address))
        await events.until(TurnAllocated, 2)
        await exchange(relay, heard, rounds=3)
