"""Allocations over which peers are connected to, and connect (RFC 6062), on a relay in this process."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import PASSWORD, SHORT, TCP, UDP, USER, WAIT, TurnClient
from tests.reference.certificates import make_certificate

from librats._core.stun import parse, serialise
from librats.relay import tcp_allocations
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, MessageClass, Method
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay


# TCP allocations, RFC 6062.


def data_connection(server: Address, number: int, transport: str = "tcp") -> TurnClient:
    """Return a connection that is joined with a peer's."""
    client = TurnClient(server, transport)
    assert client.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, number)) == 0
    return client


async def test_a_client_connects_to_a_peer_through_the_relay(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, TurnClient(server.addresses[0], "tcp") as client:
            peer = (Attribute.XOR_PEER_ADDRESS, listening.getsockname())
            relayed = client.allocate(transport=TCP)
            answer = client.ask(Method.CONNECT, peer)
            assert client.code(Method.CONNECT, peer) == 446
            accepted, source = listening.accept()
            assert source == relayed
            with accepted:
                accepted.settimeout(WAIT)
                accepted.sendall(b"written before anybody reads")
                with data_connection(server.addresses[0], answer.get(Attribute.CONNECTION_ID)) as data:
                    assert data.read(100) == b"written before anybody reads"
                    sending = threading.Thread(target=data.sock.sendall, args=(b"x" * 3_000_000,))
                    sending.start()  # more than the buffers on the way hold
                    got = 0
                    while got < 3_000_000:
                        got += len(accepted.recv(65536))
                    sending.join()
                    accepted.sendall(b"last words")
                    accepted.close()
                    assert data.read(100) == b"last words"
                    assert data.read(100) == b""

    await run_in_thread(talk)


async def test_the_end_of_a_tls_client_is_passed_on(
    start_relay: StartRelay, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_relay(tls_listen=(Address("127.0.0.1", 0),), certificate=make_certificate(tmp_path))

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, TurnClient(server.addresses[0], "tcp") as client:
            client.allocate(transport=TCP)
            answer = client.ask(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, listening.getsockname()))
            accepted, _ = listening.accept()
            with accepted:
                accepted.settimeout(WAIT)
                with data_connection(server.tls_addresses[0], answer.get(Attribute.CONNECTION_ID), "tls") as data:
                    data.sock.sendall(b"last words")
                assert accepted.recv(100) == b"last words"
                assert accepted.recv(100) == b""

    await run_in_thread(talk)
    assert not caplog.records


async def test_a_peer_may_end_its_side_before_the_client_comes(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, TurnClient(server.addresses[0], "tcp") as client:
            client.allocate(transport=TCP)
            answer = client.ask(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, listening.getsockname()))
            accepted, _ = listening.accept()
            with accepted:
                accepted.settimeout(WAIT)
                accepted.shutdown(socket.SHUT_WR)
                time.sleep(SHORT)
                with data_connection(server.addresses[0], answer.get(Attribute.CONNECTION_ID)) as data:
                    assert data.read(1) == b""
                    data.sock.sendall(b"out")
                    assert accepted.recv(10) == b"out"

    await run_in_thread(talk)


async def test_a_peer_with_a_permission_connects_to_a_client(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as client:
            relayed = client.allocate(transport=TCP)
            with socket.create_connection(relayed, WAIT) as stranger:
                assert stranger.recv(1) == b""
            assert client.permit(("127.0.0.1", 0)) == 0
            with socket.create_connection(relayed, WAIT) as peer:
                attempt = parse(client.receive())
                assert attempt.method == Method.CONNECTION_ATTEMPT
                assert attempt.get(Attribute.XOR_PEER_ADDRESS) == peer.getsockname()
                with data_connection(server.addresses[0], attempt.get(Attribute.CONNECTION_ID)) as data:
                    peer.sendall(b"in")
                    assert data.read(10) == b"in"
                    data.sock.sendall(b"out")
                    assert peer.recv(10) == b"out"
                assert peer.recv(10) == b""

    await run_in_thread(talk)


async def test_a_peer_that_does_not_answer_is_told(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as client, socket.create_server(("127.0.0.1", 0)) as sock:
            closed = sock.getsockname()
            sock.close()
            client.allocate(transport=TCP)
            assert client.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, closed)) == 447
            assert client.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, ("10.0.0.1", 80))) == 403
            assert client.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, 1)) == 400
        with TurnClient(server.addresses[0], "tcp") as stranger:
            assert stranger.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, 1)) == 400
        with TurnClient(server.addresses[0]) as datagrams:
            assert datagrams.code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, TCP)) == 400
            datagrams.allocate()
            assert datagrams.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, closed)) == 400
            assert datagrams.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, 1)) == 400

    await run_in_thread(talk)


async def test_an_allocation_that_ends_at_once_is_no_error(
    start_relay: StartRelay, caplog: pytest.LogCaptureFixture
) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as client:
            assert client.code(Method.REFRESH) == 437  # it has a nonce by now
            who = [(Attribute.USERNAME, client.user), (Attribute.REALM, client.realm), (Attribute.NONCE, client.nonce)]
            both = b""
            for number, asked in enumerate(
                [
                    (Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, TCP)),
                    (Method.REFRESH, (Attribute.LIFETIME, 0)),
                    (Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP)),
                ]
            ):
                method, attribute = asked
                transaction = (number + 1).to_bytes(12, "big")
                both += serialise(method, MessageClass.REQUEST, transaction, [attribute, *who], key=client.key)
            client.sock.sendall(both)
            for _ in range(3):
                assert parse(client.receive()).message_class == MessageClass.SUCCESS_RESPONSE
            assert client.refresh(0) == 0

    await run_in_thread(talk)
    assert not caplog.records


async def test_a_connection_of_a_peer_is_for_the_user_alone_who_asked_for_it(start_relay: StartRelay) -> None:
    server = await start_relay(users={USER: PASSWORD, "ann": "other"})

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening, TurnClient(server.addresses[0], "tcp") as client:
            client.allocate(transport=TCP)
            answer = client.ask(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, listening.getsockname()))
            number = answer.get(Attribute.CONNECTION_ID)
            with TurnClient(server.addresses[0], "tcp", user="ann", password="other") as other:
                assert other.code(Method.CONNECTION_BIND, (Attribute.CONNECTION_ID, number)) == 441
            accepted, _ = listening.accept()
            with accepted, data_connection(server.addresses[0], number) as data:
                data.sock.sendall(b"mine")
                assert accepted.recv(10) == b"mine"

    await run_in_thread(talk)


async def test_an_allocation_is_connected_with_so_many_peers_and_no_more(
    start_relay: StartRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_allocations, "_MOST_CONNECTIONS", 1)
    server = await start_relay()

    def talk() -> None:
        first, second = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        with first, second, TurnClient(server.addresses[0], "tcp") as client:
            client.allocate(transport=TCP)
            assert client.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, first.getsockname())) == 0
            assert client.code(Method.CONNECT, (Attribute.XOR_PEER_ADDRESS, second.getsockname())) == 508

    await run_in_thread(talk)


async def test_a_peer_that_could_not_be_connected_to_may_be_asked_for_again(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            peer = (Attribute.XOR_PEER_ADDRESS, gone.getsockname())
        with TurnClient(server.addresses[0], "tcp") as client:
            client.allocate(transport=TCP)
            assert [client.code(Method.CONNECT, peer) for _ in range(2)] == [447, 447]

    await run_in_thread(talk)
