"""HTTP at the ports of a relay, by plain sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from pathlib import Path

import pytest
from tests.loopback.relay.clients import PASSWORD, USER
from tests.loopback.relay.conftest import StartRelay
from tests.reference.certificates import make_certificate
from tests.reference.http_proxy import HttpProxy
from tests.unit.web.test_sockets import BINARY, PING, REQUEST, frame

from librats import ProxyError, TurnAllocation, TurnServer, TurnTcpAllocation
from librats.relay import web
from librats.relay.config import make_relay_config
from librats.relay.server import RelayServer
from librats.runtime.offload import run_in_thread
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address, TurnTransport

HERE = Address("127.0.0.1", 0)
BINDING = bytes.fromhex("000100002112a442") + bytes(12)


class Visitor:
    """A client that writes what it is told to."""

    def __init__(self, server: RelayServer, tls: ssl.SSLContext | None = None) -> None:
        where = server.addresses[0] if tls is None else server.tls_addresses[0]
        self.sock: socket.socket = socket.create_connection(where, timeout=10)
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, server_hostname="127.0.0.1")

    def say(self, data: bytes) -> None:
        self.sock.sendall(data)

    def hear(self, end: bytes) -> bytes:
        """Read up to and with an end; to the end of the connection where it does not come."""
        heard = b""
        while not heard.endswith(end) or not end:
            data = self.sock.recv(1 if end else 4096)
            if not data:
                break
            heard += data
        return heard

    def open(self, request: bytes = REQUEST) -> None:
        self.say(request)
        assert self.hear(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")

    def frame(self) -> bytes:
        head = self.hear_exactly(2)
        size = int.from_bytes(self.hear_exactly(2), "big") if head[1] == 126 else head[1]
        return self.hear_exactly(size)

    def hear_exactly(self, size: int) -> bytes:
        heard = b""
        while len(heard) < size:
            data = self.sock.recv(size - len(heard))
            assert data
            heard += data
        return heard


async def visited(server: RelayServer, visit: object, tls: ssl.SSLContext | None = None) -> object:
    def run() -> object:
        visitor = Visitor(server, tls)
        try:
            return visit(visitor)  # type: ignore[operator]
        finally:
            visitor.sock.close()

    return await run_in_thread(run)


@pytest.mark.parametrize("encrypted", [False, True])
async def test_one_port_tells_stun_and_websockets_apart(
    start_relay: StartRelay, tmp_path: Path, encrypted: bool
) -> None:
    certificate = make_certificate(tmp_path)
    server = await start_relay(listen=(HERE,), tls_listen=(HERE,), certificate=certificate)
    tls = ssl.create_default_context(cafile=str(certificate)) if encrypted else None
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])

    def stun(visitor: Visitor) -> None:
        visitor.say(BINDING)
        assert visitor.hear_exactly(2) == b"\x01\x01"

    def inside(visitor: Visitor) -> None:
        visitor.open()
        visitor.say(frame(BINARY, BINDING[:7], fin=False) + frame(PING, b"!") + frame(0, BINDING[7:]))
        assert visitor.frame() == b"!"
        assert visitor.frame()[:2] == b"\x01\x01"

    await visited(server, stun, tls)
    await visited(server, inside, tls)


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HEAD / HTTP/1.0\r\n\r\n"])
async def test_everything_else_is_answered_shortly_and_closed(start_relay: StartRelay, request_: bytes) -> None:
    server = await start_relay(listen=(HERE,))

    def visit(visitor: Visitor) -> None:
        visitor.say(request_)
        answer = visitor.hear(b"")
        assert answer.startswith(b"HTTP/1.1 4")
        assert len(answer) < 600

    await visited(server, visit)


async def test_without_websockets_nothing_is_there(start_relay: StartRelay) -> None:
    server = await start_relay(listen=(HERE,), web=False)

    def visit(visitor: Visitor) -> None:
        visitor.say(REQUEST)
        assert visitor.hear(b"").startswith(b"HTTP/1.1 404 ")

    await visited(server, visit)


async def test_requests_that_are_not_complete_count_as_connections(start_relay: StartRelay) -> None:
    server = await start_relay(listen=(HERE,), max_connections=1)
    streams = server._streams
    assert streams is not None

    def visit(visitor: Visitor) -> None:
        visitor.say(b"GET /librats HTTP/1.1\r\n")
        while not streams._web.waiting:
            time.sleep(0.001)
        other = Visitor(server)
        try:
            other.say(BINDING)
            assert other.sock.recv(1) == b""  # there is no room for it
        except ConnectionError:
            pass
        finally:
            other.sock.close()
        visitor.open(REQUEST.partition(b"\r\n")[2])

    await visited(server, visit)


async def test_requests_that_do_not_end_are_ended(start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "HANDSHAKE_TIMEOUT", 0.2)
    server = await start_relay(listen=(HERE,))

    def visit(visitor: Visitor) -> None:
        visitor.say(b"GET /librats HTTP/1.1\r\n")
        assert visitor.hear(b"") == b""

    await visited(server, visit)
    assert server._streams is not None
    assert server._streams._web.waiting == 0


async def test_there_is_no_websocket_inside_a_websocket(start_relay: StartRelay) -> None:
    server = await start_relay(listen=(HERE,))

    def visit(visitor: Visitor) -> None:
        visitor.open()
        visitor.say(frame(BINARY, b"GET /librats HTTP/1.1\r\n\r\n"))
        assert b"HTTP" not in visitor.hear(b"")

    await visited(server, visit)


@pytest.mark.parametrize(
    ("trusted", "seen"), [((), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.9"), (("192.0.2.0/24",), "127.0.0.1")]
)
async def test_only_a_trusted_proxy_tells_from_whom_it_passes_on(
    start_relay: StartRelay, trusted: tuple[str, ...], seen: str
) -> None:
    server = await start_relay(listen=(HERE,), trusted_proxies=tuple(map(parse_network, trusted)))
    request = REQUEST.replace(
        b"\r\n\r\n", b"\r\nX-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 1.1.1.1, 203.0.113.9\r\n\r\n"
    )

    def visit(visitor: Visitor) -> None:
        visitor.open(request)
        visitor.say(frame(BINARY, BINDING))
        answer = visitor.frame()
        # XOR-MAPPED-ADDRESS: the last four bytes, under the magic cookie
        mapped = bytes(a ^ b for a, b in zip(answer[28:32], b"\x21\x12\xa4\x42", strict=True))
        assert socket.inet_ntoa(mapped) == seen

    await visited(server, visit)


def place_on(server: RelayServer, transport: TurnTransport, certificate: Path, proxy: str = "off") -> TurnServer:
    secure = transport in (TurnTransport.TLS, TurnTransport.WSS)
    return TurnServer(
        host="127.0.0.1",
        port=(server.tls_addresses if secure else server.addresses)[0].port,
        username=USER,
        password=PASSWORD,
        transport=transport,
        ca_file=certificate if secure else None,
        proxy=proxy,
    )


@pytest.mark.parametrize("by_proxy", [False, True])
@pytest.mark.parametrize("transport", [each for each in TurnTransport if each is not TurnTransport.UDP])
async def test_turn_goes_by_every_connection_there_is(
    start_relay: StartRelay, tmp_path: Path, transport: TurnTransport, by_proxy: bool
) -> None:
    certificate = make_certificate(tmp_path)
    server = await start_relay(tls_listen=(HERE,), certificate=certificate)
    got: asyncio.Queue[list[tuple[bytes, Address]]] = asyncio.Queue()
    async with asyncio.timeout(20), HttpProxy() as proxy:
        place = place_on(server, transport, certificate, proxy.uri if by_proxy else "off")
        async with (
            await TurnAllocation.open(place, receive=got.put_nowait) as one,
            await TurnAllocation.open(place, receive=got.put_nowait) as other,
        ):
            await other.create_permission(one.relayed_address)
            await one.bind_channel(other.relayed_address)
            one.send(b"x" * 1200, other.relayed_address)
            [(data, sender)] = await got.get()
            assert (data, sender) == (b"x" * 1200, one.relayed_address)
        assert bool(proxy.asked) is by_proxy


async def test_tcp_is_relayed_inside_websockets_through_a_proxy(start_relay: StartRelay, tmp_path: Path) -> None:
    server = await start_relay()
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            assert isinstance(self.transport, asyncio.Transport)
            self.transport.write(data)

    class Caller(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.write(b"hello" * 10_000)

        def data_received(self, data: bytes) -> None:
            heard.put_nowait(data)

    async with asyncio.timeout(20), HttpProxy() as proxy:
        peer = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1")
        place = place_on(server, TurnTransport.WS, tmp_path, proxy.uri)
        async with peer, await TurnTcpAllocation.open(place) as relay:
            await relay.create_permission("127.0.0.1")
            await relay.connect(Caller, Address(*peer.sockets[0].getsockname()))
            size = 0
            while size < 50_000:
                size += len(await heard.get())
            assert len(proxy.asked) == 2


async def test_a_proxy_that_refuses_is_told_to_who_wants_to_relay(start_relay: StartRelay, tmp_path: Path) -> None:
    server = await start_relay()
    async with asyncio.timeout(20), HttpProxy("ann:secret") as proxy:
        with pytest.raises(ProxyError, match="407"):
            await TurnAllocation.open(place_on(server, TurnTransport.TCP, tmp_path, proxy.uri))


def test_a_file_names_trusted_proxies() -> None:
    config = make_relay_config({"no_auth": True, "web": False, "trusted_proxies": ["10.0.0.0/8"]})
    assert (config.web, config.trusted_proxies) == (False, (parse_network("10.0.0.0/8"),))
