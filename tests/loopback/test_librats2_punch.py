"""Punch messages between librats 2 nodes and clients on this machine."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.reference.librats2_node import APP, PUNCH, Librats2Node, PlaintextNode, peer_id
from tests.reference.librats2_punching import PunchingNode

from librats import ConnectError, NatTraversalConfig, RatsClient
from librats.session.librats2_wire import channel_id
from librats.types import Address, ConnectionMethod, Encryption

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

WAIT = 20.0
ANN, BOB = bytes(range(1, 33)), bytes(range(33, 65))
MESSAGES = json.loads((Path(__file__).parents[1] / "vectors" / "librats2" / "punch.json").read_text(encoding="utf-8"))
PASSED_ON = [m for m in MESSAGES["messages"] if m["dir"] == "node(relay)->destination client"]


async def joined(client: RatsClient, until: Until, key: bytes) -> Librats2Node:
    node = await Librats2Node.dial(client.listen_port, key)
    await until(lambda: peer_id(key) in client.peers)
    return node


async def words_until_mark(client: RatsClient, node: Librats2Node, key: bytes) -> list[bytes]:
    """The Punch messages that a node is passed, up to those that are on their way."""
    await client.peers[peer_id(key)].send_bytes(b"mark", channel="mark")
    said = []
    async with asyncio.timeout(WAIT):
        while True:
            kind, channel, payload = await node.receive()
            if kind == PUNCH:
                said.append(payload)
            elif (kind, channel) == (APP, channel_id("mark")):
                return said


async def heard_by(client: RatsClient, count: int, until: Until) -> None:
    def done() -> bool:
        counted = client.statistics()["librats2_punching"]
        return bool(counted["passed_on"] + counted["not_passed_on"] == count)

    await until(done)


async def test_words_go_from_one_node_to_another_as_librats_2_passes_them_on(
    make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    ann, bob = await joined(client, until, ANN), await joined(client, until, BOB)
    source, target = bytes.fromhex(peer_id(ANN)), bytes.fromhex(peer_id(BOB))
    inners = [bytes.fromhex(message["payload"])[34:] for message in PASSED_ON]
    assert {inner[0] for inner in inners} == {0, 1, 0x63}
    assert max(map(len, inners)) == 155
    for inner in inners:
        await ann.send(PUNCH, b"\1\0" + target + inner)
    await heard_by(client, len(inners), until)
    assert await words_until_mark(client, bob, BOB) == [b"\1\1" + source + inner for inner in inners]
    await ann.close()
    await bob.close()


async def test_what_is_not_for_another_node_here_goes_nowhere(make_client: MakeClient, until: Until) -> None:
    client, ours = await make_client(), await make_client()
    await client.connect(("127.0.0.1", ours.listen_port))
    ann, bob = await joined(client, until, ANN), await joined(client, until, BOB)
    nowhere = [peer_id(ANN), client.peer_id, "ab" * 32, ours.peer_id]
    for target in nowhere:
        await ann.send(PUNCH, b"\1\0" + bytes.fromhex(target) + b"\1")
    await heard_by(client, len(nowhere), until)
    there = bytes.fromhex(peer_id(BOB))
    for broken in (b"", b"\1", b"\2\0" + there + b"\1", b"\1\2" + there + b"\1", b"\1\0" + there, bytes(200)):
        await ann.send(PUNCH, broken)
    await ann.send(PUNCH, b"\1\0" + there + b"\1")
    await heard_by(client, len(nowhere) + 1, until)
    assert len(await words_until_mark(client, bob, BOB)) == 1
    assert await words_until_mark(client, ann, ANN) == []
    assert client.peers[peer_id(ANN)].stats.frames_skipped == 6
    await ann.close()
    await bob.close()


async def test_twelve_words_of_one_sender_go_on_at_once(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    ann, bob = await joined(client, until, ANN), await joined(client, until, BOB)
    for _ in range(200):
        ann.write(ann.block(bytes([PUNCH, 0, 0, 0]) + b"\1\0" + bytes.fromhex(peer_id(BOB)) + b"\1"))
    await ann.drain()
    await heard_by(client, 200, until)
    passed = len(await words_until_mark(client, bob, BOB))
    counted = client.statistics()["librats2_punching"]
    assert 12 <= passed == counted["passed_on"] < 200
    await ann.close()
    await bob.close()


async def test_a_client_that_introduces_nobody_passes_nothing_on(make_client: MakeClient, until: Until) -> None:
    client = await make_client(nat=NatTraversalConfig(allow_introductions=False))
    ann, bob = await joined(client, until, ANN), await joined(client, until, BOB)
    await ann.send(PUNCH, b"\1\0" + bytes.fromhex(peer_id(BOB)) + b"\1")
    await heard_by(client, 1, until)
    assert await words_until_mark(client, bob, BOB) == []
    await ann.close()
    await bob.close()


async def test_nodes_without_encryption_are_passed_words_on_and_nothing_is_dialled_for_them(
    make_client: MakeClient, until: Until
) -> None:
    client = await make_client(encryption=Encryption.OFF)
    ann = await PlaintextNode.dial(client.listen_port, ANN)
    bob = await PlaintextNode.dial(client.listen_port, BOB)
    await until(lambda: len(client.peers) == 2)
    await ann.send(PUNCH, b"\1\0" + BOB + b"\1")
    await ann.send(PUNCH, b"\1\1" + BOB + b"\0\0\1\4\x7f\0\0\1\0\7")
    await until(lambda: client.statistics()["librats2_punching"]["heard"] == 1)
    counted = client.statistics()["librats2_punching"]
    assert (counted["passed_on"], counted["ignored"], counted["answered"]) == (1, 1, 0)
    await ann.close()
    await bob.close()


async def test_two_of_ours_meet_at_a_node_and_one_calls_a_node_through_another(
    make_client: MakeClient, until: Until
) -> None:
    relay, other = PunchingNode(ANN, answers=False), PunchingNode(BOB)
    await relay.start()
    await other.start()
    nat = NatTraversalConfig.offline()
    alice, bob = [await make_client(transports=("udp", "tcp"), nat=nat) for _ in range(2)]
    try:
        for client in (alice, bob):
            assert (await client.connect(Address("127.0.0.1", relay.port))).method is ConnectionMethod.UDP
        await other.dial(("127.0.0.1", relay.port))
        await until(lambda: other.seen_at is not None)
        await until(lambda: all(peer.hello for client in (alice, bob) for peer in client.peers.values()))
        bob.on("greet", lambda peer, data: f"hello {data}")
        peer = await alice.connect(bob.peer_id)
        assert await peer.request("greet", "Alice") == "hello Alice"
        assert (await alice.connect(other.id)).agent == "librats 2"
        assert (await bob.connect(other.id)).address.port == other.port
        for client in (alice, bob):
            assert (await client.connect(other.id)).is_connected
    finally:
        await relay.close()
        await other.close()


async def test_over_tcp_nobody_tells_where_our_udp_port_is_seen(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    node = await joined(client, until, ANN)
    with pytest.raises(ConnectError, match="no librats 2 peer has told where it sees us over UDP"):
        await client.connect("ab" * 32)
    await node.close()
