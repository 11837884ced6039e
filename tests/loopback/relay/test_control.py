"""What strangers get, what errors do, and what is counted of it."""

from __future__ import annotations

import dataclasses
import logging
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.loopback.relay.clients import PASSWORD, USER, Peer, TurnClient

from librats._core.stun import parse, serialise
from librats.relay.failures import Failures
from librats.relay.metrics import render_metrics
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.serving.allocating import Allocating
from librats.turn.serving.tables import Settings, Tables
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay

EVERYWHERE = "0.0.0.0"  # noqa: S104 - a test's


class Broken:
    """A method that fails while it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.fails = True
        original = getattr(owner, name)

        def call(*args: Any, **named: Any) -> Any:
            if self.fails:
                raise RuntimeError("nobody foresaw this")
            return original(*args, **named)

        monkeypatch.setattr(owner, name, call)


def ask_unanswered(client: TurnClient) -> None:
    client.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17))
    client.sock.settimeout(10.0)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_unforeseen_error_costs_one_request_and_is_counted(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, transport: str
) -> None:
    server = await start_relay()
    broken = Broken(monkeypatch, Allocating, "allocate")

    def talk() -> None:
        with TurnClient(server.addresses[0], transport) as client:
            ask_unanswered(client)
            ask_unanswered(client)
            broken.fails = False
            client.allocate()

    with caplog.at_level(logging.ERROR, logger="librats.relay"):
        await run_in_thread(talk)
    assert server.statistics().failures == 2
    assert b"librats_relay_failures_total 2.0" in render_metrics(server.statistics())
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "nobody foresaw this" in str(record.exc_info[1])
    assert not server._failed.is_set()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_an_unforeseen_error_in_the_upkeep_costs_a_second_of_it(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    server = await start_relay(settings=Settings(default_lifetime=1))
    broken = Broken(monkeypatch, Tables, "expire")

    def talk() -> None:
        with TurnClient(server.addresses[0], transport) as client:
            client.allocate()
            while server.statistics().failures < 4:
                time.sleep(0.05)
            assert server.statistics().allocations == 1
            broken.fails = False
            while server.statistics().allocations:
                time.sleep(0.05)

    await run_in_thread(talk)
    assert not server._failed.is_set()


async def test_an_allocation_that_fails_halfway_leaves_nothing_behind(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await start_relay(relay_ports=(40000, 40001), tcp=False)
    broken = Broken(monkeypatch, Tables, "limit")

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client:
            for _ in range(3):
                ask_unanswered(client)
            assert server.statistics().allocations == 0
            broken.fails = False
            assert client.allocate()[1] in (40000, 40001)

    await run_in_thread(talk)
    assert server.statistics().allocations == 1


def test_one_error_a_minute_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    for now in (0.0, 59.9, 60.0, 61.0):
        try:
            raise RuntimeError("nobody foresaw this")
        except RuntimeError:
            failures.note("a request", now=now)
    assert failures.count == 4
    assert [record.args for record in caplog.records] == [("a request", 1), ("a request", 3)]


@pytest.mark.parametrize("listen", ["127.0.0.1", "::1", EVERYWHERE])
async def test_strangers_are_answered_and_counted(start_relay: StartRelay, listen: str) -> None:
    server = await start_relay(listen=(Address(listen, 0),), relay_hosts=("127.0.0.1",), tcp=False)

    def talk() -> None:
        host = "127.0.0.5" if listen == EVERYWHERE else listen
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10.0)
            sock.connect((host, server.addresses[0].port))  # what comes from another address is not heard
            for method, code in ((Method.BINDING, 0), (Method.ALLOCATE, 401), (0x0FF, 400)):
                request = serialise(method, MessageClass.REQUEST, bytes(12), fingerprint=True)
                sock.send(request)
                answer = parse(sock.recv(1000))
                error = answer.get(Attribute.ERROR_CODE)
                assert (error[0] if error else 0) == code
                if not code:
                    assert answer.get(Attribute.XOR_MAPPED_ADDRESS) == sock.getsockname()[:2]
                    assert answer.check_fingerprint()
            sock.send(request[:-1] + bytes([request[-1] ^ 1]))
            sock.send(serialise(Method.BINDING, MessageClass.REQUEST, bytes(12)))
            sock.recv(1000)

    await run_in_thread(talk)
    figures = server.statistics()
    assert figures.answers == {("binding", 0): 2, ("allocate", 401): 1, ("unknown", 400): 1}
    assert figures.malformed == 1


async def test_a_burst_of_strangers_gets_all_of_its_answers(start_relay: StartRelay) -> None:
    server = await start_relay(realm="r" * 700, tcp=False)
    request = serialise(Method.ALLOCATE, MessageClass.REQUEST, bytes(12), [(Attribute.SOFTWARE, "x" * 500)])

    def talk() -> int:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.settimeout(10.0)
            sock.connect(tuple(server.addresses[0]))
            for _ in range(200):
                sock.send(request)
            return sum(len(sock.recv(2000)) for _ in range(200))

    assert await run_in_thread(talk) == 200 * (700 + 80)


async def test_who_is_known_has_to_prove_it_again_once_passwords_change(start_relay: StartRelay) -> None:
    server = await start_relay()
    new = dataclasses.replace(server.config, users={USER: "changed"})

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            client.allocate()
            assert client.permit(peer.address) == 0
            server._loop.call_soon_threadsafe(server.reload, new)
            while client.permit(peer.address) == 0:
                pass
            assert client.permit(peer.address) == 401
        with TurnClient(server.addresses[0], password="changed") as client:
            client.allocate()
        with TurnClient(server.addresses[0], password=PASSWORD) as client:
            assert client.code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17)) == 401

    await run_in_thread(talk)


async def test_what_an_allocation_cannot_take_is_refused_without_python(start_relay: StartRelay) -> None:
    server = await start_relay(tcp=False)
    gate = server._workers[0].gate
    allocate = (Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17))

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as first, Peer() as second:
            client.ask(*allocate)
            assert client.bind(0x4001, first.address) == 0
            assert gate.answers == {(3, 401): 1}
            assert client.bind(0x4001, second.address) == 400
            assert client.bind(0x4002, first.address) == 400
            assert client.code(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, 2)) == 443
            assert client.code(*allocate) == 437
            assert client.code(Method.CHANNEL_BIND, (Attribute.CHANNEL_NUMBER, 0x4003)) == 400
            assert gate.answers == {(3, 401): 1, (9, 400): 3, (4, 443): 1, (3, 437): 1}
            assert client.bind(0x4001, first.address) == 0
            assert client.bind(0x4002, second.address) == 0
            assert client.code(Method.REFRESH, (Attribute.REQUESTED_ADDRESS_FAMILY, 1)) == 0
            assert sum(gate.answers.values()) == 6

    await run_in_thread(talk)


async def test_a_request_that_is_sent_again_gets_the_answer_of_before(start_relay: StartRelay) -> None:
    server = await start_relay(tcp=False)

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            sent: list[bytes] = []
            send = client.sock.sendall
            heard: list[bytes] = []
            client.sock = Recorder(client.sock, sent, heard)  # type: ignore[assignment]
            client.allocate()
            send(sent[-1])
            assert client.receive() == heard[-2]
            assert client.bind(0x4001, peer.address) == 0
            send(sent[-1])
            assert client.receive() == heard[-2]
            assert client.refresh(0) == 0
            send(sent[-1])
            assert client.receive() == heard[-2]
            client.allocate()

    await run_in_thread(talk)


class Recorder:
    """A socket that keeps what goes and comes."""

    def __init__(self, sock: socket.socket, sent: list[bytes], heard: list[bytes]) -> None:
        self._sock, self._sent, self._heard = sock, sent, heard

    def sendall(self, data: bytes) -> None:
        self._sent.append(data)
        self._sock.sendall(data)

    def recv(self, size: int) -> bytes:
        self._heard.append(self._sock.recv(size))
        return self._heard[-1]

    def close(self) -> None:
        self._sock.close()
