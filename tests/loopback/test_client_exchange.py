"""Peer exchange between clients, and with librats 2 nodes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from tests.loopback.conftest import LOOPBACK, WAIT
from tests.reference.librats2_node import PEX, Librats2Node, peer_id

from librats import Identity, PeerDiscovered, RatsClient
from librats.session.events import PeersOffered
from librats.session.exchange import KnownPeer, decode_exchange, encode_answer
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

KEY = bytes(range(1, 33))


async def dial(a: RatsClient, b: RatsClient) -> None:
    await a.connect((LOOPBACK, b.listen_port))


@pytest.mark.parametrize("encryption", ["required", "off"])
async def test_a_client_meets_everybody_whom_one_peer_knows(
    encryption: str, make_client: MakeClient, until: Until
) -> None:
    clients = [await make_client(peer_exchange=True, encryption=encryption) for _ in range(5)]
    discovered: list[PeerDiscovered] = []
    clients[-1].on_event(PeerDiscovered, discovered.append)
    hub = clients[0]
    for client in clients[1:]:
        await dial(client, hub)
    await until(lambda: all(len(client.peers) == 4 for client in clients))
    counted = clients[-1].statistics()["peer_exchange"]
    assert counted["asked"] >= 1
    assert {event.peer_id for event in discovered} <= {client.peer_id for client in clients[1:-1]}
    assert all(event.source == "peer-exchange" for event in discovered)
    told = [client.statistics()["peer_exchange"]["peers_told"] for client in clients]
    assert sum(told) >= 3


async def test_a_client_that_does_not_take_part_neither_asks_nor_answers(make_client: MakeClient, until: Until) -> None:
    hub, other = await make_client(), await make_client()
    curious = await make_client(peer_exchange=True)
    await dial(other, hub)
    await dial(curious, hub)
    await until(lambda: len(hub.peers) == 2)
    await hub.peers[curious.peer_id].ping()
    await asyncio.sleep(0.05)
    assert list(curious.peers) == [hub.peer_id]
    assert hub.statistics()["peer_exchange"] is None
    assert curious.statistics()["peer_exchange"]["asked"] == 1


async def test_as_many_peers_as_wanted_are_met(make_client: MakeClient, until: Until) -> None:
    hub = await make_client(peer_exchange=True, peer_target=1)
    others = [await make_client(peer_exchange=True, peer_target=1) for _ in range(4)]
    for other in others:
        await dial(other, hub)
    curious = await make_client(peer_exchange=True, peer_target=3)
    await dial(curious, hub)
    await until(lambda: len(curious.peers) == 3)
    await asyncio.sleep(0.05)
    assert len(curious.peers) == 3


async def test_somebody_else_at_an_address_that_was_told_is_not_connected(
    make_client: MakeClient, until: Until
) -> None:
    curious, target = await make_client(peer_exchange=True), await make_client()
    node = await Librats2Node.dial(curious.listen_port, KEY)
    await until(lambda: peer_id(KEY) in curious.peers)
    wrong = KnownPeer(Address(LOOPBACK, target.listen_port), Identity.generate().peer_id)
    await node.send(PEX, encode_answer([wrong]))
    await until(lambda: curious.statistics()["peer_exchange"]["dials_failed"] == 1)
    assert target.peer_id not in curious.peers
    assert not target.peers
    await node.close()


async def test_a_librats_2_node_asks_and_is_asked(make_client: MakeClient, until: Until) -> None:
    client, other = await make_client(peer_exchange=True), await make_client()
    await dial(client, other)
    node = await Librats2Node.dial(client.listen_port, KEY)
    await until(lambda: peer_id(KEY) in client.peers)
    async with asyncio.timeout(WAIT):
        while (received := await node.receive())[0] != PEX:
            pass
        assert received == (PEX, 0, b"\x01\x00\x00\x20")
        await node.send(PEX, b"\x01\x00\x00\x20")
        while (received := await node.receive())[0] != PEX:
            pass
    expected = KnownPeer(Address(LOOPBACK, other.listen_port), other.peer_id)
    assert decode_exchange(received[2]) == PeersOffered((expected,))
    third = await make_client()
    await node.send(PEX, encode_answer([KnownPeer(Address(LOOPBACK, third.listen_port), third.peer_id)]))
    await until(lambda: third.peer_id in client.peers)
    for garbage in (b"", b"\x01", b"\x02\x00\x00\x20", b"\x01\x07\x00\x00", b"\x01\x01\xff\xff\x04"):
        await node.send(PEX, garbage)
    await client.peers[third.peer_id].ping()
    assert peer_id(KEY) in client.peers
    await node.close()


async def test_dials_that_are_under_way_end_with_the_client(make_client: MakeClient, until: Until) -> None:
    client = await make_client(peer_exchange=True)
    writers: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: writers.append(writer), LOOPBACK, 0) as silent:
        node = await Librats2Node.dial(client.listen_port, KEY)
        await until(lambda: peer_id(KEY) in client.peers)
        port = silent.sockets[0].getsockname()[1]
        await node.send(PEX, encode_answer([KnownPeer(Address(LOOPBACK, port), "ab" * 32)]))
        await until(lambda: client.statistics()["peer_exchange"]["dials"] == 1)
        await until(lambda: writers)
        await client.stop()
        await node.close()
        for writer in writers:
            writer.close()
