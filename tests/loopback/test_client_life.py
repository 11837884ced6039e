"""A client's life: identity, start and stop, ends of sessions and their reasons, and what it tells about itself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    ConfigError,
    Identity,
    IdentityError,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerNotConnected,
    RatsClient,
    RatsConfig,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
CONFIG = RatsConfig(listen_host=LOOPBACK)
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


async def test_the_same_data_directory_gives_the_same_id_again(tmp_path: Path) -> None:
    client = RatsClient(config=CONFIG, data_dir=tmp_path / "a")
    async with client:
        first = client.peer_id
    async with RatsClient(config=CONFIG, data_dir=tmp_path / "a") as again:
        assert again.peer_id == first
        assert client.peer_id == first, "a stopped client still knows who it was"
    async with client:
        assert client.peer_id == first
    async with RatsClient(config=CONFIG, data_dir=tmp_path / "b") as other:
        assert other.peer_id != first


async def test_a_data_directory_serves_one_client_at_a_time(tmp_path: Path) -> None:
    async with RatsClient(config=CONFIG, data_dir=tmp_path) as first:
        second = RatsClient(config=CONFIG, data_dir=str(tmp_path))
        with pytest.raises(IdentityError, match="in use") as raised:
            await second.start()
        assert raised.value.in_use
        assert not second.is_running
        assert first.is_running
    async with second:
        assert second.peer_id == first.peer_id


async def test_a_second_client_of_the_default_directory_gets_an_identity_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path / "home"))
    async with RatsClient(config=CONFIG) as first, RatsClient(config=CONFIG) as second:
        assert first.peer_id != second.peer_id
        assert "in use" in caplog.text
        assert (await soon(second.connect((LOOPBACK, first.listen_port)))).id == first.peer_id
        temporary = second.peer_id
    async with RatsClient(config=CONFIG) as third, second:
        assert third.peer_id == first.peer_id
        assert second.peer_id == temporary


async def test_who_cannot_listen_does_not_start_and_lets_the_directory_go(
    make_client: MakeClient, tmp_path: Path
) -> None:
    taken = (await make_client()).listen_port
    client = RatsClient(taken, config=CONFIG, data_dir=tmp_path)
    with pytest.raises(ConfigError, match="listen_port"):
        await client.start()
    assert not client.is_running
    async with RatsClient(config=CONFIG, data_dir=tmp_path) as other:
        assert other.is_running


async def test_a_start_that_is_cancelled_anywhere_lets_everything_go(tmp_path: Path) -> None:
    for turns in range(25):
        client = RatsClient(config=CONFIG, data_dir=tmp_path)
        task = asyncio.create_task(client.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not client.is_running
        else:
            await task
            await client.stop()
    async with RatsClient(config=CONFIG, data_dir=tmp_path) as other:
        assert other.is_running


async def test_what_needs_a_running_client_says_so(tmp_path: Path) -> None:
    client = RatsClient(config=CONFIG, data_dir=tmp_path)
    assert "port=None" in repr(client)
    assert client.peers == {}
    assert client.statistics() == {"running": False}
    for _ in range(2):
        assert not client.is_running
        for call in (client.send("x"), client.connect("127.0.0.1:80"), client.request("00" * 32, "x")):
            with pytest.raises(UsageError, match="not running"):
                await call
        with pytest.raises(UsageError, match="not running"):
            _ = client.listen_port
        await client.start()
        await client.start()
        assert client.statistics()["running"]
        assert 0 < client.listen_port < 65536
        await client.stop()
        await client.close()
        await soon(client.wait_closed())


async def test_settings_can_be_changed_before_the_start_only(tmp_path: Path, make_client: MakeClient) -> None:
    client = RatsClient(config=CONFIG)
    client.set_data_directory(tmp_path)
    client.set_protocol_name("chess")
    client.set_protocol_version("2")
    assert client.get_discovery_hash() == hashlib.sha1(b"chess/2", usedforsecurity=False).hexdigest()
    other = await make_client(protocol_name="chess", protocol_version="2")
    async with client:
        assert (tmp_path / "identity.key").is_file()
        assert (await soon(client.connect((LOOPBACK, other.listen_port)))).id == other.peer_id
        for change in (client.set_protocol_name, client.set_protocol_version, client.set_data_directory):
            with pytest.raises(UsageError):
                change("x")


@pytest.mark.parametrize("who", ["a", "b"])
async def test_the_reason_for_a_disconnect_reaches_the_other_side(pair: Pair, who: str) -> None:
    told: asyncio.Queue[tuple[str, Peer, str]] = asyncio.Queue()
    events: list[PeerDisconnected] = []
    for name, client in (("a", pair.a), ("b", pair.b)):
        client.on_disconnect(lambda peer, reason, name=name: told.put_nowait((name, peer, reason)))
        client.on_event(PeerDisconnected, events.append)
    if who == "a":
        await soon(pair.a.disconnect(pair.b.peer_id, "good night"))
    else:
        await soon(pair.to_a.close("good night"))
    heard = {name: (peer, reason) for name, peer, reason in [await soon(told.get()) for _ in range(2)]}
    ours, theirs = ("a", "b") if who == "a" else ("b", "a")
    assert heard["a"][0] is pair.to_b
    assert heard["b"][0] is pair.to_a
    assert heard[ours][1] == "closed on this side"
    assert heard[theirs][1] == "good night"
    assert {event.code for event in events} == {"closed"}
    assert pair.a.peers == pair.b.peers == {}
    assert not pair.to_b.is_connected
    assert "good night" in (pair.to_a if who == "a" else pair.to_b).explain()
    await soon(pair.to_b.close())
    with pytest.raises(PeerNotConnected):
        await pair.to_b.send("x")
    assert not pair.to_b.try_send("x")


async def test_stopping_tells_the_peers(pair: Pair) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    @pair.b.on_disconnect
    async def gone(peer: Peer, reason: str) -> None:
        await told.put(reason)

    await soon(pair.a.stop())
    assert await soon(told.get()) == "the peer shut down"


async def test_what_was_sent_before_a_disconnect_arrives(pair: Pair, until: Until) -> None:
    heard: list[int] = []
    pair.b.on("x", lambda peer, data: heard.append(data["n"]))
    for number in range(1000):
        await pair.a.send("x", {"n": number, "padding": "." * 200})
    await soon(pair.a.disconnect(pair.to_b))
    await until(lambda: len(heard) == 1000)
    assert heard == list(range(1000))


async def test_what_arrives_behind_our_goodbye_is_not_answered(pair: Pair) -> None:
    async with asyncio.timeout(WAIT):
        outcomes = await asyncio.gather(pair.to_b.close(), pair.to_a.ping(), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), PeerNotConnected]


async def test_events_tell_of_connects_and_disconnects(make_client: MakeClient, connect: Connect) -> None:
    a, b = await make_client(), await make_client()
    told: asyncio.Queue[Any] = asyncio.Queue()
    a.on_event(PeerConnected, told.put_nowait)

    @a.on_event(PeerDisconnected)
    async def gone(event: PeerDisconnected) -> None:
        await told.put(event)

    @a.on_connect
    def fail(peer: Peer) -> None:
        raise RuntimeError("on purpose")

    pair = await connect(a, b)
    connected = await soon(told.get())
    assert isinstance(connected, PeerConnected)
    assert connected.peer is pair.to_b
    await soon(b.stop())
    gone_event = await soon(told.get())
    assert (gone_event.peer, gone_event.code, gone_event.reason) == (pair.to_b, "closed", "the peer shut down")


async def test_closing_during_traffic_takes_less_than_a_second(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    hub = await make_client()
    others = [await make_client() for _ in range(4)]
    tasks = []
    heard = 0

    @hub.on("x")
    async def take(peer: Peer, data: Any) -> None:
        nonlocal heard
        heard += 1
        await asyncio.sleep(0)

    @hub.on("hang")
    async def hang(peer: Peer, data: Any) -> None:
        await asyncio.get_running_loop().create_future()

    async def flood(peer: Peer) -> None:
        with contextlib.suppress(PeerNotConnected):
            while True:
                await peer.send("x", "." * 1000)

    async def hung(peer: Peer) -> None:
        with pytest.raises(PeerNotConnected):
            await peer.request("hang", timeout=None)

    for other in others:
        pair = await connect(other, hub)
        tasks += [asyncio.create_task(flood(end)) for end in (pair.to_a, pair.to_b)]
        tasks.append(asyncio.create_task(hung(pair.to_b)))
    await until(lambda: heard > 100)
    started = asyncio.get_running_loop().time()
    await asyncio.gather(hub.stop(), hub.close(), hub.stop())
    assert asyncio.get_running_loop().time() - started < 1.0
    assert not hub.is_running
    await hub.close()
    await soon(asyncio.gather(*tasks))


async def test_a_handler_may_stop_the_client(pair: Pair) -> None:
    @pair.b.on("quit")
    async def quit_(peer: Peer, data: Any) -> None:
        await pair.b.stop()

    for how in ("message", "request"):
        if how == "message":
            await pair.a.send("quit")
        else:
            await pair.b.start()
            await soon(pair.a.connect((LOOPBACK, pair.b.listen_port)))
            with pytest.raises(PeerNotConnected):
                await soon(pair.a.request(pair.b.peer_id, "quit"))
        await soon(pair.b.wait_closed())
        assert not pair.b.is_running


def resident_bytes() -> int:
    """Return the bytes of memory that this process has; 0 where the system does not tell."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


