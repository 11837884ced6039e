"""A relay that takes part in the DHT: peers that are connected to it are found by their id alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from librats import (
    Address,
    ConfigError,
    DhtConfig,
    Identity,
    NatTraversalConfig,
    RatsClient,
    RatsConfig,
)
from librats.relay.config import RelayConfig, make_relay_config
from librats.relay.server import RelayServer


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)


@asynccontextmanager
async def client(number: int, *, introducers: tuple[str, ...] = (), **dht: Any) -> AsyncIterator[RatsClient]:
    """Run a client at an address of its own: nodes of the DHT count a host once."""
    nat = NatTraversalConfig(stun_servers=(), enable_port_mapping=False, introducers=introducers)
    config = RatsConfig(listen_host=f"127.0.0.{number}", nat=nat, dht=DhtConfig(**{"bootstrap": (), **dht}))
    async with RatsClient(config=config, identity=Identity.generate()) as one:
        yield one


async def test_a_relay_announces_those_who_want_to_be_found_and_they_are() -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(client(1))
        await first.start_dht_discovery(connect=False)
        known = (f"127.0.0.1:{first.listen_port}",)
        config = RelayConfig(
            listen=(Address("127.0.0.4", 0),), users={"ann": "secret"}, dht=True, dht_bootstrap=known, dht_port=0
        )
        relay = await stack.enter_async_context(RelayServer(config, identity=Identity.generate()))
        assert relay.introducer is not None
        assert relay.in_dht is not None
        name = f"{relay.introducer.identity.peer_id}@{relay.addresses[0]}"
        alice = await stack.enter_async_context(client(2, introducers=(name,), publish=True))
        shy = await stack.enter_async_context(client(5, introducers=(name,)))
        alice.on("greet", lambda peer, data: f"hello {data}")
        in_dht = relay.in_dht
        await until(lambda: alice.introducers and shy.introducers and in_dht.statistics["announced"])
        assert in_dht.statistics["peers"] == 1
        bob = await stack.enter_async_context(client(3, bootstrap=known))
        assert await bob.start_dht_discovery(connect=False)
        peer = await bob.connect(alice.peer_id)
        assert await peer.request("greet", "Bob") == "hello Bob"
        assert set(bob.peers) == {alice.peer_id}
        await alice.stop()
        await until(lambda: in_dht.statistics["peers"] == 0)


async def test_a_relay_keeps_the_nodes_that_it_knows_for_its_next_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def relay_that_knows(*bootstrap: str) -> RelayServer:
        config = RelayConfig(
            listen=(Address("127.0.0.4", 0),), users={"ann": "secret"}, dht=True, dht_bootstrap=bootstrap, dht_port=0
        )
        return RelayServer(config, identity=Identity.load_or_create(tmp_path), directory=tmp_path)

    def knows(relay: RelayServer) -> bool:
        assert relay.in_dht is not None
        return relay.in_dht.statistics["nodes"] > 0

    async with client(1) as first:
        await first.start_dht_discovery(connect=False)
        async with relay_that_knows(f"127.0.0.1:{first.listen_port}") as relay:
            await until(lambda: knows(relay))
            async with relay_that_knows():
                assert "nodes of the DHT are not kept" in caplog.text
        assert f"127.0.0.1:{first.listen_port}" in (tmp_path / "dht.nodes").read_text("utf-8")
        async with relay_that_knows() as again:
            await until(lambda: knows(again))


async def test_a_relay_has_a_node_at_each_address_that_is_named() -> None:
    async with client(1) as first:
        await first.start_dht_discovery(connect=False)
        config = make_relay_config(
            {
                "listen": ["127.0.0.4:0"],
                "users": {"ann": "s"},
                "dht": True,
                "dht_bootstrap": [f"127.0.0.1:{first.listen_port}"],
                "dht_port": 0,
                "dht_addresses": ["127.0.0.5", "127.0.0.6"],
            }
        )
        async with RelayServer(config, identity=Identity.generate()) as relay:
            in_dht = relay.in_dht
            assert in_dht is not None
            await until(lambda: in_dht.statistics["nodes"] == 2)
            each = in_dht._handle.statistics()["addresses"]
            assert [Address.parse(text).host for text in each] == ["127.0.0.5", "127.0.0.6"]


async def test_a_relay_whose_port_for_the_dht_is_taken_says_so() -> None:
    async with client(1) as first:
        config = RelayConfig(
            listen=(Address("127.0.0.1", 0),),
            users={"ann": "s"},
            dht=True,
            dht_bootstrap=(),
            dht_port=first.listen_port,
        )
        with pytest.raises(ConfigError, match="port"):
            async with RelayServer(config, identity=Identity.generate()):
                pass


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"dht": True, "introduce": False}, "dht: "),
        ({"dht": True, "tcp": False}, "dht: "),
        ({"dht": 1}, "dht: "),
        ({"dht_bootstrap": [""]}, "dht_bootstrap: "),
        ({"dht_port": 70000}, "dht_port: "),
        ({"dht_addresses": ["here"]}, "dht_addresses: "),
    ],
)
def test_what_a_relay_cannot_do_in_the_dht_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        make_relay_config({"users": {"ann": "s"}, **fields})
