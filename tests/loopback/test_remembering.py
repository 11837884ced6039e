"""What a client remembers: peers dialled by their id alone, dialled again when they are lost, and after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Until

from librats import (
    Address,
    ConnectError,
    Identity,
    PeerConnected,
    PeerNotConnected,
    RatsClient,
    RatsConfig,
    ReconnectConfig,
    ReconnectFailed,
    Reconnecting,
)

QUICK = ReconnectConfig(initial_delay=0.01, max_delay=0.05, max_attempts=1000)
NEVER = ReconnectConfig(initial_delay=3600.0, max_delay=3600.0)


def kept_client(folder: Path, **settings: Any) -> RatsClient:
    """Make a client with a data directory."""
    return RatsClient(config=RatsConfig(**{"listen_host": LOOPBACK, **settings}), data_dir=folder)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def heard(client: RatsClient, *kinds: type) -> list[Any]:
    events: list[Any] = []
    for kind in kinds:
        client.on_event(kind, events.append)
    return events


async def test_a_lost_peer_that_we_dialled_is_dialled_again(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    pair = await connect(await make_client(reconnect=QUICK), await make_client(reconnect=NEVER))
    events = heard(pair.a, Reconnecting, PeerConnected)
    pair.to_a.link.abort()
    await until(lambda: pair.to_b.disconnected and pair.b.peer_id in pair.a.peers)
    assert events[0] == Reconnecting(pair.b.peer_id, 1, events[0].delay)
    assert 0.005 <= events[0].delay <= 0.01
    assert events[-1] == PeerConnected(pair.a.peers[pair.b.peer_id])
    assert pair.a.book[pair.b.peer_id].sessions == 2
    await until(lambda: pair.a.peer_id in pair.b.peers)
    assert await pair.a.send("hello", 1, to=pair.b.peer_id) == 1


async def test_a_peer_that_dialled_us_is_left_to_dial_again(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    pair = await connect(await make_client(reconnect=NEVER), await make_client(reconnect=QUICK))
    events = heard(pair.b, Reconnecting)
    pair.to_b.link.abort()
    await until(lambda: pair.to_a.disconnected)
    await pair.b.stop()
    assert events == []


async def test_a_favourite_is_dialled_again_whoever_dialled_first(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    pair = await connect(await make_client(reconnect=NEVER), await make_client(reconnect=QUICK))
    pair.b.book.set_favourite(pair.a.peer_id)
    pair.to_b.link.abort()
    await until(lambda: pair.to_a.disconnected and pair.a.peer_id in pair.b.peers)
    assert pair.b.peers[pair.a.peer_id].outgoing


@pytest.mark.parametrize("closes", ["we", "they", "their stop"])
async def test_a_session_that_was_closed_stays_closed(
    make_client: MakeClient, connect: Connect, until: Until, closes: str
) -> None:
    pair = await connect(await make_client(reconnect=QUICK), await make_client(reconnect=QUICK))
    events = heard(pair.a, Reconnecting)
    if closes == "we":
        await pair.a.disconnect(pair.to_b)
    elif closes == "they":
        await pair.to_a.close()
    else:
        await pair.b.stop()
    await until(lambda: pair.to_b.disconnected)
    await pair.a.stop()
    assert events == []


async def test_it_can_be_switched_off(make_client: MakeClient, connect: Connect, until: Until) -> None:
    pair = await connect(await make_client(reconnect=ReconnectConfig(enabled=False)), await make_client())
    events = heard(pair.a, Reconnecting)
    pair.to_a.link.abort()
    await until(lambda: pair.to_b.disconnected)
    await pair.a.stop()
    assert events == []


async def test_disconnecting_ends_the_tries(make_client: MakeClient, connect: Connect, until: Until) -> None:
    pair = await connect(await make_client(reconnect=NEVER), await make_client())
    events = heard(pair.a, Reconnecting)
    pair.to_a.link.abort()
    await until(lambda: events)
    await pair.a.disconnect(pair.b.peer_id)
    with pytest.raises(PeerNotConnected):
        await pair.a.disconnect(pair.b.peer_id)


async def test_stopping_ends_the_tries(make_client: MakeClient, connect: Connect, until: Until) -> None:
    pair = await connect(await make_client(reconnect=NEVER), await make_client())
    events = heard(pair.a, Reconnecting)
    pair.to_a.link.abort()
    await until(lambda: events)
    await pair.a.stop()  # that nothing is left behind is checked by the fixture of every test


async def test_a_peer_that_was_killed_is_back_as_soon_as_it_listens_again(
    make_client: MakeClient, until: Until
) -> None:
    a = await make_client(reconnect=QUICK)
    b = await make_client()
    port, identity = b.listen_port, b.identity
    await a.connect((LOOPBACK, port))
    await until(lambda: b.peers)
    events = heard(a, Reconnecting)
    b._listener.close()  # type: ignore[union-attr]
    b.peers[a.peer_id].link.abort()
    await b.stop()
    await until(lambda: len(events) >= 3)
    assert a.book[b.peer_id].addresses[f"{LOOPBACK}:{port}"].failures >= 1
    again = RatsClient(port, config=RatsConfig(listen_host=LOOPBACK), identity=identity)
    async with again:
        await until(lambda: again.peer_id in a.peers)
        assert a.book[b.peer_id].addresses[f"{LOOPBACK}:{port}"].failures == 0
        await a.stop()


async def test_a_peer_that_does_not_come_back_is_given_up(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    few = ReconnectConfig(initial_delay=0.01, max_delay=0.01, max_attempts=2)
    pair = await connect(await make_client(reconnect=few), await make_client())
    events = heard(pair.a, ReconnectFailed)
    pair.b._listener.close()  # type: ignore[union-attr]
    pair.to_a.link.abort()
    await until(lambda: events)
    assert events[0].peer_id == pair.b.peer_id
    assert events[0].attempts == 2
    assert "cannot connect" in events[0].error


async def test_a_known_peer_is_dialled_by_its_id_alone(make_client: MakeClient, connect: Connect, until: Until) -> None:
    pair = await connect(await make_client(), await make_client())
    port = pair.b.listen_port
    await pair.a.disconnect(pair.to_b)
    await until(lambda: pair.to_a.disconnected)
    peer = await pair.a.connect(pair.b.peer_id)
    assert (peer.id, peer.address) == (pair.b.peer_id, Address(LOOPBACK, port))
    # The other side was dialled, and knows from the hello where to dial.
    assert pair.b.book.addresses_of(pair.a.peer_id) == [Address(LOOPBACK, pair.a.listen_port)]
    await pair.a.disconnect(peer)
    pair.a.book.forget(pair.b.peer_id)
    with pytest.raises(ConnectError, match="no address is known"):
        await pair.a.connect(pair.b.peer_id)


async def test_a_host_name_is_remembered(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    peer = await a.connect(("localhost", b.listen_port))
    assert f"localhost:{b.listen_port}" in a.book[peer.id].addresses
    assert f"{LOOPBACK}:{b.listen_port}" in a.book[peer.id].addresses


async def test_the_book_outlives_the_client_and_saved_peers_are_dialled_at_the_start(
    tmp_path: Path, make_client: MakeClient, until: Until
) -> None:
    b = await make_client()
    async with kept_client(tmp_path) as a:
        await a.connect((LOOPBACK, b.listen_port))
        first = a.book[b.peer_id]
    assert json.loads((tmp_path / "peers.json").read_text())["peers"][b.peer_id]["sessions"] == 1
    assert b.peer_id in json.loads((tmp_path / "peers_ever.json").read_text())["peers"]
    async with kept_client(tmp_path, reconnect=QUICK) as a:
        await until(lambda: b.peer_id in a.peers)
        assert a.book[b.peer_id].first_seen == first.first_seen
        assert a.book[b.peer_id].sessions == 2
    kept = {"identity.key", "lock", "peers.json", "peers_ever.json"}
    # The host's networks may not have been looked at yet.
    assert set(names_in(tmp_path)) - {"worked.json"} == kept


@pytest.mark.parametrize(
    ("own", "wanted", "dials"), [(True, None, True), (True, False, False), (False, None, False), (False, True, True)]
)
async def test_saved_peers_are_dialled_where_the_directory_is_the_clients_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: bool, wanted: bool | None, dials: bool
) -> None:
    monkeypatch.setenv("LIBRATS_DATA_DIR", str(tmp_path))
    config = ReconnectConfig(initial_delay=3600.0, max_delay=3600.0, saved_peers=wanted)
    for _ in range(2):
        client = RatsClient(
            config=RatsConfig(listen_host=LOOPBACK, reconnect=config), data_dir=tmp_path if own else None
        )
        events = heard(client, Reconnecting)
        async with client:
            known = dict(client.book)
            client.book.add("a" * 64, ["192.0.2.1:1"], favourite=True)
            client.book.add(client.peer_id, ["192.0.2.1:1"], favourite=True)
            assert client._remembering is not None
            waiting = list(client._remembering.reconnecting)
        assert waiting == (["a" * 64] if known and dials else [])
    assert all(event.peer_id == "a" * 64 for event in events)


async def test_a_damaged_book_does_not_stop_a_client(tmp_path: Path, make_client: MakeClient) -> None:
    async with kept_client(tmp_path):
        pass
    (tmp_path / "peers.json").write_text("{")
    b = await make_client()
    async with kept_client(tmp_path) as a:
        assert len(a.book) == 0
        await a.connect((LOOPBACK, b.listen_port))
    assert (tmp_path / "peers.json.damaged").read_text() == "{"
    assert b.peer_id in json.loads((tmp_path / "peers.json").read_text())["peers"]


async def test_a_client_without_a_directory_writes_nothing(tmp_path: Path, make_client: MakeClient) -> None:
    b = await make_client()
    config = RatsConfig(listen_host=LOOPBACK)
    client = RatsClient(config=config, identity=Identity.generate(), data_dir=tmp_path)
    async with client:
        await client.connect((LOOPBACK, b.listen_port))
    assert names_in(tmp_path) == []
    async with client:
        assert b.peer_id in client.book