async def test_a_stop_that_is_cancelled_leaves_no_connection(pair: Pair, until: Until) -> None:
    pair.b.on_stream("x/1", lambda stream: None)
    stream = await soon(pair.a.open_stream(pair.to_b, "x/1"))
    stream.write(bytes(8 * 1024 * 1024))  # nobody reads it, so that closing takes its time
    stopping = asyncio.create_task(pair.a.stop())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not stopping.done()
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not pair.a.is_running
    assert pair.to_b.link._transport is None or pair.to_b.link._transport.is_closing()
    await until(lambda: not pair.b.peers)


LONG = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("cycles", [200, *(pytest.param(cycles, marks=LONG) for cycles in (1000, 10_000))])
async def test_connecting_and_closing_over_and_over_leaves_nothing(
    make_client: MakeClient, until: Until, cycles: int
) -> None:
    a, b = await make_client(), await make_client()
    b.on("echo", lambda peer, data: data)

    async def cycle(number: int) -> None:
        peer = await soon(a.connect((LOOPBACK, b.listen_port)))
        assert await soon(peer.request("echo", number)) == number
        await (peer if number % 2 else b.peers[a.peer_id]).close()
        await until(lambda: not a.peers and not b.peers)

    def inventory() -> tuple[int, int]:
        descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0  # noqa: PTH112, PTH208
        return len(asyncio.all_tasks()), descriptors

    await cycle(0)
    # What begins with a client and ends by itself may take longer than a session does.
    await until(lambda: all(task.get_name() != "librats looks at its networks" for task in asyncio.all_tasks()))
    before = inventory()
    for number in range(1, 100):
        await cycle(number)
    gc.collect()
    resident = resident_bytes()
    for number in range(cycles):
        await cycle(number)
    await until(lambda: inventory() == before)
    assert a.statistics()["peers_disconnected"] == b.statistics()["peers_disconnected"] == 100 + cycles
    gc.collect()
    assert resident_bytes() - resident < max(cycles, 1000) * 1024
    assert a._manager is not None
    assert not a._manager._links


