"""Limits of a running client: what statistics() says of them, and what both sides read where they say no."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    ConnectError,
    IncomingRefused,
    PeerLimitReached,
    RatsConfig,
    RemoteError,
    SessionConfig,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
MIB = 1024 * 1024
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "limits.md"
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


async def test_every_limit_is_told_with_what_is_in_use_and_is_on_the_page(pair: Pair) -> None:
    limits = pair.a.statistics()["limits"]
    page = PAGE.read_text(encoding="utf-8")
    for name, told in limits.items():
        assert set(told) == {"current", "limit", "refused"}
        assert told["refused"] == 0
        assert f"`{name}`" in page or name == "incoming", name
        source: Any = RatsConfig() if name in RatsConfig.__dataclass_fields__ else SessionConfig()
        if name not in ("allow", "deny", "incoming"):
            assert told["limit"] == getattr(source, name)
    assert limits["max_peers"]["current"] == 1
    assert limits["max_memory"]["current"] == 128 * 1024
    json.dumps(limits)


async def test_what_is_in_use_shows_while_it_is(pair: Pair, until: Until) -> None:
    gate = asyncio.Event()

    @pair.b.on("slow")
    async def slow(peer: Any, data: Any) -> None:
        await gate.wait()

    pair.b.on_stream("x/1", lambda stream: None)
    stream = await soon(pair.to_b.open_stream("x/1"))
    asking = asyncio.create_task(pair.to_b.request("slow", "y" * 10_000))
    await until(lambda: pair.b.statistics()["limits"]["max_requests"]["current"] == 1)
    stream.write(bytes(5000))
    ours, theirs = pair.a.statistics()["limits"], pair.b.statistics()["limits"]
    assert ours["max_outgoing_streams"]["current"] == theirs["max_incoming_streams"]["current"] == 1
    assert ours["max_total_outgoing_streams"]["current"] == theirs["max_total_incoming_streams"]["current"] == 1
    assert theirs["message_window"]["current"] > 10_000
    assert pair.b.statistics()["bytes_unhandled"] == theirs["message_window"]["current"]
    assert theirs["max_memory"]["current"] == 128 * 1024 + 256 * 1024
    gate.set()
    await soon(asking)
    stream.reset()
    await until(lambda: pair.b.statistics()["limits"]["max_total_incoming_streams"]["current"] == 0)
    assert pair.b.statistics()["limits"]["message_window"]["current"] == 0


async def test_a_peer_for_whom_there_is_no_memory_is_turned_away_and_both_sides_read_why(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    hub = await make_client(max_memory=4 * MIB)
    refused: list[IncomingRefused] = []
    hub.on_event(IncomingRefused, refused.append)
    for _ in range(24):  # three quarters of 4 MiB, by 128 KiB
        await connect(await make_client(), hub)
    late = await make_client()
    with pytest.raises(
        ConnectError, match=r"the peer refused: \d+ bytes are set aside for peers, the limit is max_mem"
    ):
        await soon(late.connect((LOOPBACK, hub.listen_port)))
    assert (refused[0].limit, refused[0].peer_id) == ("max_memory", late.peer_id)
    with pytest.raises(PeerLimitReached, match=r"the limit is max_memory=4194304 \(RatsConfig\)"):
        await soon(hub.connect((LOOPBACK, late.listen_port)))
    assert hub.statistics()["limits"]["max_memory"]["refused"] == 2
    gone = next(iter(hub.peers.values()))
    await gone.close()
    await until(lambda: len(hub.peers) == 23)
    await soon(late.connect((LOOPBACK, hub.listen_port)))


async def test_refused_streams_and_requests_name_the_limit_on_both_sides(
    make_client: MakeClient, connect: Connect
) -> None:
    strict = SessionConfig(max_incoming_streams=1, max_outgoing_streams=2, max_requests=1)
    pair = await connect(await make_client(), await make_client(session=strict))
    pair.b.on_stream("x/1", lambda stream: None)
    pair.a.on_stream("x/1", lambda stream: None)

    @pair.b.on("slow")
    async def slow(peer: Any, data: Any) -> None:
        await asyncio.get_running_loop().create_future()

    await soon(pair.to_b.open_stream("x/1"))
    with pytest.raises(RemoteError, match=r"the limit is max_incoming_streams=1 \(SessionConfig\)") as told:
        await soon(pair.to_b.open_stream("x/1"))
    assert told.value.code == "limit"
    for _ in range(2):
        await soon(pair.to_a.open_stream("x/1"))
    with pytest.raises(UsageError, match=r"2 streams are open, the limit is max_outgoing_streams=2 \(SessionConfig\)"):
        await soon(pair.to_a.open_stream("x/1"))
    first = asyncio.create_task(pair.to_b.request("slow", timeout=None))
    await asyncio.sleep(0)
    with pytest.raises(RemoteError, match=r"1 requests are under way, the limit is max_requests=1 \(SessionConfig\)"):
        await soon(pair.to_b.request("slow", timeout=None))
    counted = pair.b.statistics()["limits"]
    assert [counted[name]["refused"] for name in ("max_incoming_streams", "max_outgoing_streams", "max_requests")] == [
        1
    ] * 3
    first.cancel()
    await asyncio.wait([first])


async def test_frames_that_nobody_knows_are_counted_also_of_those_who_are_gone(pair: Pair, until: Until) -> None:
    session: Any = pair.to_a.link.session
    for _ in range(3):
        session._control.add(0x77, 0, b"from a later version")
    pair.to_a.link.request_flush()
    await until(lambda: pair.a.statistics()["frames_skipped"] == 3)
    assert pair.to_b.stats.frames_skipped == 3
    await soon(pair.to_b.close())
    await until(lambda: not pair.a.peers)
    assert pair.a.statistics()["frames_skipped"] == 3


async def test_many_peers_share_the_room_for_what_waits(make_client: MakeClient, connect: Connect) -> None:
    hub = await make_client(max_memory=4 * MIB)
    others = [await make_client() for _ in range(8)]
    for other in others:
        (await connect(other, hub)).to_a.link.pause()
        other.peers[hub.peer_id].link.pause()
    for _ in range(300):
        hub.try_send("piece", "x" * 5000)
        await asyncio.sleep(0)
    queued = hub.statistics()["bytes_queued"]
    assert 0 < queued < MIB + 8 * 6000
    assert hub.statistics()["limits"]["send_high_water"]["refused"] > 0
