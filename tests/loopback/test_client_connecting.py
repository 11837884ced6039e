"""Dialling: what can be dialled, whom one gets, and every way in which it fails."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from librats import (
    Address,
    ConfigError,
    ConnectError,
    ConnectionMethod,
    ConnectionStrategy,
    Identity,
    IncomingRefused,
    PeerLimitReached,
    PeerNotConnected,
    RatsClient,
    SessionConfig,
    UsageError,
)
from librats.peers.manager import PeerManager
from librats.runtime.tcp_transport import TcpTransport, takes_transports
from librats.services.session import Link
from librats.session.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

TRANSPORT = (
    "abort",
    "can_write_eof",
    "close",
    "get_extra_info",
    "is_closing",
    "set_write_buffer_limits",
    "write_eof",
)
WAIT = 20.0
LOOPBACK = "127.0.0.1"
pytestmark = pytest.mark.timeout(60)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections, through the backlog, and says nothing."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port where nobody listens, kept from everybody else."""
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        yield holder.getsockname()[1]


async def test_an_address_may_be_given_in_every_form(make_client: MakeClient) -> None:
    a, b = await make_client(), await make_client()
    port = b.listen_port
    targets: list[Any] = [
        f"{LOOPBACK}:{port}",
        (LOOPBACK, port),
        Address(LOOPBACK, port),
        f"localhost:{port}",
        f"{b.peer_id}@{LOOPBACK}:{port}",
        b.peer_id,
    ]
    for target in targets:
        peer = await soon(a.connect(target))
        assert peer is a.peers[b.peer_id]
        assert (peer.id, peer.method, peer.is_connected) == (b.peer_id, ConnectionMethod.TCP, True)
        assert peer.address.port == port
    assert a.statistics()["peers_connected"] == 1


async def test_no_message_of_a_connect_is_written_in_pieces(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: dict[bool, list[int]] = {True: [], False: []}
    made = Link.connection_made

    def connection_made(link: Link, transport: Any) -> None:
        def write(data: bytes) -> None:
            written[link.initiator].append(len(data))
            transport.write(data)

        rest: Any = SimpleNamespace(**{name: getattr(transport, name) for name in TRANSPORT}, write=write)
        made(link, rest)

    monkeypatch.setattr(Link, "connection_made", connection_made)
    alice, bob = await soon(make_client()), await soon(make_client())
    await soon(alice.connect((LOOPBACK, bob.listen_port)))
    # The three messages of the handshake and the two hellos.
    assert [len(written[side]) for side in (True, False)] == [3, 2]


async def test_small_messages_do_not_wait_for_others(make_client: MakeClient, connect: Connect) -> None:
    pair = await connect(await make_client(), await make_client())
    for peer in (pair.to_a, pair.to_b):
        transport = peer.link._transport
        assert transport is not None
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1:0", {}),
        ("127.0.0.1:70000", {}),
        (("127.0.0.1", 0), {}),
        (("127.0.0.1",), {}),
        (7, {}),
        ("", {}),
        ("::1:8081", {}),
        ("nobody@127.0.0.1:80", {}),
        ("127.0.0.1:80", {"expect_id": "short"}),
        ("00" * 32 + "@127.0.0.1:80", {"expect_id": "11" * 32}),
        ("127.0.0.1:80", {"strategy": "by pigeon"}),
    ],
)
async def test_a_target_that_makes_no_sense_is_refused(
    make_client: MakeClient, target: Any, settings: dict[str, Any]
) -> None:
    client = await make_client()
    with pytest.raises(UsageError):
        await client.connect(target, **settings)


async def test_an_address_where_nobody_listens_is_told_in_the_attempts(make_client: MakeClient, dead_port: int) -> None:
    client = await make_client()
    with pytest.raises(ConnectError, match="connection refused") as raised:
        await soon(client.connect(f"{LOOPBACK}:{dead_port}"))
    attempts = raised.value.attempts
    assert [attempt.method for attempt in attempts] == [ConnectionMethod.TCP, ConnectionMethod.UDP]
    assert {attempt.address for attempt in attempts} == {Address(LOOPBACK, dead_port)}
    assert all(0 <= attempt.duration < WAIT and attempt.error for attempt in attempts)
    assert raised.value.target == f"{LOOPBACK}:{dead_port}"
    result = await soon(client.connect_to_peer(LOOPBACK, dead_port))
    assert (result.success, result.peer_id, result.method) == (False, "", None)
    assert "connection refused" in result.error == result.error_message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 70 + ".invalid", "nul\0byte"])
