"""A librats 2 node over UDP that passes Punch messages on, opens and answers, written from the description alone.

Its packets are those of our own streams; everything above them is the other library's.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import struct
from typing import Any

from tests.reference.librats2_node import CONTROL, PUNCH, Librats2Node, peer_id

from librats.runtime.network import current_network
from librats.runtime.rudp import RudpPort
from librats.types import Address

OPENS, ANSWERS = 0, 1


class Connection(Librats2Node):
    """A connection whose other end's id is known."""

    their_id = ""
    address: tuple[str, int] = ("", 0)

    async def shake_hands(self) -> None:
        state = self._noise.noise_protocol.handshake_state
        await super().shake_hands()
        self.their_id = hashlib.sha256(state.rs.public_bytes).hexdigest()
        self.address = self._writer.get_extra_info("peername")[:2]


def packed(address: tuple[str, int]) -> bytes:
    ip = ipaddress.ip_address(address[0]).packed
    return bytes([len(ip)]) + ip + struct.pack(">H", address[1])


def connect(role: int, *addresses: tuple[str, int]) -> bytes:
    return bytes([0, role, len(addresses)]) + b"".join(map(packed, addresses))


class PunchingNode:
    """A node; ``passes_on`` tells whether it relays, ``answers`` whether it takes part itself."""

    def __init__(self, key: bytes, *, passes_on: bool = True, answers: bool = True) -> None:
        self._key = key
        self._passes_on, self._answers = passes_on, answers
        self.id = peer_id(key)
        self._links: list[Connection] = []
        self.said: list[tuple[str, bytes]] = []
        """Punch messages that have come, each with the id of who has sent it."""
        self.seen_at: tuple[str, int] | None = None
        """Where the last one that has told sees this node."""
        self.dialled: list[tuple[str, int]] = []
        self._wanted: dict[str, list[tuple[str, int]]] = {}
        self._port: RudpPort | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        network = current_network()
        self._port = await RudpPort.open(network, host, port, accept=self._accepting, entropy=network.entropy)

    @property
    def connections(self) -> dict[str, Connection]:
        """The newest connection of each that is connected, by their ids."""
        return {connection.their_id: connection for connection in self._links}

    @property
    def port(self) -> int:
        assert self._port is not None
        return self._port.endpoint.local_address.port

    def _accepting(self) -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), self._accepted)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(Connection(reader, writer, initiator=False, key=self._key))

    async def dial(self, address: tuple[str, int], *, punch: bool = False) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        assert self._port is not None
        transport = await self._port.dial(lambda: protocol, Address(*address), punch=punch)
        writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
        self._spawn(self._serve(Connection(reader, writer, initiator=True, key=self._key)))

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await connection.shake_hands()
            self._links.append(connection)
            await connection.send(CONTROL, b"\1\0\0\0" + packed(connection.address) + b"\2")
            while True:
                kind, _, payload = await connection.receive()
                if kind == CONTROL:
                    self._take_identify(payload)
                elif kind == PUNCH:
                    self.said.append((connection.their_id, payload))
                    await self._take_punch(connection, payload)
        if connection in self._links:
            self._links.remove(connection)
        await connection.close()

    def _take_identify(self, payload: bytes) -> None:
        at = 4
        for _ in range(payload[3]):
            at += 3 + payload[at]
        size = payload[at]
        if size:
            port = int.from_bytes(payload[at + 1 + size : at + 3 + size])
            self.seen_at = (str(ipaddress.ip_address(payload[at + 1 : at + 1 + size])), port)

    async def _take_punch(self, connection: Connection, payload: bytes) -> None:
        op, who, inner = payload[1], payload[2:34].hex(), payload[34:]
        if op == 0:
            target = self.connections.get(who)
            if self._passes_on and target is not None:
                await target.send(PUNCH, b"\1\1" + bytes.fromhex(connection.their_id) + inner)
        elif self._answers:
            await self._take_word(connection, who, inner)

    async def _take_word(self, relay: Connection, who: str, inner: bytes) -> None:
        if inner[0] == 1:
            self._dial_all(who)
            return
        self._wanted[who] = list(addresses_in(inner))
        if inner[1] == OPENS:
            assert self.seen_at is not None
            await self.say(relay, who, connect(ANSWERS, self.seen_at))
        else:
            await self.say(relay, who, b"\1")
            self._dial_all(who)

    def _dial_all(self, who: str) -> None:
        for address in self._wanted.pop(who, ()):
            self.dialled.append(address)
            self._spawn(self._punch(address))

    async def _punch(self, address: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):
            await self.dial(address, punch=True)

    async def say(self, relay: Connection, target: str, inner: bytes) -> None:
        await relay.send(PUNCH, b"\1\0" + bytes.fromhex(target) + inner)

    async def open(self, relay_id: str, target: str) -> None:
        assert self.seen_at is not None
        await self.say(self.connections[relay_id], target, connect(OPENS, self.seen_at))

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        for connection in list(self._links):
            await connection.close()
        if self._port is not None:
            self._port.close()


def addresses_in(inner: bytes) -> list[tuple[str, int]]:
    """The addresses of a Connect."""
    at, found = 3, []
    for _ in range(inner[2]):
        size = inner[at]
        ip = ipaddress.ip_address(inner[at + 1 : at + 1 + size])
        found.append((str(ip), int.from_bytes(inner[at + 1 + size : at + 3 + size])))
        at += 3 + size
    return found
