"""What a librats 2.1.4 node did with every odd thing over TCP, and that we do the same, or which other thing and why.

The rows are those of ``tolerance_results.json``. Each belongs to a test here, to one elsewhere, or to a part of librats
2 that this library does not have yet; one that belongs nowhere fails the last test.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag
from tests.loopback.conftest import LOOPBACK, WAIT
from tests.reference.librats2_node import APP, CONTROL, PEX, PING, TYPED, Librats2Node, PlaintextNode, peer_id

from librats import ConnectError, RatsClient
from librats.session.librats2_wire import channel_id

if TYPE_CHECKING:
    from tests.loopback.conftest import MakeClient, Until

ROWS: list[tuple[str, str, Any]] = [
    (group, probe, result)
    for group, probe, result in json.loads(
        (Path(__file__).parents[1] / "vectors" / "librats2" / "tolerance_results.json").read_text(encoding="utf-8")
    )["rows"]
]
RESULTS = {probe.strip(): str(result) for group, probe, result in ROWS if group in ("tcp", "extra")}
KEY = bytes(range(1, 33))
CLAIMED: set[str] = set()


def claim(*probes: str) -> list[str]:
    """Return the recorded probes that a test acts out."""
    assert all(probe in RESULTS for probe in probes), probes
    CLAIMED.update(probes)
    return list(probes)


def claim_all(pattern: str) -> list[str]:
    return claim(*(probe for probe in RESULTS if re.match(pattern, probe)))


async def joined(client: RatsClient, until: Until, key: bytes = KEY, **settings: Any) -> Librats2Node:
    node = await Librats2Node.dial(client.listen_port, key, **settings)
    await until(lambda: peer_id(key) in client.peers)
    return node


async def answer_of(node: Librats2Node, wanted: int) -> bytes:
    async with asyncio.timeout(WAIT):
        while True:
            kind, _, payload = await node.receive()
            if kind == wanted and payload[:1] != b"\0" * (wanted == PING):
                return payload


class Heard:
    """What a client's handlers hear."""

    def __init__(self, client: RatsClient) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        client.on("greet", lambda peer, data: self.queue.put_nowait(data))
        client.on_bytes(lambda peer, data: self.queue.put_nowait(data), channel="chat")

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT):
            return await self.queue.get()

    async def is_still_heard(self, node: Librats2Node) -> None:
        """See that the session lives and that nothing was heard before this."""
        await node.send_json(b"greet", b'"still here"')
        assert await self.next() == "still here"


# Messages

BODIES = claim_all(r"typed body b'")