async def test_a_name_without_an_address_is_a_connect_error(
    make_client: MakeClient, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if host == "no-such-host.invalid":  # no name server may be asked

        def fail(*_: object, **__: object) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
    client = await make_client()
    with pytest.raises(ConnectError) as raised:
        await soon(client.connect((host, 80)))
    assert raised.value.attempts == ()
    assert raised.value.reason


async def test_a_port_that_says_nothing_times_out(make_client: MakeClient, silent_port: int) -> None:
    client = await make_client()
    with pytest.raises(ConnectError, match=r"no answer within 0\.1 s") as raised:
        await soon(client.connect((LOOPBACK, silent_port), timeout=0.1))
    assert len(raised.value.attempts) == 1
    impatient = await make_client(connect_timeout=0.1)
    with pytest.raises(ConnectError, match=r"no answer within 0\.1 s"):
        await soon(impatient.connect((LOOPBACK, silent_port)))
    hasty = await make_client(session=SessionConfig(handshake_timeout=0.1))
    with pytest.raises(ConnectError, match=r"no handshake within 0\.1 s"):
        await soon(hasty.connect((LOOPBACK, silent_port)))


async def test_a_silent_address_does_not_hold_up_a_good_one(
    make_client: MakeClient, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await make_client(attempt_delay=0.05), await make_client()

    async def two_addresses(_network: object, address: Address) -> list[Address]:
        return [Address(LOOPBACK, silent_port), Address(LOOPBACK, b.listen_port)]

    monkeypatch.setattr("librats.runtime.network.SystemNetwork.resolve", two_addresses)
    peer = await soon(a.connect(("two.example", 1)))
    assert peer.id == b.peer_id
    told = [(attempt.address.port, attempt.method, bool(attempt.error)) for attempt in peer.attempts]
    assert sorted(told) == sorted(
        [
            (b.listen_port, ConnectionMethod.TCP, False),
            (silent_port, ConnectionMethod.TCP, True),
            (silent_port, ConnectionMethod.UDP, True),
        ]
    )
    assert "another way was quicker" in peer.explain()


@pytest.mark.parametrize(
    "listen_host",
    [
        pytest.param("::1", id="ipv6only", marks=needs_ipv6),
        pytest.param("127.0.0.1", id="ipv4only"),
        pytest.param("", id="both", marks=needs_ipv6),
    ],
)
@pytest.mark.parametrize("first", ["::1", "127.0.0.1"])
async def test_a_name_reaches_whichever_family_listens(
    make_client: MakeClient, listen_host: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await make_client(), await make_client(listen_host=listen_host)

    async def both_families(_network: object, address: Address) -> list[Address]:
        return [Address(host, address.port) for host in sorted(("::1", "127.0.0.1"), key=lambda host: host != first)]

    monkeypatch.setattr("librats.runtime.network.SystemNetwork.resolve", both_families)
    peer = await soon(a.connect(f"localhost:{b.listen_port}"))
    assert peer.id == b.peer_id
    assert peer.address == Address(listen_host or first, b.listen_port)
    assert peer.address in b.addresses
    over_tcp = [attempt for attempt in peer.attempts if attempt.method is ConnectionMethod.TCP]
    assert len(over_tcp) == (2 if listen_host not in ("", first) else 1)


async def test_another_peer_than_the_expected_one_never_learns_who_we_are(
    make_client: MakeClient, until: Until
) -> None:
    a, b = await make_client(), await make_client()
    seen: list[object] = []
    b.on_incoming(seen.append)
    b.on_connect(seen.append)
    expected = Identity.generate().peer_id
    with pytest.raises(ConnectError, match=f"expected peer {expected[:8]}, but {b.peer_id[:8]} answered"):
        await soon(a.connect((LOOPBACK, b.listen_port), expect_id=expected))
    with pytest.raises(ConnectError):
        await soon(a.connect(f"{expected}@{LOOPBACK}:{b.listen_port}"))
    await until(lambda: b.statistics()["handshakes_failed"] == 2)
    assert all(isinstance(what, Address) for what in seen)
    assert a.peers == b.peers == {}
    assert (await soon(a.connect((LOOPBACK, b.listen_port), expect_id=b.peer_id))).id == b.peer_id


async def test_an_id_without_a_known_address_is_a_connect_error(make_client: MakeClient) -> None:
    client = await make_client()
    with pytest.raises(ConnectError, match="no address is known"):
        await client.connect(Identity.generate().peer_id)


async def test_a_client_does_not_connect_to_itself(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    with pytest.raises(ConnectError, match="this client itself"):
        await soon(client.connect((LOOPBACK, client.listen_port)))
    await until(lambda: client.statistics()["handshakes_failed"] == 2)
    assert client.peers == {}


async def test_peers_of_another_application_do_not_connect(make_client: MakeClient) -> None:
    a, b = await make_client(protocol_name="chess"), await make_client(protocol_name="go")
    c = await make_client(protocol_name="chess", protocol_version="2.0")
    for other in (b, c):
        with pytest.raises(ConnectError):
            await soon(a.connect((LOOPBACK, other.listen_port)))
    assert a.peers == {}


async def test_a_full_client_dials_nobody(make_client: MakeClient, connect: Connect) -> None:
    a, b, c = await make_client(max_peers=1), await make_client(), await make_client()
    await connect(a, b)
    with pytest.raises(PeerLimitReached, match="max_peers"):
        await soon(a.connect((LOOPBACK, c.listen_port)))
    with pytest.raises(PeerLimitReached, match="max_peers"):
        await soon(a.connect((LOOPBACK, c.listen_port), expect_id=c.peer_id))
    assert (await soon(a.connect((LOOPBACK, b.listen_port), expect_id=b.peer_id))).id == b.peer_id


async def test_a_full_client_tells_who_dials_it_and_the_application(make_client: MakeClient, connect: Connect) -> None:
    a, b, c = await make_client(max_peers=1), await make_client(), await make_client()
    refused: asyncio.Queue[IncomingRefused] = asyncio.Queue()
    a.on_event(IncomingRefused, refused.put_nowait)
    await connect(b, a)
    with pytest.raises(ConnectError, match="the peer refused: 1 peers are connected, the limit is max_peers=1"):
        await soon(c.connect((LOOPBACK, a.listen_port)))
    event = await soon(refused.get())
    assert "max_peers" in event.reason
    assert event.address.host == LOOPBACK
    await soon(b.disconnect(a.peer_id))
    assert (await soon(c.connect((LOOPBACK, a.listen_port)))).id == a.peer_id


async def test_a_connect_that_is_cancelled_anywhere_leaves_nothing(make_client: MakeClient, until: Until) -> None:
    a, b = await make_client(), await make_client()
    finished = 0
    for turns in range(60):
        task = asyncio.create_task(a.connect((LOOPBACK, b.listen_port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            finished += 1
            await task
        for peer in list(a.peers.values()):
            await peer.close()
        await until(lambda: not a.peers and not b.peers)
    await until(lambda: not a._manager._links and not b._manager._links)  # type: ignore[union-attr]
    assert finished < 60
    assert (await soon(a.connect((LOOPBACK, b.listen_port)))).id == b.peer_id


async def test_stopping_ends_a_connect_under_way(make_client: MakeClient, silent_port: int) -> None:
    client = await make_client()
    dialling = asyncio.create_task(client.connect((LOOPBACK, silent_port)))
    await asyncio.sleep(0)
    async with asyncio.timeout(1.0):
        await client.stop()
    with pytest.raises(ConnectError, match="the client was stopped"):
        await soon(dialling)
    with pytest.raises(UsageError, match="not running"):
        await client.connect((LOOPBACK, silent_port))


async def test_the_familiar_names_tell_results(make_client: MakeClient, silent_port: int, dead_port: int) -> None:
    a, b = await make_client(connect_timeout=0.1), await make_client()
    told: asyncio.Queue[Any] = asyncio.Queue()
    a.set_connection_callback(lambda peer: told.put_nowait("replaced"))
    a.set_connection_callback(lambda peer: told.put_nowait(peer.id))
    a.set_advanced_connection_callback(lambda peer, result: told.put_nowait(result))
    tried = await soon(a.test_connection_strategies(LOOPBACK, b.listen_port, ["direct", "auto"]))
    assert {strategy: result.success for strategy, result in tried.items()} == {
        ConnectionStrategy.DIRECT_ONLY: True,
        ConnectionStrategy.AUTO_ADAPTIVE: True,
    }
    assert a.peers == {}
    assert await soon(told.get()) == b.peer_id
    assert (await soon(told.get())).success
    a.set_connection_callback(None)
    a.set_advanced_connection_callback(None)
    while not told.empty():
        told.get_nowait()
    result = await soon(a.connect_to_peer("localhost", b.listen_port))
    assert (result.success, result.peer_id, result.method) == (True, b.peer_id, ConnectionMethod.TCP)
    assert len(result.used_candidates) == 2
    assert told.empty()
    assert "no answer within" in (await soon(a.connect_to_peer(LOOPBACK, silent_port))).error
    assert not (await soon(a.connect_to_peer(LOOPBACK, dead_port))).success


async def test_a_client_of_another_network_says_so(make_client: MakeClient) -> None:
    client, other = await make_client(), await make_client(protocol_name="other")
    with pytest.raises(ConnectError, match=r"another prologue \(protocol name and version\)"):
        await client.connect((LOOPBACK, other.listen_port))


@pytest.mark.parametrize("peer", ["chat", "AB" * 32, "ab" * 31, 7, b"ab" * 32, None])
async def test_what_is_no_peer_is_told_apart_from_one_that_is_not_connected(pair: Pair, peer: Any) -> None:
    with pytest.raises(UsageError, match="not a peer id"):
        await pair.a.request(peer, "x")
    with pytest.raises(UsageError, match="not a peer id"):
        await pair.a.disconnect(peer)
    with pytest.raises(PeerNotConnected, match="peer abababab is not connected"):
        await pair.a.request("ab" * 32, "x")


@pytest.mark.parametrize("port", [-1, 65536, "8080", 80.0, True, None])
def test_what_is_no_port_is_refused_at_once(port: Any) -> None:
    with pytest.raises(ConfigError, match="listen_port: must be a whole number from 0 to 65535"):
        RatsClient(port)


async def test_the_last_message_of_the_handshake_leaves_before_the_session_is_set_up(
    monkeypatch: pytest.MonkeyPatch, make_client: MakeClient
) -> None:
    if not takes_transports(asyncio.get_running_loop()):
        pytest.skip("this loop brings its own transports")
    a, b = await make_client(), await make_client()
    port = b.listen_port
    steps: list[str] = []
    write, link_opened = TcpTransport.write, PeerManager.link_opened

    def writing(transport: TcpTransport, data: bytes) -> None:
        steps.append("a writes" if transport.get_extra_info("peername")[1] == port else "b writes")
        write(transport, data)

    def opened(manager: PeerManager, link: Link) -> None:
        steps.append("a is set up" if link.initiator else "b is set up")
        link_opened(manager, link)

    monkeypatch.setattr(TcpTransport, "write", writing)
    monkeypatch.setattr(PeerManager, "link_opened", opened)
    await soon(a.connect((LOOPBACK, port)))
    of_a = [step for step in steps if step.startswith("a")]
    assert of_a[:4] == ["a writes", "a writes", "a is set up", "a writes"]


async def test_who_is_dialled_makes_its_ephemeral_key_before_anything_is_heard(
    monkeypatch: pytest.MonkeyPatch, make_client: MakeClient, until: Until
) -> None:
    b = await make_client()
    prepared: list[int] = []
    monkeypatch.setattr(Opening, "prepare", lambda opening: prepared.append(opening.step))
    _, writer = await asyncio.open_connection(LOOPBACK, b.listen_port)
    await until(lambda: prepared)
    assert prepared == [0]
    writer.close()
    await writer.wait_closed()
