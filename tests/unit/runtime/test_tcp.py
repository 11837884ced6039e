"""TCP sockets on loopback: listening, dialling, and what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from librats.errors import ConfigError
from librats.runtime import tcp
from librats.runtime.tcp import TcpListener, address_of, dial_tcp, listen_tcp
from librats.types import Address

WAIT = 20.0  # seconds after which a test gives up; nothing here takes a tenth of one
LOCAL = "127.0.0.1"
EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - what an empty host means is to be tested


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


class Recorder(asyncio.Protocol):
    """Keeps what happens to one connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.made = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(exc)


class Accepted:
    """A factory that remembers the protocols it made."""

    def __init__(self) -> None:
        self.protocols: list[Recorder] = []
        self.arrivals: asyncio.Queue[Recorder] = asyncio.Queue()

    def __call__(self) -> Recorder:
        protocol = Recorder()
        self.protocols.append(protocol)
        self.arrivals.put_nowait(protocol)
        return protocol


@asynccontextmanager
async def listening(host: str = LOCAL) -> AsyncIterator[tuple[TcpListener, Accepted]]:
    accepted = Accepted()
    listener = await listen_tcp(accepted, host, 0)
    try:
        yield listener, accepted
    finally:
        listener.close()
        for protocol in accepted.protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.ended


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind((LOCAL, 0))
        port: int = sock.getsockname()[1]
        return port


async def test_bytes_go_from_the_dialler_to_the_listener() -> None:
    async with asyncio.timeout(WAIT), listening() as (listener, accepted):
        assert listener.addresses == [Address(LOCAL, listener.port)]
        assert listener.port > 0
        dialler = Accepted()
        await dial_tcp(dialler, Address(LOCAL, listener.port))
        (mine,) = dialler.protocols
        transport = await mine.made
        assert address_of(transport.get_extra_info("peername")) == Address(LOCAL, listener.port)
        transport.write(b"hello")
        transport.close()
        await mine.ended
        theirs = await accepted.arrivals.get()
        await theirs.ended
        assert theirs.received == b"hello"


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_works_like_ipv4() -> None:
    async with asyncio.timeout(WAIT), listening("::1") as (listener, _):
        dialler = Accepted()
        await dial_tcp(dialler, Address("::1", listener.port))
        transport = await dialler.protocols[0].made
        assert address_of(transport.get_extra_info("peername")) == Address("::1", listener.port)
        transport.abort()
        await dialler.protocols[0].ended


async def test_every_interface_has_one_port_for_both_families() -> None:
    async with asyncio.timeout(WAIT), listening("") as (listener, _):
        hosts = [address.host for address in listener.addresses]
        assert hosts == ([EVERY_IPV4, "::"] if has_ipv6() else [EVERY_IPV4])
        assert {address.port for address in listener.addresses} == {listener.port}
        for host in (LOCAL, "::1")[: len(hosts)]:
            dialler = Accepted()
            await dial_tcp(dialler, Address(host, listener.port))
            (await dialler.protocols[0].made).abort()
            await dialler.protocols[0].ended


async def test_a_taken_port_is_a_configuration_error() -> None:
    async with listening() as (listener, _):
        with pytest.raises(ConfigError, match=r"listen_port: .* in use; take another port, or 0 for any that is free"):
            await listen_tcp(Accepted(), LOCAL, listener.port)


async def test_a_port_taken_in_one_family_only_is_refused_for_every_interface() -> None:
    async with listening(EVERY_IPV4) as (listener, _):
        with pytest.raises(ConfigError, match="listen_port"):
            await listen_tcp(Accepted(), "", listener.port)


@pytest.mark.parametrize(
    ("host", "port", "field"),
    [
        ("example", 0, "listen_host"),
        ("1.2.3", 0, "listen_host"),
        ("192.0.2.1", 0, "listen_port"),
        (LOCAL, 70_000, "listen_port"),
    ],
)
async def test_an_address_that_is_not_ours_or_none_at_all_is_refused(host: str, port: int, field: str) -> None:
    with pytest.raises(ConfigError, match=field) as caught:
        await listen_tcp(Accepted(), host, port)
    assert caught.value.field == field


async def test_a_closed_listener_takes_nobody_and_keeps_who_is_there() -> None:
    async with asyncio.timeout(WAIT), listening() as (listener, accepted):
        dialler = Accepted()
        await dial_tcp(dialler, Address(LOCAL, listener.port))
        theirs = await (await accepted.arrivals.get()).made
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await dial_tcp(Accepted(), Address(LOCAL, listener.port))
        theirs.write(b"still here")
        theirs.close()
        await dialler.protocols[0].ended
        assert dialler.protocols[0].received == b"still here"
        again = await listen_tcp(Accepted(), LOCAL, listener.port)
        again.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only there a connection within the machine is there at once")
