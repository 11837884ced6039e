"""The allow and deny lists of a running client: dialled, dialling, and with sessions that are there already."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    ConfigError,
    ConnectError,
    Identity,
    IncomingRefused,
    PeerDenied,
    PeerDisconnected,
    RatsClient,
    RatsConfig,
    save_config,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


async def test_a_denied_network_is_refused_before_the_handshake(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client(deny=("127.0.0.0/8",))
    refused: list[IncomingRefused] = []
    b.on_event(IncomingRefused, refused.append)
    with pytest.raises(ConnectError):
        await soon(a.connect((LOOPBACK, b.listen_port)))
    await until(lambda: refused)
    assert (refused[0].address.host, refused[0].limit, refused[0].peer_id) == (LOOPBACK, "deny", "")
    assert refused[0].reason == "127.0.0.1 is in 127.0.0.0/8, which is on the deny list"
    counted = b.statistics()
    assert counted["incoming_refused"] == 1
    assert counted["limits"]["deny"] == {"current": 1, "limit": None, "refused": 1}
    b.deny.remove("127.0.0.0/8")
    assert (await soon(a.connect((LOOPBACK, b.listen_port)))).id == b.peer_id


async def test_a_denied_peer_is_told_and_so_is_the_application(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    refused: list[IncomingRefused] = []
    b.on_event(IncomingRefused, refused.append)
    b.deny.add(a.peer_id)
    with pytest.raises(ConnectError, match=f"the peer refused: peer {a.peer_id[:8]} is on the deny list"):
        await soon(a.connect((LOOPBACK, b.listen_port)))
    await until(lambda: refused)
    assert (refused[0].limit, refused[0].peer_id) == ("deny", a.peer_id)
    assert a.peers == b.peers == {}


async def test_nobody_who_is_denied_is_dialled(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    a.deny.add(b.peer_id)
    with pytest.raises(PeerDenied, match="is on the deny list"):
        await soon(a.connect((LOOPBACK, b.listen_port), expect_id=b.peer_id))
    assert b.statistics()["links_in"] == 0
    with pytest.raises(PeerDenied, match="is on the deny list"):  # it is known only when it has answered
        await soon(a.connect((LOOPBACK, b.listen_port)))
    a.deny.clear()
    a.allow.add("192.0.2.0/24")
    with pytest.raises(PeerDenied, match=r"127\.0\.0\.1 is in no network of the allow list"):
        await soon(a.connect((LOOPBACK, b.listen_port)))
    assert a.statistics()["limits"]["deny"]["refused"] == 2
    assert a.statistics()["limits"]["allow"]["refused"] == 1
    a.allow.add("127.0.0.1")
    assert (await soon(a.connect((LOOPBACK, b.listen_port)))).id == b.peer_id


@pytest.mark.parametrize("denied", ["id", "network", "left out"])
async def test_a_session_that_is_no_longer_allowed_ends_and_both_sides_read_why(pair: Pair, denied: str) -> None:
    ends: dict[RatsClient, asyncio.Queue[PeerDisconnected]] = {client: asyncio.Queue() for client in (pair.a, pair.b)}
    for client, queue in ends.items():
        client.on_event(PeerDisconnected, queue.put_nowait)
    if denied == "id":
        pair.b.deny.add(pair.a.peer_id)
        words = f"peer {pair.a.peer_id[:8]} is on the deny list"
    elif denied == "network":
        pair.b.deny.add("::ffff:127.0.0.0/104")
        words = "127.0.0.1 is in 127.0.0.0/8, which is on the deny list"
    else:
        pair.b.allow.add("0c" * 32)
        words = f"peer {pair.a.peer_id[:8]} is not on the allow list"
    for client in (pair.a, pair.b):
        event = await soon(ends[client].get())
        assert (event.code, event.reason) == ("refused", words)
    assert pair.a.peers == pair.b.peers == {}
    assert not pair.to_b.is_connected


async def test_others_stay_when_one_is_denied(make_client: MakeClient, connect: Connect, until: Until) -> None:
    hub, one, two = await make_client(), await make_client(), await make_client()
    await connect(one, hub)
    await connect(two, hub)
    hub.deny.add(one.peer_id)
    await until(lambda: list(hub.peers) == [two.peer_id])
    assert await hub.peers[two.peer_id].ping() > 0


async def test_lists_outlive_a_restart_and_a_client_that_is_not_running_can_change_them(
    make_client: MakeClient,
) -> None:
    a, b = await make_client(), await make_client()
    await b.stop()
    b.deny.add(a.peer_id)
    await b.start()
    with pytest.raises(ConnectError, match="deny list"):
        await soon(a.connect((LOOPBACK, b.listen_port)))


async def test_a_client_says_which_list_has_a_bad_entry() -> None:
    with pytest.raises(ConfigError, match="deny: not a peer id"):
        RatsClient(config=RatsConfig(deny=("somewhere",)), identity=Identity.generate())


async def test_the_lists_of_a_configuration_that_is_loaded_count(make_client: MakeClient, tmp_path: Path) -> None:
    a = await make_client()
    save_config(RatsConfig(listen_host=LOOPBACK, deny=(a.peer_id,)), tmp_path / "config.json")
    b = RatsClient(identity=Identity.generate())
    assert await b.load_configuration(tmp_path / "config.json")
    async with b:
        with pytest.raises(ConnectError, match="is on the deny list"):
            await soon(a.connect((LOOPBACK, b.listen_port)))
        assert list(b.deny) == [a.peer_id]
