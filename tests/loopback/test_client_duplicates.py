"""Two connections to one peer: one session comes of them, nothing is lost, and it is told once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from librats import Identity, PathChanged, Peer, PeerConnected, RatsClient, Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


class Ear:
    """Counts connects and disconnects of one client, and keeps what it hears."""

    def __init__(self, client: RatsClient) -> None:
        self.client = client
        self.connects = 0
        self.disconnects: list[str] = []
        self.heard: list[int] = []
        client.on_connect(self._connected)
        client.on_disconnect(lambda peer, reason: self.disconnects.append(reason))
        client.on("n", lambda peer, data: self.heard.append(data))

    def _connected(self, peer: Peer) -> None:
        self.connects += 1

    def clear(self) -> None:
        self.connects = 0
        self.disconnects.clear()
        self.heard.clear()


async def dial(a: RatsClient, b: RatsClient) -> Peer:
    return await a.connect((LOOPBACK, b.listen_port))


async def many_dials(a: RatsClient, b: RatsClient, dials: int) -> list[Peer]:
    """Let both dial each other at once, that often each; every dialler sends numbers right after."""

    async def dial_and_send(one: RatsClient, other: RatsClient, offset: int) -> Peer:
        peer = await dial(one, other)
        for number in range(20):
            await peer.send("n", offset + number)
        return peer

    async with asyncio.timeout(WAIT):
        return await asyncio.gather(
            *(dial_and_send(one, other, 20 * n) for n in range(dials) for one, other in ((a, b), (b, a)))
        )


@pytest.mark.parametrize(
    ("rounds", "dials"),
    [(100, 1), (10, 3), pytest.param(1000, 2, marks=[pytest.mark.long, pytest.mark.timeout(1800)])],
)
async def test_who_dials_each_other_at_once_meets_once(
    make_client: MakeClient, until: Until, rounds: int, dials: int
) -> None:
    a, b = await make_client(), await make_client()
    ears = [Ear(a), Ear(b)]
    for number in range(rounds):
        peers = await many_dials(a, b, dials)
        await until(lambda: all(len(ear.heard) >= 20 * dials for ear in ears))
        assert len({id(peer) for peer in peers}) == 2
        for ear in ears:
            assert sorted(ear.heard) == list(range(20 * dials)), f"round {number}"
            assert (ear.connects, ear.disconnects, len(ear.client.peers)) == (1, [], 1)
        await soon((peers[0] if number % 2 else peers[1]).close())
        await until(lambda: not a.peers and not b.peers)
        for ear in ears:
            assert len(ear.disconnects) == 1
            ear.clear()


async def test_one_link_is_left_and_both_sides_mean_the_same(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    ears = [Ear(a), Ear(b)]
    await many_dials(a, b, 4)
    to_b, to_a = a.peers[b.peer_id], b.peers[a.peer_id]
    await until(lambda: len(to_b.links) == len(to_a.links) == 1)
    assert to_b.link.local_address == to_a.link.address
    assert to_b.link.initiator == (a.peer_id < b.peer_id)
    assert not to_b.link.retired
    assert not to_a.link.retired
    assert all((ear.connects, ear.disconnects) == (1, []) for ear in ears)
    b.on("echo", lambda peer, data: data)
    assert await soon(to_b.request("echo", "still here")) == "still here"


async def test_the_answering_side_follows_the_dialler_whatever_order_it_saw(
    make_client: MakeClient, until: Until
) -> None:
    a, b = await make_client(), await make_client()
    asked = 0
    second_is_in = asyncio.Event()

    @b.on_incoming
    async def swap(what: object) -> None:
        # The first connection is let in after the second one.
        nonlocal asked
        if isinstance(what, Peer):
            asked += 1
            if asked == 1:
                await second_is_in.wait()

    first = asyncio.create_task(dial(a, b))
    await until(lambda: asked == 1)
    second = await soon(dial(a, b))
    await until(lambda: a.peer_id in b.peers)
    second_is_in.set()
    assert await soon(first) is second
    to_a = b.peers[a.peer_id]
    await until(lambda: len(second.links) == len(to_a.links) == 1)
    assert second.link.local_address == to_a.link.address
    assert not to_a.link.retired
    assert not second.link.retired


async def test_dialling_again_moves_the_session_without_losing_anything(pair: Pair, until: Until) -> None:
    ears = [Ear(pair.a), Ear(pair.b)]
    moved: asyncio.Queue[PathChanged] = asyncio.Queue()
    pair.a.on_event(PathChanged, moved.put_nowait)
    release = asyncio.Event()

    @pair.b.on("slow")
    async def slow(peer: Peer, data: Any) -> str:
        await release.wait()
        return "answered"

    @pair.b.on_stream("echo/1")
    async def echo(stream: Stream) -> None:
        while data := await stream.read(100):
            stream.write(data)
            await stream.drain()

    stream = await soon(pair.a.open_stream(pair.to_b, "echo/1"))
    waiting = asyncio.create_task(pair.to_b.request("slow"))
    for number in range(200):
        await pair.a.send("n", number)
        if number == 100:
            # By name, so that the connection which is there is not simply handed back.
            assert await soon(pair.a.connect(("localhost", pair.b.listen_port))) is pair.to_b
    event = await soon(moved.get())
    assert (event.peer, event.new) == (pair.to_b, pair.to_b.address)
    await until(lambda: len(ears[1].heard) == 200)
    assert sorted(ears[1].heard) == list(range(200))
    release.set()
    assert await soon(waiting) == "answered"
    stream.write(b"over the old link")
    assert await soon(stream.readexactly(17)) == b"over the old link"
    assert len(pair.to_b.links) == 2
    assert "older connections" in pair.to_b.explain()
    await soon(stream.close())
    await until(lambda: len(pair.to_b.links) == len(pair.to_a.links) == 1)
    assert all((ear.connects, ear.disconnects) == (0, []) for ear in ears)


async def test_a_peer_whose_newest_link_dies_falls_back_on_the_older_one(pair: Pair, until: Until) -> None:
    ears = [Ear(pair.a), Ear(pair.b)]
    older = pair.to_b.link
    await soon(pair.a.connect(("localhost", pair.b.listen_port)))
    await until(lambda: len(pair.to_a.links) == 2 and pair.to_b.link is not older)
    pair.to_b.link.abort()
    await until(lambda: len(pair.to_a.links) == len(pair.to_b.links) == 1)
    assert pair.to_b.link is older
    assert not older.retired
    pair.b.on("echo", lambda peer, data: data)
    assert await soon(pair.to_b.request("echo", 1)) == 1
    assert all((ear.connects, ear.disconnects) == (0, []) for ear in ears)


@pytest.mark.parametrize("who", ["a", "b"])
async def test_all_links_end_together_when_the_peer_dies(pair: Pair, until: Until, who: str) -> None:
    await soon(pair.a.connect(("localhost", pair.b.listen_port)))
    await until(lambda: len(pair.to_a.links) == len(pair.to_b.links) == 2)
    for link in list((pair.to_b if who == "a" else pair.to_a).links):
        link.abort()
    await until(lambda: not pair.a.peers and not pair.b.peers)


async def test_a_restarted_peer_takes_over_at_once(make_client: MakeClient, connect: Connect, until: Until) -> None:
    identity = Identity.generate()
    a, b = await make_client(), await make_client(identity=identity)
    pair = await connect(a, b)
    ear = Ear(a)
    told: asyncio.Queue[PeerConnected] = asyncio.Queue()
    a.on_event(PeerConnected, told.put_nowait)
    lost = asyncio.create_task(pair.to_b.request("never", timeout=None))
    # The old process is gone without a word: its socket reads and writes nothing any more.
    b.off("never")
    pair.to_a.link.pause()
    again = await make_client(identity=identity)
    again.on("echo", lambda peer, data: data)
    to_a = await soon(again.connect((LOOPBACK, a.listen_port)))
    assert to_a.id == a.peer_id
    event = await soon(told.get())
    assert (ear.connects, ear.disconnects) == (1, ["the peer was restarted"])
    assert event.peer is a.peers[again.peer_id]
    assert event.peer is not pair.to_b
    assert not pair.to_b.is_connected
    assert len(event.peer.links) == 1
    with pytest.raises(Exception, match="session ended"):
        await soon(lost)
    assert await soon(a.request(again.peer_id, "echo", 1)) == 1


async def test_who_comes_back_while_the_old_session_ends_is_connected_anew(pair: Pair, until: Until) -> None:
    ears = [Ear(pair.a), Ear(pair.b)]
    closing = asyncio.create_task(pair.to_b.close("back soon"))
    await asyncio.sleep(0)
    again = await soon(dial(pair.b, pair.a))
    await soon(closing)
    await until(lambda: pair.a.peers and pair.b.peers)
    assert again is not pair.to_a
    assert pair.a.peers[pair.b.peer_id] is not pair.to_b
    assert all(ear.connects == len(ear.disconnects) == 1 for ear in ears)
