"""A relay whose allocations share one relay socket, and are told apart by their peers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import PASSWORD, TCP, UDP, USER, Peer, TurnClient
from tests.reference.turn_talk import Heard, exchange

from librats import TurnAllocation, TurnServer
from librats.runtime.offload import run_in_thread
from librats.stun.constants import Attribute, Method
from librats.types import Address

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay

TRANSPORT = (Attribute.REQUESTED_TRANSPORT, UDP)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_each_client_hears_its_own_peers(start_relay: StartRelay, transport: str) -> None:
    server = await start_relay(shared_relay_socket=True)

    def talk() -> None:
        with (
            TurnClient(server.addresses[0], transport) as one,
            TurnClient(server.addresses[0], transport) as other,
            Peer() as first,
            Peer() as second,
        ):
            relayed = one.allocate()
            assert other.allocate() == relayed
            assert one.bind(0x4000, first.address) == 0
            assert other.permit(second.address) == 0
            one.send_channel(0x4000, b"to the first")
            other.send(b"to the second", second.address)
            assert (first.receive(), second.receive()) == (b"to the first", b"to the second")
            first.send(b"from the first", relayed)
            second.send(b"from the second", relayed)
            assert one.channel() == (0x4000, b"from the first")
            assert other.data() == (b"from the second", second.address)
            other.send(b"not its peer", first.address)
            assert first.hears_nothing()

    await run_in_thread(talk)


async def test_a_peer_belongs_to_one_client_at_a_time(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True)

    def talk() -> None:
        with (
            TurnClient(server.addresses[0]) as one,
            TurnClient(server.addresses[0]) as other,
            Peer() as wanted,
            Peer() as free,
        ):
            one.allocate()
            other.allocate()
            assert one.permit(wanted.address) == 0
            assert other.permit(wanted.address) == 508
            assert other.bind(0x4000, wanted.address) == 508
            # Of several peers, all are permitted or none.
            peers = [(Attribute.XOR_PEER_ADDRESS, peer.address) for peer in (free, wanted)]
            assert other.code(Method.CREATE_PERMISSION, *peers) == 508
            assert one.permit(free.address) == 0
            assert one.refresh(0) == 0
            assert other.bind(0x4000, wanted.address) == 0
            other.send_channel(0x4000, b"mine now")
            assert wanted.receive() == b"mine now"

    await run_in_thread(talk)


async def test_what_a_shared_socket_cannot_do_is_refused(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True, listen=(Address("127.0.0.1", 0), Address("::1", 0)))

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            assert client.code(Method.ALLOCATE, TRANSPORT, (Attribute.EVEN_PORT, True)) == 508
            assert client.code(Method.ALLOCATE, TRANSPORT, (Attribute.EVEN_PORT, False)) == 508
            answer = client.ask(Method.ALLOCATE, TRANSPORT, (Attribute.ADDITIONAL_ADDRESS_FAMILY, 2))
            assert len(answer.get_all(Attribute.XOR_RELAYED_ADDRESS)) == 1
            assert answer.get(Attribute.ADDRESS_ERROR_CODE)[:2] == (2, 440)
            assert client.permit((peer.address[0], 0)) == 400

    await run_in_thread(talk)


async def test_peers_at_the_relay_itself_are_refused(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True, allow_peers=())

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client:
            relayed = client.allocate()
            assert client.permit(relayed) == 403

    await run_in_thread(talk)


async def test_an_allocation_moves_within_its_thread(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True)

    def talk() -> None:
        with TurnClient(server.addresses[0]) as client, Peer() as peer:
            answer = client.ask(Method.ALLOCATE, TRANSPORT, (Attribute.MOBILITY_TICKET, b""))
            assert client.bind(0x4000, peer.address) == 0
            ticket = answer.get(Attribute.MOBILITY_TICKET)
            with TurnClient(server.addresses[0], "tcp") as moved:  # a socket that another part of the relay has
                assert moved.code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 437
            with TurnClient(server.addresses[0]) as moved:
                assert moved.code(Method.REFRESH, (Attribute.MOBILITY_TICKET, ticket)) == 0
                moved.send_channel(0x4000, b"from elsewhere")
                assert peer.receive() == b"from elsewhere"

    await run_in_thread(talk)


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors")
async def test_allocations_take_no_descriptors(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True, threads=2)

    def talk() -> None:
        clients = [TurnClient(server.addresses[0]) for _ in range(20)]
        before = len(list(Path("/proc/self/fd").iterdir()))
        ports = {client.allocate() for client in clients}
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert len(ports) <= 2
        for client in clients:
            client.sock.close()

    await run_in_thread(talk)


async def test_tcp_allocations_have_a_port_of_their_own(start_relay: StartRelay) -> None:
    server = await start_relay(shared_relay_socket=True)

    def talk() -> None:
        with TurnClient(server.addresses[0], "tcp") as one, TurnClient(server.addresses[0], "tcp") as other:
            assert one.allocate(transport=TCP) != other.allocate(transport=TCP)
            assert one.permit(("127.0.0.1", 0)) == 0

    await run_in_thread(talk)


@pytest.mark.parametrize("channels", [True, False])
async def test_our_client_is_content_with_it(start_relay: StartRelay, channels: bool) -> None:
    relay = await start_relay(shared_relay_socket=True)
    where = relay.addresses[0]
    server = TurnServer(host=where.host, port=where.port, username=USER, password=PASSWORD)
    heard, events = Heard(), list[object]()
    async with await TurnAllocation.open(server, receive=heard, channels=channels, on_event=events.append) as client:
        await exchange(client, heard, rounds=3)
        assert len(events) == 1