@pytest.mark.parametrize("probe", BODIES)
async def test_json_means_the_same(probe: str, make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    node = await joined(client, until)
    body: bytes = ast.literal_eval(probe.removeprefix("typed body "))
    await node.send_json(b"greet", body)
    if body == b"1e400":  # to librats 2 infinity, which it tells as null; to us a number that is out of range
        await heard.is_still_heard(node)
        assert client.statistics()["bad_payloads"] == 1
    else:
        assert await heard.next() == json.loads(ast.literal_eval(RESULTS[probe]).split(" ", 3)[3])
    await node.close()


@pytest.mark.parametrize("probe", claim_all(r"App with flags 0x"))
async def test_flags_mean_nothing(probe: str, make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    node = await joined(client, until)
    payload = bytes.fromhex(ast.literal_eval(RESULTS[probe]).split()[-1])
    flags = int(re.findall("0x[0-9a-f]+", probe)[0], 16)
    await node.send(APP, payload, channel=channel_id("chat"), flags=flags)
    assert await heard.next() == payload
    await node.close()


SILENT: dict[str, list[tuple[int, bytes, int, int]]] = {
    "typed with empty body": [(TYPED, b"\0\5greet", 0, 0)],
    "typed with bad JSON ignored": [(TYPED, b"\0\5greet{nope", 0, 0)],
    "typed truncated tolerated": [(TYPED, b"", 0, 0), (TYPED, b"\0", 0, 0), (TYPED, b"\0\x09greet", 0, 0)],
    "bad pings tolerated": [
        (PING, b"", 0, 0),
        (PING, b"\0" * 8, 0, 0),
        (PING, b"\7" * 9, 0, 0),
        (PING, b"\0" * 10, 0, 0),
    ],
    "unknown types 0,10,11,42,100,200,255 tolerated": [(kind, b"x", 0, 0) for kind in (0, 10, 11, 42, 100, 200, 255)],
    "unknown type big+flags+channel tolerated": [(128, b"x" * 100_000, 0xFFFF, 0xFF)],
    "App on unregistered channel / channel 0 tolerated": [(APP, b"x", 4711, 0), (APP, b"x", 0, 0)],
    "malformed/unknown-version Control tolerated": [(CONTROL, b"", 0, 0), (CONTROL, b"\2\0\0\0\0\0", 0, 0)],
    "types 3,4,6,8,9 with subsystem absent tolerated": [(kind, b"\1\2\3", 0, 0) for kind in (3, 4, 6, 8, 9)],
    "inner exactly 4 bytes": [(kind, b"", 0, 0) for kind in (0, TYPED, PING, CONTROL, PEX, 255)],
    "pex unknown op/trailing: alive": [(PEX, b"\1\5\0\x20", 0, 0), (PEX, b"\1\0\0\0EXTRA", 0, 0)],
}


@pytest.mark.parametrize("probe", claim(*SILENT))
async def test_what_a_node_passes_over_is_passed_over(probe: str, make_client: MakeClient, until: Until) -> None:
    client = await make_client(peer_exchange=probe.startswith("pex"))
    heard = Heard(client)
    node = await joined(client, until)
    for kind, payload, channel, flags in SILENT[probe]:
        await node.send(kind, payload, channel=channel, flags=flags)
    await heard.is_still_heard(node)
    await node.close()


ROUND = claim(
    *("app to node", "app from node", "typed to node", "typed from node", "Typed with flags+channel delivered"),
    *("ping->pong", "Ping with flags answered", "App before/without identify delivered", "close"),
    *("1 MB app frame (one Noise message) to node", "3 MB app frame from node in one block", "node ping payload"),
    *("frame glued to msg3, sent byte by byte", "noise initiator handshake", "once 1", "once 2 (expect none)"),
)


async def test_everything_that_is_understood_passes_both_ways(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    client.once("one", lambda peer, data: heard.queue.put_nowait(("once", data)))
    node = await joined(client, until, glued=struct.pack(">BBH", APP, 0, channel_id("chat")) + b"glued")
    assert await heard.next() == b"glued"
    await node.send_json(b"greet", '{"text":"hé","n":1}'.encode())
    assert await heard.next() == {"text": "hé", "n": 1}
    await node.send(TYPED, b'\0\5greet{"f":1}', flags=0xFF, channel=7)
    assert await heard.next() == {"f": 1}
    for _ in range(2):
        await node.send_json(b"one", b"1")
    assert await heard.next() == ("once", 1)
    await node.send(APP, b"x" * 1_000_000, channel=channel_id("chat"))
    assert await heard.next() == b"x" * 1_000_000
    await node.send(PING, b"\0FLAGGED1", flags=0x40)
    assert await answer_of(node, PING) == b"\1FLAGGED1"
    peer = client.peers[peer_id(KEY)]
    await peer.send("greet-ack", {"text": "hé", "n": 1})
    assert await answer_of(node, TYPED) == ast.literal_eval(RESULTS["typed from node"])
    await peer.send_bytes(b"y" * 3_000_000, channel="chat")
    assert await answer_of(node, APP) == b"y" * int(RESULTS["3 MB app frame from node in one block"])
    await heard.is_still_heard(node)
    await client.disconnect(peer)
    async with asyncio.timeout(WAIT):
        while not await node.at_end():
            pass
    await node.close()


# Identify

LISTED = b"\4\x7f\0\0\1"
IDENTIFIES: dict[str, bytes] = {
    "identify: no transports byte (old form)": b"\1\x1b\xbd\1" + LISTED + b"\x1b\xbd\0",
    "identify: transports + 50 extra bytes": b"\1\x1b\xbe\1" + LISTED + b"\x1b\xbe\0\3" + bytes(50),
    "identify: transports 0xff": b"\1\x1b\xbf\1" + LISTED + b"\x1b\xbf\0\xff",
    "identify: version 2": b"\2\x1b\xc0\0\0\3",
    "identify: version 0": b"\0\x1b\xc0\0\0\3",
    "identify: 33 addresses": b"\1\x1b\xc0\x21" + (LISTED + b"\x1b\xc0") * 33 + b"\0\3",
    "identify: ip_len 5": b"\1\x1b\xc0\1\5" + bytes(7) + b"\0\3",
    "identify: count truncated": b"\1\x1b\xc0\2" + LISTED + b"\x1b\xc0",
    "identify: 4 bytes only (ver,port,count=0) no observed": b"\1\x1b\xc0\0",
    "identify: 5 bytes minimum": b"\1\x1b\xc5\0\0",
    "identify: port 0 = not listening": b"\1\0\0\0\0\3",
}


@pytest.mark.parametrize("probe", claim(*IDENTIFIES))
async def test_an_identify_is_taken_or_ignored_alike(probe: str, make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    node = await joined(client, until)
    await node.send(CONTROL, IDENTIFIES[probe])
    await heard.is_still_heard(node)
    hello = client.peers[peer_id(KEY)].hello
    assert hello is not None
    alive, told = ast.literal_eval(RESULTS[probe])
    assert alive
    assert hello.listen == re.findall(r"127\.0\.0\.1:\d+", told)
    await node.close()


claim("identify sent twice (both applied)", "identify with flags/channel set", "peer record")


async def test_a_second_identify_adds_to_the_first(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    node = await joined(client, until)
    for flags, port in ((0, 7110), (0, 7111), (0x55, 7112)):
        payload = struct.pack(">BHB", 1, port, 0) + b"\0\3"
        await node.send(CONTROL, payload, flags=flags, channel=flags)
    await heard.is_still_heard(node)
    hello = client.peers[peer_id(KEY)].hello
    assert hello is not None
    assert hello.listen == re.findall(r"127\.0\.0\.1:\d+", RESULTS["identify with flags/channel set"])
    await node.close()


# The handshake


@pytest.mark.parametrize("probe", claim_all(r"node=responder, payload"))
async def test_payloads_of_a_dialler_are_taken_up_to_256_bytes(
    probe: str, make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    first, third = (bytes(int(size)) for size in re.findall(r"msg\d=(\d+)", probe))
    dialling = Librats2Node.dial(client.listen_port, KEY, payloads=(first, b"", third))
    if RESULTS[probe] == "True":
        node = await dialling
        await until(lambda: peer_id(KEY) in client.peers)
        await node.close()
    else:
        try:
            node = await dialling
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        else:
            async with asyncio.timeout(WAIT):
                assert await node.at_end()
            await node.close()
        await until(lambda: client.statistics()["handshakes_failed"] == 1)


async def served(
    client: RatsClient, make: Callable[..., Librats2Node], **settings: Any
) -> tuple[bool, list[Librats2Node]]:
    """Have the client dial a node; returns whether that worked, and the node."""
    nodes: list[Librats2Node] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node = make(reader, writer, initiator=False, key=KEY, **settings)
        nodes.append(node)
        try:
            await node.shake_hands()
        except (asyncio.IncompleteReadError, AssertionError, ConnectionError):
            writer.close()

    async with await asyncio.start_server(accepted, LOOPBACK, 0) as server:
        try:
            await client.connect(server.sockets[0].getsockname()[:2])
        except ConnectError:
            return False, nodes
        return True, nodes


@pytest.mark.parametrize("probe", claim_all(r"node=initiator, our msg2 payload"))
async def test_payloads_of_who_is_dialled_are_taken_up_to_256_bytes(probe: str, make_client: MakeClient) -> None:
    client = await make_client()
    size = int(probe.rpartition("=")[2])
    worked, nodes = await served(client, Librats2Node, payloads=(b"", bytes(size), b""))
    assert worked == (ast.literal_eval(RESULTS[probe])[0] is True) == (size <= 256)
    for node in nodes:
        await node.close()


@pytest.mark.parametrize("probe", claim_all(r"proto '"))
async def test_another_protocol_fails_at_the_second_message(probe: str, make_client: MakeClient) -> None:
    client = await make_client()
    protocol: str = ast.literal_eval(probe.removeprefix("proto "))
    with pytest.raises((InvalidTag, ValueError, AssertionError)):
        await Librats2Node.dial(client.listen_port, KEY, protocol=protocol)
    assert not client.peers


RAW = {
    "31-byte msg1": struct.pack(">I", 31) + bytes(31),
    "65536-byte handshake block": struct.pack(">I", 65536),
    # A node steps on without an answer and hangs until its 15 s are over; we close.
    "empty block before msg1": bytes(4),
    # A node answers; we refuse keys of low order.
    "all-zero ephemeral": struct.pack(">I", 32) + bytes(32),
}


@pytest.mark.parametrize("probe", claim(*RAW))
async def test_what_is_no_first_message_closes(probe: str, make_client: MakeClient) -> None:
    client = await make_client()
    reader, writer = await asyncio.open_connection(LOOPBACK, client.listen_port)
    writer.write(RAW[probe])
    async with asyncio.timeout(WAIT):
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


claim("plaintext handshake with 6 trailing bytes", "Noise client to plaintext node")


async def test_a_node_without_encryption_meets_only_its_like(make_client: MakeClient, until: Until) -> None:
    plain = await make_client(encryption="off")
    node = await PlaintextNode.dial(plain.listen_port, KEY, trailing=b"EXTRA!")
    await until(lambda: KEY.hex() in plain.peers)
    await node.close()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await Librats2Node.dial(plain.listen_port, KEY)
    worked, nodes = await served(await make_client(), PlaintextNode)
    assert not worked
    for served_node in nodes:
        await served_node.close()


# What ends a session

ENDS: dict[str, Callable[[Librats2Node], bytes]] = {
    "inner 0 bytes (16-byte block)": lambda node: node.block(b""),
    "inner 3 bytes": lambda node: node.block(b"\1\0\0"),
    "empty block (len 0) after handshake": lambda node: bytes(4),
    "15-byte block": lambda node: struct.pack(">I", 15) + bytes(15),
    "garbage 40-byte block": lambda node: struct.pack(">I", 40) + bytes(40),
    "length prefix 64MiB+1": lambda node: struct.pack(">I", (64 << 20) + 1),
    "nonce gap": lambda node: (node.block(b"\0" * 4), node.block(b"\0" * 4))[1],
}


@pytest.mark.parametrize("probe", claim(*ENDS))
async def test_what_closes_a_node_s_connection_closes_ours(probe: str, make_client: MakeClient, until: Until) -> None:
    assert RESULTS[probe] in ("'connection closed'", "False")
    client = await make_client()
    node = await joined(client, until)
    node.write(ENDS[probe](node))
    await until(lambda: not client.peers)
    await node.close()


claim("length prefix 64MiB exactly, no body")


async def test_a_block_of_64_mib_is_waited_for(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    node = await joined(client, until)
    node.write(struct.pack(">I", 64 << 20) + bytes(1000))
    await node.drain()
    peer = client.peers[peer_id(KEY)]
    await peer.send("still", 1)
    assert await answer_of(node, TYPED) == b"\0\5still1"
    await node.close()


# Two links


claim("second inbound link same id: newest kept", "connecting with the node's own key")
claim("cross-connect, our id < node id", "cross-connect, our id > node id")


async def test_of_two_links_in_one_direction_the_newest_stays(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    heard = Heard(client)
    old = await joined(client, until)
    new = await Librats2Node.dial(client.listen_port, KEY)
    await until(lambda: len(client.peers[peer_id(KEY)].links) == 2)
    await client.peers[peer_id(KEY)].send("to", "the newest")
    assert await answer_of(new, TYPED) == b'\0\2to"the newest"'
    await heard.is_still_heard(new)
    assert list(client.peers) == [peer_id(KEY)]
    for node in (old, new):
        await node.close()


async def test_nobody_connects_with_our_own_key(make_client: MakeClient) -> None:
    client = await make_client()
    node = await Librats2Node.dial(client.listen_port, client.identity.private_key)
    async with asyncio.timeout(WAIT):
        assert await node.at_end()
    assert not client.peers
    await node.close()


@pytest.mark.parametrize("node_is_smaller", [True, False])
async def test_of_two_links_in_opposite_directions_that_of_the_smaller_id_stays(
    node_is_smaller: bool, make_client: MakeClient, until: Until
) -> None:
    client = await make_client()
    keys = (bytes([first]) * 32 for first in range(1, 255))
    key = next(key for key in keys if (peer_id(key) < client.peer_id) == node_is_smaller)
    nodes: list[Librats2Node] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        node = Librats2Node(reader, writer, initiator=False, key=key)
        await node.shake_hands()
        nodes.append(node)

    async with await asyncio.start_server(accepted, LOOPBACK, 0) as server:
        peer = await client.connect(server.sockets[0].getsockname()[:2])
        dialled = await Librats2Node.dial(client.listen_port, key)
        await until(lambda: len(peer.links) == 2 or peer.outgoing != node_is_smaller)
        await until(lambda: peer.outgoing != node_is_smaller)
        survivor = dialled if node_is_smaller else nodes[0]
        await peer.send("to", "the survivor")
        assert await answer_of(survivor, TYPED) == b'\0\2to"the survivor"'
        for node in (dialled, *nodes):
            await node.close()


# Whether that is all

ELSEWHERE = {
    "identity.key honoured": "unit/peers/test_identity",
    "msg2 payload from node len": "unit/noise/test_librats2_handshake",
    "node event": "here, wherever a peer connects",
    "first frame after handshake (type,flags,ch,hex)": "unit/session/test_plaintext",
    "observed": "loopback/test_librats2",
    "node rtt": "loopback/test_librats2",
    "ack": "the node's echo of the row before it",
    "node still alive": "here, everywhere",
}
LATER = {
    "gossip": r"gossip|  but cached",
    "files": r"file OFFER",
    "storage": r"storage",
}
OTHER_GROUPS = {
    "udp": "reliable UDP",
    "punch": "hole punching",
    "fid": "files",
    "disc": "mDNS and DHT with C++ nodes",
    "slow2": "deadlines: loopback/test_client_adversity and unit/session/test_librats2; JSON depth: howto/limits; UDP",
}


def test_every_recorded_row_has_its_place() -> None:
    left = []
    for group, probe, _ in ROWS:
        is_later = any(re.match(pattern, probe) for pattern in LATER.values())
        if group not in OTHER_GROUPS and not is_later and probe.strip() not in CLAIMED | ELSEWHERE.keys():
            left.append(probe)
    assert left == []
    assert {group for group, *_ in ROWS} == {"tcp", "extra", *OTHER_GROUPS}
    assert len(ROWS) == 196
