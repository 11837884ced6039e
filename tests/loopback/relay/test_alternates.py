"""Our TURN client follows our relays from one to the next, and no further than it should."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.loopback.relay.clients import PASSWORD, USER
from tests.reference.certificates import make_certificate
from tests.reference.turn_talk import Heard, eventually, exchange

from librats import Address, ConnectError, TurnAllocation, TurnError, TurnServer, TurnTransport
from librats.relay.server import RelayServer
from librats.turn.serving.alternates import Alternate
from librats.turn.serving.quotas import QuotaLimits

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay

HERE = Address("127.0.0.1", 0)


def config(relay: RelayServer, transport: TurnTransport = TurnTransport.UDP, ca_file: Path | None = None) -> TurnServer:
    where = (relay.tls_addresses if transport is TurnTransport.TLS else relay.addresses)[0]
    return TurnServer(
        host=where.host, port=where.port, username=USER, password=PASSWORD, transport=transport, ca_file=ca_file
    )


def send_on(relay: RelayServer, *others: RelayServer) -> None:
    """Let a relay drain, and name others."""
    relay.reload(replace(relay.config, try_alternate=tuple(Alternate(other.addresses[0]) for other in others)))
    relay.drain()


@pytest.mark.parametrize("transport", [TurnTransport.UDP, TurnTransport.TCP])
async def test_a_client_of_a_draining_relay_allocates_at_the_next(
    start_relay: StartRelay, transport: TurnTransport
) -> None:
    first, second = await start_relay(), await start_relay()
    send_on(first, second)
    heard = Heard()
    async with await TurnAllocation.open(config(first, transport), receive=heard) as relay:
        assert relay.server_address == second.addresses[0]
        await exchange(relay, heard, rounds=3)
        assert second.statistics().allocations == 1
    assert first.statistics().answers["allocate", 300] == 1


async def test_a_full_relay_shares_its_clients_with_others(start_relay: StartRelay) -> None:
    others = [await start_relay(), await start_relay()]
    named = tuple(Alternate(other.addresses[0]) for other in others)
    first = await start_relay(quotas=QuotaLimits(total_allocations=1), try_alternate=named)
    relays = [await TurnAllocation.open(config(first)) for _ in range(5)]
    assert [relay.statistics().allocations for relay in (first, *others)] == [1, 2, 2]
    for relay in relays:
        await relay.close()
    await eventually(lambda: not any(relay.statistics().allocations for relay in (first, *others)))


async def test_relays_that_name_each_other_do_not_hold_a_client(start_relay: StartRelay) -> None:
    first, second = await start_relay(), await start_relay()
    send_on(first, second)
    send_on(second, first)
    with pytest.raises(TurnError, match="asked before") as caught:
        await TurnAllocation.open(config(first))
    assert caught.value.code == 300
    assert [relay.statistics().answers["allocate", 300] for relay in (first, second)] == [1, 1]


async def test_a_long_row_of_relays_is_not_walked_to_its_end(start_relay: StartRelay) -> None:
    relays = [await start_relay() for _ in range(6)]
    for one, next_one in itertools.pairwise(relays):
        send_on(one, next_one)
    with pytest.raises(TurnError, match="in a row"):
        await TurnAllocation.open(config(relays[0]))
    async with await TurnAllocation.open(config(relays[1])) as relay:
        assert relay.server_address == relays[-1].addresses[0]


async def test_over_tls_the_next_relay_must_have_the_name_that_was_told(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path, "second.example.org")
    first, second = [await start_relay(tls_listen=(HERE,), certificate=certificate) for _ in range(2)]
    first.drain()
    server = config(first, TurnTransport.TLS, certificate)

    def name(domain: str) -> None:
        alternate = Alternate(second.tls_addresses[0], domain)
        first.reload(replace(first.config, try_alternate_tls=(alternate,)))

    name("second.example.org")
    async with await TurnAllocation.open(server) as relay:
        assert relay.server_address == second.tls_addresses[0]
    name("third.example.org")
    with pytest.raises(ConnectError, match="certificate"):
        await TurnAllocation.open(server)