async def test_statistics_and_explanations_tell_what_happened(pair: Pair) -> None:
    pair.b.on("echo", lambda peer, data: data)
    for number in range(5):
        assert await soon(pair.to_b.request("echo", number)) == number
    assert await soon(pair.to_b.ping()) < WAIT
    stats = pair.to_b.stats
    assert stats.messages_sent == stats.messages_received == 5
    assert stats.bytes_sent > 0 < stats.bytes_received
    assert (stats.bytes_queued, stats.open_streams) == (0, 0)
    assert stats.connected_seconds >= 0
    assert stats.rtt == pair.to_b.rtt is not None
    counted = pair.a.statistics()
    assert json.loads(json.dumps(counted)) == counted
    assert (counted["peers"], counted["peers_connected"], counted["links_out"]) == (1, 1, 1)
    assert (counted["messages_sent"], counted["messages_received"]) == (5, 5)
    for words in (pair.b.peer_id, "connected over tcp", "we dialled", "worked"):
        assert words in pair.to_b.explain()
    assert "it dialled" in pair.to_a.explain()
    await soon(pair.to_b.close())
    assert pair.a.statistics()["messages_sent"] == 5
    assert pair.to_b.stats.messages_sent == 5


async def test_secrets_are_in_no_log_and_no_repr(
    make_client: MakeClient, connect: Connect, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    identities = [Identity.generate(), Identity.generate()]
    payload = "the-secret-payload"
    with caplog.at_level(logging.DEBUG):
        pair = await connect(*[await make_client(identity=identity) for identity in identities])
        pair.b.on("echo", lambda peer, data: data)
        await soon(pair.to_b.request("echo", payload))
        await pair.a.send("unheard", payload)
        await pair.a.send_bytes(payload.encode())
        await soon(pair.to_b.ping())
        shown = [repr(thing) for thing in (*pair, *identities, pair.to_b.link, pair.to_b.stats, pair.to_b.hello)]
        shown += [pair.to_b.explain(), json.dumps(pair.a.statistics())]
        await soon(pair.a.stop())
        await until(lambda: not pair.b.peers)
    text = "\n".join([caplog.text, *shown])
    assert caplog.records
    assert payload not in text
    for identity in identities:
        key = identity.private_key
        for form in (key.hex(), key.hex().upper(), base64.b64encode(key).decode(), repr(key)[2:-1]):
            assert form not in text
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("librats"))
    assert not any(identity.peer_id in logged for identity in identities), "ids are shortened in logs"


async def test_the_client_can_be_named_while_it_stops(pair: Pair) -> None:
    names: list[str] = []
    pair.a.on_disconnect(lambda peer, reason: names.append(repr(pair.a) + repr(peer) + repr(pair.a.peers)))
    await soon(pair.a.stop())
    assert len(names) == 1
