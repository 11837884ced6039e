"""A session that moves between connections: what was sent first is handled first, whichever connection is slower."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from librats import Peer, PeerDisconnected, RatsClient, RequestTimeout, SessionConfig

if TYPE_CHECKING:
    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

    from librats.services.session import Link

WAIT = 20.0
pytestmark = pytest.mark.timeout(60)


class Way:
    """One direction of a session whose receiver can be made deaf to connections.

    Args:
        pair: The two clients.
        until: Waits for a condition.
        forward: True where the dialling side sends.
    """

    def __init__(self, pair: Pair, until: Until, *, forward: bool = True) -> None:
        self.pair, self.until = pair, until
        self.sender, self.receiver = (pair.to_b, pair.to_a) if forward else (pair.to_a, pair.to_b)
        self.heard: list[int] = []
        self.paused: list[Link] = []
        hearer = pair.b if forward else pair.a
        hearer.on("n", self._hear)
        hearer.on("ask", self._hear)
        hearer.on_bytes(lambda peer, data: self.heard.append(data[0]))
        hearer.on_text(lambda peer, text: self.heard.append(int(text)))

    def _hear(self, peer: Peer, data: Any) -> None:
        self.heard.append(data)

    def deafen(self) -> None:
        """Read nothing more of the connection in use."""
        self.receiver.link.pause()
        self.paused.append(self.receiver.link)

    async def send(self, first: int) -> None:
        """Send three numbers, of each kind one."""
        await self.sender.send("n", first)
        await self.sender.send_bytes(bytes([first + 1]))
        await self.sender.send_text(str(first + 2))

    async def move(self) -> None:
        """Dial again, and let both sides take that into use."""
        before = self.sender.link
        assert await self.pair.a.connect(("localhost", self.pair.b.listen_port)) is self.pair.to_b
        await self.until(lambda: self.pair.to_b.link.local_address == self.pair.to_a.link.address)
        assert self.sender.link is not before

    async def arrived(self) -> None:
        """Wait until what was sent over the connection in use is at the other side."""
        await self.sender.ping(timeout=WAIT)


@pytest.mark.parametrize("forward", [True, False])
async def test_messages_keep_their_order_over_a_chain_of_connections(pair: Pair, until: Until, forward: bool) -> None:
    way = Way(pair, until, forward=forward)
    asked = []
    for number in range(0, 12, 4):
        way.deafen()
        await way.send(number)
        asked.append(asyncio.create_task(way.sender.request("ask", number + 3, timeout=WAIT)))
        await asyncio.sleep(0)
        await way.move()
    await way.send(12)
    await way.arrived()
    assert way.heard == []
    way.paused[1].resume()
    way.paused[2].resume()
    await way.arrived()
    assert way.heard == []
    way.paused[0].resume()
    await until(lambda: len(way.heard) == 15)
    assert way.heard == list(range(15))
    assert await asyncio.gather(*asked) == [None] * 3


async def test_a_session_that_moves_back_keeps_the_order_too(pair: Pair, until: Until) -> None:
    way = Way(pair, until)
    way.deafen()
    await way.send(0)
    first = way.sender.link
    await way.move()
    await way.send(3)
    await way.arrived()
    way.sender.link.abort()
    await until(lambda: way.sender.link is first and way.receiver.link is way.paused[0])
    await way.send(6)
    assert way.heard == []
    way.paused[0].resume()
    await until(lambda: len(way.heard) == 9)
    assert way.heard == list(range(9))


def told_ends(*clients: RatsClient) -> list[str]:
    codes: list[str] = []
    for client in clients:
        client.on_event(PeerDisconnected, lambda event: codes.append(event.code))
    return codes


async def test_messages_lost_with_a_connection_end_the_session_on_both_sides(pair: Pair, until: Until) -> None:
    way = Way(pair, until)
    codes = told_ends(pair.a, pair.b)
    way.deafen()
    await way.send(0)
    await way.move()
    await way.send(3)
    await way.arrived()
    assert way.heard == []
    way.paused[0].abort()
    await until(lambda: len(codes) == 2)
    assert (codes, way.heard) == (["lost", "lost"], [])
    assert not way.sender.is_connected


async def test_messages_wait_no_longer_for_a_silent_connection_than_any_peer_may_be_silent(
    make_client: MakeClient, connect: Connect, until: Until
) -> None:
    session = SessionConfig(ping_interval=0.1, idle_timeout=0.5)
    a, b = [await make_client(session=session) for _ in range(2)]
    way = Way(await connect(a, b), until)
    codes = told_ends(a, b)
    way.deafen()
    await way.send(0)
    await way.move()
    await way.send(3)
    await until(lambda: len(codes) == 2)
    assert (codes, way.heard) == (["lost", "lost"], [])


async def test_a_request_that_was_given_up_while_it_was_held_is_not_handled(pair: Pair, until: Until) -> None:
    way = Way(pair, until)
    way.deafen()
    await way.send(0)
    await way.move()
    with pytest.raises(RequestTimeout):
        await way.sender.request("ask", 99, timeout=0.01)
    await way.send(3)
    await way.arrived()
    way.paused[0].resume()
    await until(lambda: len(way.heard) == 6)
    assert way.heard == list(range(6))


async def test_what_is_held_when_the_session_ends_is_handled_in_order(pair: Pair, until: Until) -> None:
    way = Way(pair, until)
    way.deafen()
    await way.send(0)
    await way.move()
    await way.send(3)
    await way.arrived()
    closing = asyncio.create_task(way.sender.close())
    way.paused[0].resume()
    await closing
    await until(lambda: not pair.b.peers)
    assert way.heard == list(range(6))


async def test_what_is_held_does_not_hold_up_the_end_of_a_client(pair: Pair, until: Until) -> None:
    way = Way(pair, until)
    way.deafen()
    await way.send(0)
    await way.move()
    await way.send(3)
    await way.arrived()
    async with asyncio.timeout(3.0):
        await pair.b.stop()
    assert way.heard == sorted(way.heard)


async def test_a_drained_connection_stays_until_its_messages_have_arrived(
    pair: Pair, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("librats.services.link.retirement.RETIRE_DELAY", 0.0)
    way = Way(pair, until, forward=False)  # it is the dialling side that drains
    first = way.sender.link
    way.deafen()
    await way.send(0)
    await way.move()
    # The receiver has nothing to finish there that it knows of, and says so.
    await until(lambda: not first.is_usable)
    await way.arrived()
    await way.arrived()
    assert first in way.sender.links
    assert not first.closed.done()
    way.paused[0].resume()
    await until(lambda: len(way.sender.links) == 1)
    assert way.heard == [0, 1, 2]
