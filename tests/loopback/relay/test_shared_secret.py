"""Users that a secret vouches for, by every transport of our own client: the relay has not heard of their names."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest

from librats import Address, TurnAllocation, TurnError, TurnServer, TurnTransport
from librats.stun.credentials import time_limited_password, time_limited_username

if TYPE_CHECKING:
    from tests.loopback.relay.conftest import StartRelay


def server_of(address: Address, transport: str, secret: str, lasts: float = 600) -> TurnServer:
    username = time_limited_username(int(time.time() + lasts), "ann")
    password = time_limited_password(secret, username)
    return TurnServer(
        host=address.host, port=address.port, username=username, password=password, transport=TurnTransport(transport)
    )


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("users", [{}, {"bob": "secret"}])
async def test_a_secret_vouches_for_a_name_that_the_relay_does_not_know(
    start_relay: StartRelay, transport: str, users: dict[str, str]
) -> None:
    relay = await start_relay(users=users, secrets=("old", "new"))
    address = relay.addresses[0]
    for secret in ("old", "new"):
        async with await TurnAllocation.open(server_of(address, transport, secret)) as allocation:
            assert allocation.relayed_addresses
    for refused in (server_of(address, transport, "none"), server_of(address, transport, "new", -60)):
        with pytest.raises(TurnError) as caught:
            await TurnAllocation.open(refused)
        assert caught.value.code == 401


async def test_a_secret_that_comes_with_a_reload_vouches_at_once(start_relay: StartRelay) -> None:
    relay = await start_relay()
    address = relay.addresses[0]
    with pytest.raises(TurnError):
        await TurnAllocation.open(server_of(address, "tcp", "new"))
    assert relay.reload(dataclasses.replace(relay.config, secrets=("new",))) == []
    for transport in ("tcp", "udp"):
        async with await TurnAllocation.open(server_of(address, transport, "new")) as allocation:
            assert allocation.relayed_addresses
