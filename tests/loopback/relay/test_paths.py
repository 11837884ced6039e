"""Sessions through a relay, and from there to direct paths and back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.loopback.conftest import LOOPBACK, Connect, MakeClient, Pair, until_true
from tests.loopback.relay.clients import PASSWORD, USER
from tests.loopback.relay.conftest import StartRelay

from librats import (
    Address,
    ClosedError,
    ConfigError,
    ConnectError,
    ConnectionMethod,
    NatTraversalConfig,
    PathChanged,
    PathPolicy,
    RatsClient,
    RatsConfig,
    Stream,
    TurnError,
    TurnServer,
    UsageError,
)
from librats import blocking as blocking_librats
from librats.errors import HandshakeError
from librats.relay.server import RelayServer
from librats.runtime.offload import run_in_thread

BLOCK = 1 << 18


def nat_with(*servers: Address, policy: str = "auto", **more: float) -> NatTraversalConfig:
    turn = tuple(TurnServer(host=s.host, port=s.port, username=USER, password=PASSWORD) for s in servers)
    return NatTraversalConfig(stun_servers=(), turn_servers=turn, path_policy=PathPolicy(policy), **more)  # type: ignore[arg-type]


def place_of(relay: RelayServer) -> Address:
    return relay.addresses[0]


class OwnRelay:
    """``librats relay`` as a process, which can be stopped without notice."""

    def __init__(self) -> None:
        self.address = Address("", 0)
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        words = ["relay", "--json", "--listen", f"{LOOPBACK}:0", "--user", f"{USER}:{PASSWORD}"]
        self._process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("librats"),
            *(*words, "--allow-peer", "127.0.0.0/8"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        self.address = Address.parse(json.loads(await self._process.stdout.readline())["addresses"][0])

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    async def end(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@pytest.fixture
async def own_relay() -> AsyncIterator[OwnRelay]:
    relay = OwnRelay()
    await relay.start()
    yield relay
    await relay.end()


class Transfer:
    """A stream of known bytes from one client to another, and the longest time in which nothing came."""

    def __init__(self, pair: Pair, size: int) -> None:
        self._pair = pair
        self._block = os.urandom(BLOCK)
        self._blocks = size // BLOCK
        self._loop = asyncio.get_running_loop()
        self._digest: asyncio.Future[str] = self._loop.create_future()
        self.sent = 0
        self.longest_gap = 0.0
        pair.b.on_stream("file/1", self._take)

    async def _take(self, stream: Stream) -> None:
        digest = hashlib.sha256()
        last = self._loop.time()
        while piece := await stream.read(BLOCK):
            now = self._loop.time()
            self.longest_gap = max(self.longest_gap, now - last)
            last = now
            digest.update(piece)
        self._digest.set_result(digest.hexdigest())

    async def run(self) -> None:
        """Send everything, and see that it has arrived whole."""
        digest = hashlib.sha256()
        stream = await self._pair.a.open_stream(self._pair.to_b, "file/1")
        for _ in range(self._blocks):
            stream.write(self._block)
            digest.update(self._block)
            self.sent += BLOCK
            await stream.drain()
        await stream.close()
        assert await self._digest == digest.hexdigest()


async def test_a_client_that_hides_reaches_others_only_through_the_relay(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a = await make_client(nat=nat_with(place_of(relay), policy="relay_only"))
    b = await make_client()
    assert a.listen_port == 0
    pair = await connect(a, b)
    assert pair.to_b.method is ConnectionMethod.RELAY
    assert {attempt.method for attempt in pair.to_b.attempts} == {ConnectionMethod.RELAY}
    assert "over relay" in pair.to_b.explain()
    assert a.paths.relayed_addresses == a.addresses == [pair.to_a.address]
    assert pair.to_a.hello is not None
    assert pair.to_a.hello.listen == [str(pair.to_a.address)]
    a.on("add", lambda peer, data: sum(data))
    assert await pair.to_a.request("add", [1, 2]) == 3
    await asyncio.sleep(0.3)  # it would leave the relay by now if it were let
    assert pair.to_b.method is ConnectionMethod.RELAY


async def test_a_client_that_hides_is_dialled_at_its_relayed_address(
    make_client: MakeClient, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    nat = nat_with(place_of(relay), policy="relay_only")
    a, b = await make_client(nat=nat), await make_client(nat=nat)
    await until_true(lambda: b.paths.relayed_addresses)
    to_b = await a.connect(b.paths.relayed_addresses[0])
    await until_true(lambda: a.peer_id in b.peers)
    assert to_b.method is b.peers[a.peer_id].method is ConnectionMethod.RELAY
    assert to_b.address == b.addresses[0]
    with pytest.raises(UsageError, match="path_policy"):
        await a.paths.move(to_b, method="tcp")


async def test_an_address_that_answers_only_the_relay_is_reached_after_the_direct_ways(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    b = await make_client(transports=("udp",))
    a = await make_client(transports=("tcp",), nat=nat_with(place_of(relay)))
    begun = asyncio.get_running_loop().time()
    pair = await connect(a, b)
    assert asyncio.get_running_loop().time() - begun < 1.5
    assert pair.to_b.method is ConnectionMethod.RELAY
    assert [attempt.method for attempt in pair.to_b.attempts] == [ConnectionMethod.TCP, ConnectionMethod.RELAY]


async def test_a_session_leaves_the_relay_when_it_can(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a, b = await make_client(nat=nat_with(place_of(relay), policy="relay_only")), await make_client()
    pair = await connect(a, b)
    changes: list[PathChanged] = []
    a.on_event(PathChanged, changes.append)
    await a.paths.set_policy("auto")
    await until_true(lambda: pair.to_b.method is ConnectionMethod.TCP)
    assert [change.method for change in changes] == [ConnectionMethod.TCP]


async def test_a_change_of_policy_moves_sessions_and_shuts_the_door(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a, b = await make_client(nat=nat_with(place_of(relay))), await make_client()
    pair = await connect(a, b)
    assert pair.to_b.method == "tcp"
    port = a.listen_port
    await a.paths.set_policy("relay_only")
    assert pair.to_b.method == "relay"
    with pytest.raises(ConnectError):
        await (await make_client()).connect((LOOPBACK, port), timeout=5)
    await a.paths.set_policy("direct_only")
    assert pair.to_b.method is not ConnectionMethod.RELAY
    assert await pair.to_a.ping() >= 0
    with pytest.raises(UsageError):
        await a.paths.move(pair.to_b, method="relay")
    with pytest.raises(ConfigError, match="path_policy"):
        await a.paths.set_policy("sideways")
    with pytest.raises(ConfigError, match="turn_servers"):
        await b.paths.set_policy("relay_only")


async def test_a_session_that_may_not_go_on_ends(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a = await make_client(nat=nat_with(place_of(relay)))
    b = await make_client(transports=("tcp",))  # nobody reaches it through a relay
    pair = await connect(a, b)
    await a.paths.set_policy("relay_only")
    assert not pair.to_b.is_connected


@pytest.mark.parametrize("size", [32 << 20, pytest.param(1 << 30, marks=pytest.mark.long)])
async def test_moves_to_the_relay_and_back_lose_nothing(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay, size: int
) -> None:
    relay = await start_relay()
    a, b = await make_client(nat=nat_with(place_of(relay))), await make_client()
    pair = await connect(a, b)
    transfer = Transfer(pair, size)
    task = asyncio.create_task(transfer.run())
    seen: list[ConnectionMethod] = []
    a.on_event(PathChanged, lambda change: seen.append(change.method))
    for number in range(10):
        threshold = (number + 1) * size // 12
        await until_true(lambda threshold=threshold: transfer.sent >= threshold)  # type: ignore[misc]
        await a.paths.move(pair.to_b, method=("relay", "udp")[number % 2])
    await task
    assert seen == [ConnectionMethod.RELAY, ConnectionMethod.UDP] * 5
    print(f"longest gap: {transfer.longest_gap * 1000:.0f} ms")  # noqa: T201 - what the long one is run for
    assert transfer.longest_gap < 1


async def test_where_the_application_has_moved_a_session_it_stays(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a, b = await make_client(nat=nat_with(place_of(relay))), await make_client()
    pair = await connect(a, b)
    await a.paths.move(pair.to_b, Address(LOOPBACK, b.listen_port), method="relay")
    await asyncio.sleep(1.5)
    assert pair.to_b.method is ConnectionMethod.RELAY


async def test_a_move_that_leads_nowhere_changes_nothing(
    make_client: MakeClient, connect: Connect, start_relay: StartRelay
) -> None:
    relay = await start_relay(allow_peers=())
    a, b = await make_client(nat=nat_with(place_of(relay))), await make_client()
    pair = await connect(a, b)
    with pytest.raises(HandshakeError, match="403"):
        await a.paths.move(pair.to_b, method="relay")
    with pytest.raises(UsageError):
        await a.paths.move(pair.to_b, "nowhere.example:80")
    with pytest.raises(UsageError):
        await a.paths.move(pair.to_b, method="pigeon")
    assert pair.to_b.method is ConnectionMethod.TCP
    assert await pair.to_b.ping() >= 0


async def test_a_relay_that_falls_silent_is_left_within_two_seconds(
    make_client: MakeClient, connect: Connect, own_relay: OwnRelay
) -> None:
    a, b = await make_client(nat=nat_with(own_relay.address)), await make_client()
    pair = await connect(a, b)
    await a.paths.move(pair.to_b, method="relay")
    transfer = Transfer(pair, 64 << 20)
    task = asyncio.create_task(transfer.run())
    await until_true(lambda: transfer.sent >= 4 << 20)
    own_relay.freeze()
    await task
    assert pair.to_b.method is not ConnectionMethod.RELAY
    assert transfer.longest_gap < 2


async def test_a_second_server_serves_where_the_first_is_gone(
    make_client: MakeClient, connect: Connect, own_relay: OwnRelay, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    own_relay.freeze()
    nat = nat_with(own_relay.address, place_of(relay), policy="relay_only", turn_allocation_timeout=0.3)
    pair = await connect(await make_client(nat=nat), await make_client())
    assert pair.to_b.method is ConnectionMethod.RELAY
    assert len(pair.a.paths.relayed_addresses) == 1


def test_the_blocking_client_has_the_same(tmp_path: Path) -> None:
    with blocking_librats.RatsClient(0, data_dir=tmp_path) as client:
        assert client.paths.policy == "auto"
        assert client.paths.relayed_addresses == []
        client.paths.set_policy("direct_only")
        assert client.paths.policy is PathPolicy.DIRECT_ONLY
        assert "direct_only" in repr(client.paths)
        with pytest.raises(ConfigError, match="turn_servers"):
            client.paths.set_policy("relay_only")


async def test_a_session_of_blocking_clients_moves_by_hand(start_relay: StartRelay, tmp_path: Path) -> None:
    relay = await start_relay()

    def talk() -> None:
        nat, config = nat_with(place_of(relay)), RatsConfig(listen_host=LOOPBACK)
        with (
            blocking_librats.RatsClient(0, nat=nat, config=config, data_dir=tmp_path / "a") as a,
            blocking_librats.RatsClient(0, config=config, data_dir=tmp_path / "b") as b,
        ):
            b.on("add", lambda peer, data: sum(data))
            to_b = a.connect((LOOPBACK, b.listen_port))
            with pytest.raises(ClosedError, match="no relayed address"):
                a.paths.permit(LOOPBACK)
            for method in ("udp", "relay", "tcp"):
                a.paths.move(to_b, method=method)
                assert to_b.method == method
                assert to_b.request("add", [1, 2]) == 3
            a.paths.permit(LOOPBACK)
            with pytest.raises(TurnError, match="403"):
                a.paths.permit("10.1.2.3")
            b.paths.move(a.peer_id, a.paths.relayed_addresses[0], method=ConnectionMethod.UDP)
            assert to_b.method == "relay"
            assert to_b.request("add", [3, 4]) == 7
            with pytest.raises(HandshakeError, match="stays where it is"):
                a.paths.move(b.peer_id, Address(LOOPBACK, 9), method="tcp")
            with pytest.raises(UsageError):
                b.paths.move(a.peer_id, method="relay")

    await run_in_thread(talk)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("path_policy", {"path_policy": "sideways"}),
        ("path_policy", {"path_policy": "relay_only"}),
        ("turn_servers", {"turn_servers": ("http://example.org",)}),
        ("turn_servers", {"turn_servers": "turn:example.org"}),
        ("turn_allocation_timeout", {"turn_allocation_timeout": 0}),
    ],
)
def test_a_configuration_that_makes_no_sense_names_the_field(field: str, values: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        NatTraversalConfig(**values)  # type: ignore[arg-type]
    assert caught.value.field == field


async def test_a_hidden_client_does_not_tell_the_local_network(
    make_client: MakeClient, start_relay: StartRelay
) -> None:
    relay = await start_relay()
    a: RatsClient = await make_client(nat=nat_with(place_of(relay), policy="relay_only"))
    assert not await a.start_mdns_discovery()
