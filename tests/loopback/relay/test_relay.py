"""A relay with real sockets: datagrams go both ways, by every transport, and only where they may."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import UDP, WAIT, Peer, TurnClient
from tests.loopback.relay.test_certificates import shown
from tests.reference.certificates import make_certificate

from librats._core.stun import parse, serialise
from librats.errors import ConfigError
from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.serving.quotas import QuotaLimits
from librats.turn.serving.tables import Settings
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay, Witness

ADDITIONAL_IPV6 = (Attribute.ADDITIONAL_ADDRESS_FAMILY, 2)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.02)


def exchange(client: TurnClient, peer: Peer) -> None:
    """Send data both ways, by indications and by a channel."""
    family = 2 if ":" in peer.address[0] else 1
    relayed = client.allocate((Attribute.REQUESTED_ADDRESS_FAMILY, family))
    assert client.permit(peer.address) == 0
    client.send(b"by indication", peer.address)
    assert peer.receive() == b"by indication"
    peer.send(b"answer", relayed)
    assert client.data() == (b"answer", peer.address)
    assert client.bind(0x4001, peer.address) == 0
    for data in (b"", b"x", b"y" * 1200):
        client.send_channel(0x4001, data)
        assert peer.receive() == data
        peer.send(data, relayed)
        assert client.channel() == (0x4001, data)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_data_goes_both_ways(
    start_relay: StartRelay, tmp_path: Path, witness: Witness, transport: str, host: str
) -> None:
    here = (Address(host, 0),)
    certificate = make_certificate(tmp_path, "relay.test")
    server = await start_relay(listen=here, tls_listen=here, certificate=certificate)
    where = server.tls_addresses[0] if transport == "tls" else server.addresses[0]

    def talk() -> None:
        with TurnClient(where, transport) as client, Peer(host) as peer:
            exchange(client, peer)
            assert client.refresh(0) == 0

    await run_in_thread(talk)
    await until(lambda: len(witness.seen) == 2)
    assert witness.seen[1][0] == "deleted"
    assert witness.seen[1][1] == (4, 1214, 4, 1207)
    assert server.statistics().allocations == 0


async def test_one_allocation_relays_over_both_families(start_relay: StartRelay) -> None:
    server = await start_relay(listen=(Address("127.0.0.1", 0), Address("::1", 0)))

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as four, Peer("::1") as six:
            answer = client.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17), ADDITIONAL_IPV6)
            relayed = dict(zip((four, six), answer.get_all(Attribute.XOR_RELAYED_ADDRESS), strict=True))
            for number, (peer, address) in enumerate(relayed.items()):
                assert client.bind(0x4000 + number, peer.address) == 0
                client.send_channel(0x4000 + number, b"out")
                assert peer.receive() == b"out"
                peer.send(b"back", address)
                assert client.channel() == (0x4000 + number, b"back")

    await run_in_thread(talk)


async def test_a_pair_of_ports_is_had_by_two_clients(start_relay: StartRelay) -> None:
    server = await start_relay(threads=2, settings=Settings(reservation_lifetime=0.5))

    def talk() -> None:
        where = server.addresses[0]
        with TurnClient(where) as rtp, TurnClient(where, "tcp") as rtcp, TurnClient(where) as late, Peer() as peer:
            answer = rtp.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP), (Attribute.EVEN_PORT, True))
            host, port = answer.get(Attribute.XOR_RELAYED_ADDRESS)
            token = (Attribute.RESERVATION_TOKEN, answer.get(Attribute.RESERVATION_TOKEN))
            assert port % 2 == 0
            assert rtcp.allocate(token) == (host, port + 1)
            assert late.code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP), token) == 508
            for client in (rtp, rtcp):
                assert client.bind(0x4000, peer.address) == 0
                client.send_channel(0x4000, b"out")
                assert peer.receive() == b"out"
            # One for which nobody comes is closed.
            answer = late.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP), (Attribute.EVEN_PORT, True))
            _, port = answer.get(Attribute.XOR_RELAYED_ADDRESS)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                with pytest.raises(OSError, match="in use"):
                    sock.bind((host, port + 1))
                deadline = time.monotonic() + WAIT
                while True:
                    try:
                        sock.bind((host, port + 1))
                        break
                    except OSError:
                        assert time.monotonic() < deadline
                        time.sleep(0.05)

    await run_in_thread(talk)


async def test_nothing_is_relayed_without_a_permission(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            relayed = client.allocate()
            client.send(b"too early", peer.address)
            assert peer.hears_nothing()
            peer.send(b"too early", relayed)
            client.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.receive()

    await run_in_thread(talk)
    await until(lambda: server.statistics().dropped["no_permission"] == 2)


async def test_two_clients_of_a_relay_reach_each_other_at_their_relayed_addresses(start_relay: StartRelay) -> None:
    server = await start_relay(allow_peers=())

    def talk() -> None:
        with TurnClient(server.addresses[0]) as one, TurnClient(server.addresses[0]) as other, Peer() as peer:
            first, second = one.allocate(), other.allocate()
            assert one.permit(peer.address) == 403
            assert one.bind(0x4000, second) == other.permit(first) == 0
            one.send_channel(0x4000, b"hello")
            assert other.data() == (b"hello", first)
            other.send(b"hello yourself", first)
            assert one.channel() == (0x4000, b"hello yourself")
            # The permission is for that one port of the relay's host.
            one.send(b"for somebody else", peer.address)
            assert peer.hears_nothing()

    await run_in_thread(talk)


async def test_what_an_allocation_relayed_stays_its_own_when_threads_share_a_port(start_relay: StartRelay) -> None:
    server = await start_relay(threads=3)

    def talk() -> None:
        clients = [TurnClient(server.addresses[0]) for _ in range(12)]
        with Peer() as peer:
            for number, client in enumerate(clients):
                client.allocate()
                assert client.bind(0x4000 + number, peer.address) == 0
            for number, client in enumerate(clients):
                client.send_channel(0x4000 + number, b"%d" % number)
                assert peer.receive() == b"%d" % number
        for client in clients:
            client.sock.close()

    await run_in_thread(talk)
    assert server.statistics().allocations == 12


@pytest.mark.parametrize("target", ["udp", "tcp"])
async def test_a_client_moves_its_allocation(start_relay: StartRelay, target: str) -> None:
    server = await start_relay(threads=3)

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            answer = client.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17), (Attribute.MOBILITY_TICKET, b""))
            relayed = answer.get(Attribute.XOR_RELAYED_ADDRESS)
            assert client.bind(0x4000, peer.address) == 0
            ticket = answer.get(Attribute.MOBILITY_TICKET)
            for _ in range(6):  # from thread to thread, as the kernel has it
                with TurnClient(server.addresses[0], target) as moved:
                    answer = moved.ask(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket))
                    assert answer.get(Attribute.ERROR_CODE) is None
                    ticket = answer.get(Attribute.MOBILITY_TICKET)
                    moved.send_channel(0x4000, b"from elsewhere")
                    assert peer.receive() == b"from elsewhere"
                    peer.send(b"to there", relayed)
                    assert moved.channel() == (0x4000, b"to there")
                    if target == "tcp":
                        return

    await run_in_thread(talk)


async def test_a_tcp_client_that_goes_away_takes_its_allocation_along(
    start_relay: StartRelay, witness: Witness
) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as client:
            client.allocate()

    await run_in_thread(talk)
    await until(lambda: [seen for seen, _ in witness.seen] == ["allocated", "disconnected"])
    assert server.statistics().connections == 0


@pytest.mark.parametrize("data", [b"get / HTTP/1.1\r\n\r\n", b"\xff" * 20, b"\x00\x01\x00\x03" + bytes(16)])
async def test_bytes_that_are_no_frame_end_a_connection(start_relay: StartRelay, data: bytes) -> None:
    server = await start_relay()

    def talk() -> bytes:
        with TurnClient(server.addresses[0], "tcp") as client:
            client.sock.sendall(data)
            try:
                return client.sock.recv(100)
            except ConnectionResetError:
                return b""

    assert await run_in_thread(talk) == b""


async def test_frames_that_come_in_pieces_are_put_together(start_relay: StartRelay) -> None:
    server = await start_relay()

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as client:
            for byte in serialise(Method.BINDING, MessageClass.REQUEST, bytes(12)):
                client.sock.sendall(bytes([byte]))
                time.sleep(0.002)
            assert parse(client.receive()).get(Attribute.XOR_MAPPED_ADDRESS) == client.sock.getsockname()

    await run_in_thread(talk)


async def test_connections_are_limited(start_relay: StartRelay) -> None:
    server = await start_relay(max_connections=1)

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as first:
            assert first.allocate()
            with TurnClient(server.addresses[0], "tcp") as second, pytest.raises((OSError, AssertionError)):
                assert second.sock.recv(1)

    await run_in_thread(talk)


# What operators do.


async def test_a_new_certificate_is_shown_without_a_restart(start_relay: StartRelay, tmp_path: Path) -> None:
    file = make_certificate(tmp_path, "before")
    server = await start_relay(tls_listen=(Address("127.0.0.1", 0),), certificate=file)

    assert b"before" in await shown(server)
    make_certificate(tmp_path, "afterwards")
    server.reload(server.config)
    assert b"afterwards" in await shown(server)
    make_certificate(tmp_path, "by itself")
    server.renew_certificate()
    assert b"by itself" in await shown(server)
    file.write_text("no certificate", encoding="ascii")
    server.renew_certificate()
    with pytest.raises(ConfigError, match="certificate"):
        server.reload(server.config)
    assert b"by itself" in await shown(server)


async def test_users_peers_and_quotas_change_without_a_restart(start_relay: StartRelay) -> None:
    server = await start_relay()
    first, second = (TurnClient(server.addresses[0]) for _ in range(2))
    with first, second, Peer() as peer:
        await run_in_thread(first.allocate)
        changed = RelayConfig(listen=server.config.listen, users={"ann": "other"}, realm="elsewhere")
        assert server.reload(replace(changed, quotas=QuotaLimits(total_allocations=1))) == ["realm"]
        allocate = (Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17))
        assert await run_in_thread(lambda: second.code(*allocate)) == 401
        with TurnClient(server.addresses[0], user="ann", password="other") as ann:
            assert await run_in_thread(lambda: ann.code(*allocate)) == 508
            server.reload(changed)
            assert await run_in_thread(lambda: ann.code(*allocate)) == 0
            assert await run_in_thread(lambda: ann.permit(peer.address)) == 403


async def test_draining_waits_for_the_last_allocation(start_relay: StartRelay) -> None:
    server = await start_relay()
    with TurnClient(server.addresses[0]) as client, TurnClient(server.addresses[0]) as late:
        await run_in_thread(client.allocate)
        server.drain()
        assert await run_in_thread(lambda: late.code(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, 17))) == 508
        drained = asyncio.ensure_future(server.drained())
        await asyncio.sleep(0.3)
        assert not drained.done()
        assert await run_in_thread(lambda: client.refresh(0)) == 0
        async with asyncio.timeout(WAIT):
            await drained


async def test_an_allocation_ends_when_it_is_not_refreshed(start_relay: StartRelay, witness: Witness) -> None:
    server = await start_relay(settings=Settings(default_lifetime=1))
    with TurnClient(server.addresses[0]) as client, Peer() as peer:
        await run_in_thread(client.allocate)
        await until(lambda: [seen for seen, _ in witness.seen] == ["allocated", "expired"])
        assert await run_in_thread(lambda: client.permit(peer.address)) == 437


async def test_everybody_is_served_where_nobody_is_asked(start_relay: StartRelay) -> None:
    server = await start_relay(no_auth=True)
    with TurnClient(server.addresses[0]) as client:
        await run_in_thread(client.allocate)
        assert client.nonce == ""


async def test_bandwidth_is_limited(start_relay: StartRelay) -> None:
    server = await start_relay(quotas=QuotaLimits(user_bandwidth=100_000))

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            client.allocate()
            client.bind(0x4000, peer.address)
            for _ in range(400):
                client.send_channel(0x4000, bytes(1000))
                time.sleep(0.0002)

    await run_in_thread(talk)
    await until(lambda: server.statistics().dropped["over_limit"] > 100)


async def test_a_second_address_answers_for_the_first(start_relay: StartRelay) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    first, other = Address("127.0.0.1", ports[0]), Address("127.0.0.2", ports[1])
    await start_relay(listen=(first,), alternate=other, tcp=False)

    def talk() -> None:
        with Peer() as client:
            for change, source in (
                (0, first),
                (2, (first.host, other.port)),
                (4, (other.host, first.port)),
                (6, other),
            ):
                request = serialise(Method.BINDING, 0, bytes(12), [(Attribute.CHANGE_REQUEST, change)])
                client.send(request, first)
                data, address = client.sock.recvfrom(1000)
                message = parse(data)
                assert address == tuple(source) == message.get(Attribute.RESPONSE_ORIGIN)
                assert message.get(Attribute.OTHER_ADDRESS) == tuple(other)

    await run_in_thread(talk)


async def test_the_ports_of_allocations_are_given_back(start_relay: StartRelay) -> None:
    server = await start_relay(listen=(Address("127.0.0.1", 0), Address("::1", 0)), relay_ports=(20000, 20007))

    def talk() -> None:
        for _ in range(20):
            with TurnClient(server.addresses[0]) as client:
                client.allocate(ADDITIONAL_IPV6)
                assert client.refresh(0) == 0

    await run_in_thread(talk)


async def test_an_address_that_is_taken_is_told_and_nothing_stays_open(start_relay: StartRelay) -> None:
    server = await start_relay()
    config = RelayConfig(listen=(Address("127.0.0.1", 0), server.addresses[0]), users={"a": "b"})
    with pytest.raises(ConfigError, match="cannot listen"):
        await RelayServer(config).start()