async def test_a_connection_within_the_machine_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(sock: socket.socket, name: tuple[str, int]) -> None:
        raise AssertionError("it was waited for")

    async with asyncio.timeout(WAIT), listening() as (listener, accepted):
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", wait)
        dialler = Accepted()
        await dial_tcp(dialler, Address(LOCAL, listener.port))
        (await dialler.protocols[0].made).close()
        await (await accepted.arrivals.get()).ended


async def test_dialling_where_nobody_listens_is_refused() -> None:
    async with asyncio.timeout(WAIT):
        with pytest.raises(ConnectionRefusedError):
            await dial_tcp(Accepted(), Address(LOCAL, free_port()))


@pytest.mark.parametrize("host", ["localhost", "fe80::1%nowhere0", ""])
async def test_only_an_ip_address_can_be_dialled(host: str) -> None:
    with pytest.raises((ValueError, OSError)):
        await dial_tcp(Accepted(), Address(host, 1))


async def test_a_cancelled_dial_leaves_no_socket() -> None:
    # A backlog that is never accepted from: the connection may come about, the protocol never.
    with socket.socket() as silent:
        silent.bind((LOCAL, 0))
        silent.listen(1)
        dialling = asyncio.ensure_future(dial_tcp(Accepted(), Address(LOCAL, silent.getsockname()[1])))
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="the system cannot share a port")
async def test_a_port_that_is_listened_on_can_be_dialled_from() -> None:
    near = await listen_tcp(Accepted(), LOCAL, 0, reuse_port=True)
    dialled = Accepted()
    async with listening() as (far, accepted):
        await dial_tcp(dialled, far.addresses[0], local=near.addresses[0])
        async with asyncio.timeout(WAIT):
            there = await (await accepted.arrivals.get()).made
        assert address_of(there.get_extra_info("peername")) == near.addresses[0]
        with pytest.raises(OSError, match="in use"):
            await dial_tcp(Accepted(), near.addresses[0], local=far.addresses[0])
        for protocol in dialled.protocols:
            (await protocol.made).abort()
    near.close()


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (("192.0.2.7", 80), Address("192.0.2.7", 80)),
        (("2001:db8::7", 80, 0, 0), Address("2001:db8::7", 80)),
        (("fe80::7", 80, 0, 3), Address("fe80::7%3", 80)),
        (("fe80::7%eth0", 80, 0, 3), Address("fe80::7%eth0", 80)),
    ],
)
def test_a_socket_name_is_read_with_its_zone(name: tuple[object, ...], address: Address) -> None:
    assert address_of(name) == address


class Bound:
    """Stands for `_listening_socket`: sockets on the loopback, and a family IPv6 that fails as it is told to."""

    def __init__(self, *failures: int) -> None:
        self.failures = list(failures)
        self.made: list[socket.socket] = []

    def __call__(self, address: Address, **_options: object) -> socket.socket:
        if address.host == "::" and self.failures:
            error = self.failures.pop(0)
            raise OSError(error, os.strerror(error))
        sock = socket.create_server((LOCAL, 0))
        self.made.append(sock)
        return sock


async def listened(bound: Bound, port: int, monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    monkeypatch.setattr(tcp, "_listening_socket", bound)
    listener = await listen_tcp(Accepted(), "", port)
    listener.close()
    return listener.addresses


async def test_where_ipv6_is_not_to_be_had_ipv4_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(await listened(Bound(errno.EAFNOSUPPORT), 0, monkeypatch)) == 1


async def test_a_port_that_is_free_in_one_family_only_is_not_the_one_that_is_picked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound = Bound(errno.EADDRINUSE, errno.EADDRINUSE)
    assert len(await listened(bound, 0, monkeypatch)) == 2
    assert len(bound.made) == 4
    assert [sock.fileno() == -1 for sock in bound.made[:2]] == [True, True]


@pytest.mark.parametrize(("port", "tries"), [(8080, 1), (0, tcp.PORT_TRIES)])
async def test_what_is_tried_for_a_common_port_has_an_end(
    port: int, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = Bound(*[errno.EADDRINUSE] * 100)
    with pytest.raises(ConfigError, match="listen_port"):
        await listened(bound, port, monkeypatch)
    assert len(bound.made) == tries
    assert all(sock.fileno() == -1 for sock in bound.made)
