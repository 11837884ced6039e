"""Clients that meet at a relay's WebSocket, straight and through proxies."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from tests.reference.certificates import make_certificate
from tests.reference.http_proxy import HttpProxy
from tests.reference.socks_proxy import SocksProxy

from librats import AttemptReason, ConfigError, ConnectError, Identity, NatTraversalConfig, RatsClient, RatsConfig
from librats.relay.config import RelayConfig
from librats.relay.server import RelayServer
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address, ConnectionMethod

HERE = Address("127.0.0.1", 0)
PATIENCE = 20.0


class Scene(NamedTuple):
    stack: AsyncExitStack
    relay: RelayServer
    relay_id: str
    certificate: Path

    @property
    def secure(self) -> str:
        return f"wss://{self.relay_id}@127.0.0.1:{self.relay.tls_addresses[0].port}"

    @property
    def plain(self) -> str:
        return f"ws://{self.relay_id}@127.0.0.1:{self.relay.addresses[0].port}"

    async def client(self, *introducers: str, **nat: Any) -> RatsClient:
        fields = {"ca_file": str(self.certificate), "proxy": "off"} | nat
        settings = NatTraversalConfig(
            stun_servers=(), enable_port_mapping=False, enable_hole_punching=False, introducers=introducers, **fields
        )
        config = RatsConfig(listen_host="127.0.0.1", nat=settings)
        return await self.stack.enter_async_context(RatsClient(config=config, identity=Identity.generate()))

    async def meet(self, one: RatsClient, other: RatsClient, **how: Any) -> Any:
        await until(lambda: bool(one.introducers and other.introducers))
        other.on("greet", lambda peer, name: f"hello {name}")
        peer = await one.connect(other.peer_id, timeout=PATIENCE, **how)
        assert await peer.request("greet", "you") == "hello you"
        return peer


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    certificate, identity = make_certificate(tmp_path, "relay.test"), Identity.generate()
    config = RelayConfig(
        listen=(HERE,),
        tls_listen=(HERE,),
        certificate=certificate,
        relay_for_introduced=True,
        allow_peers=(parse_network("127.0.0.0/8"),),
    )
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(RelayServer(config, identity=identity))
        yield Scene(stack, relay, identity.peer_id, certificate)


@pytest.mark.parametrize("scheme", ["wss", "ws"])
async def test_two_meet_at_a_websocket(scene: Scene, scheme: str) -> None:
    uri = scene.secure if scheme == "wss" else scene.plain
    peer = await scene.meet(await scene.client(uri), await scene.client(uri))
    await until(lambda: peer.method is ConnectionMethod.UDP)  # it begins by way of the relay
    assert scene.relay.introducer is not None
    assert scene.relay.introducer.passing.counters["keys_told"] >= 1


@pytest.mark.parametrize("scheme", ["wss", "ws"])
async def test_the_relay_is_reached_inside_a_websocket_where_udp_is_not(scene: Scene, scheme: str) -> None:
    uri = scene.secure if scheme == "wss" else scene.plain
    one, other = await scene.client(uri), await scene.client(uri)
    await until(lambda: len(one._paths.relays.servers) == 2)
    udp, web = one._paths.relays.servers
    assert (udp.transport, web.transport) == ("udp", scheme)
    one._paths.relays._granted.remove(udp)
    peer = await scene.meet(one, other, strategy="relay")
    assert peer.method is ConnectionMethod.RELAY


async def test_a_certificate_that_nobody_vouches_for_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    client = await scene.client(scene.secure, ca_file=None)
    await until(lambda: "certificate is not valid" in caplog.text)
    assert client.introducers == []


async def test_whoever_has_the_certificate_and_another_id_is_refused(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    client = await scene.client(scene.secure.replace(scene.relay_id, "ab" * 32))
    await until(lambda: "no session with introducer" in caplog.text)
    assert client.introducers == []


async def test_the_websocket_is_taken_where_the_port_refuses(scene: Scene) -> None:
    async with asyncio.timeout(PATIENCE):
        closed = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1")
    port = closed.sockets[0].getsockname()[1]
    closed.close()
    client = await scene.client(f"{scene.relay_id}@127.0.0.1:{port}", scene.secure)
    await until(lambda: bool(client.introducers))
    assert client.introducers == [f"{scene.relay_id}@127.0.0.1:{scene.relay.tls_addresses[0].port}"]


async def test_the_websocket_is_taken_where_the_port_is_silent_and_goes_first_from_then_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: held.append(writer), "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    client = await scene.client(f"{scene.relay_id}@127.0.0.1:{port}", scene.secure)
    await until(lambda: bool(client.introducers))
    assert len(held) == 1
    keeper = client._keeper
    assert keeper is not None
    await until(lambda: scene.relay_id in keeper._worked)  # the race of the two is over
    monkeypatch.setattr("librats.introducers.dialling.NEXT_WAY", 60.0)
    keeper.sessions.links[scene.relay_id].abort()
    await until(lambda: not client.introducers)
    await until(lambda: bool(client.introducers))
    assert len(held) == 1
    for writer in held:
        writer.close()
    silent.close()


async def test_the_port_is_taken_where_it_works(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librats.introducers.dialling.NEXT_WAY", 60.0)
    port = scene.relay.addresses[0].port
    client = await scene.client(scene.secure, f"{scene.relay_id}@127.0.0.1:{port}")
    other = await scene.client(f"{scene.relay_id}@127.0.0.1:{port}", scene.secure)
    await until(lambda: bool(client.introducers and other.introducers))
    assert other.introducers == [f"{scene.relay_id}@127.0.0.1:{port}"]


async def test_without_the_package_starting_says_what_to_install(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("librats.services.server_dialling.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'librats\[web\]'"):
        await scene.client(scene.secure)


# Through a proxy


async def test_two_meet_and_relay_through_a_proxy_which_looks_names_up(scene: Scene) -> None:
    proxy = await scene.stack.enter_async_context(HttpProxy("ann:p@ss", hosts={"relay.test": "127.0.0.1"}))
    uri = scene.secure.replace("127.0.0.1", "relay.test")
    named = proxy.uri.replace("://", "://ann:p%40ss@")
    one, other = await scene.client(uri, proxy=named), await scene.client(uri, proxy=named)
    peer = await scene.meet(one, other, strategy="relay")
    assert peer.method is ConnectionMethod.RELAY
    port = scene.relay.tls_addresses[0].port
    assert set(proxy.asked) == {f"relay.test:{port}"}
    assert len(proxy.asked) >= 3  # two introducer sessions, and an allocation
    assert one.introducers == [f"{scene.relay_id}@relay.test:{port}"]


async def make_proxy(scene: Scene, scheme: str, **how: Any) -> HttpProxy:
    if scheme == "https":
        return await scene.stack.enter_async_context(HttpProxy(certificate=scene.certificate, **how))
    proxy = SocksProxy(**how)
    proxy.scheme = scheme
    return await scene.stack.enter_async_context(proxy)


@pytest.mark.parametrize("web", ["wss", "ws"])
@pytest.mark.parametrize("scheme", ["https", "socks5", "socks5h"])
async def test_two_meet_and_relay_through_proxies_of_other_kinds(scene: Scene, scheme: str, web: str) -> None:
    proxy = await make_proxy(scene, scheme, credentials="ann:p@ss", hosts={"relay.test": "127.0.0.1"})
    uri = scene.secure if web == "wss" else scene.plain
    asked_for = "127.0.0.1"
    if scheme != "socks5":
        asked_for, uri = "relay.test", uri.replace("127.0.0.1", "relay.test")
    named = proxy.uri.replace("://", "://ann:p%40ss@")
    one, other = await scene.client(uri, proxy=named), await scene.client(uri, proxy=named)
    peer = await scene.meet(one, other, strategy="relay")
    assert peer.method is ConnectionMethod.RELAY
    assert {where.rpartition(":")[0] for where in proxy.asked} == {asked_for}
    assert len(proxy.asked) >= 2 + (scheme != "socks5")  # introducer sessions; an allocation, where UDP finds no name


@pytest.mark.parametrize(
    ("scheme", "how", "words", "reason"),
    [
        ("https", {"credentials": "ann:secret"}, "407", AttemptReason.PROXY_DENIED),
        ("https", {"answer": b"HTTP/1.1 200 OK\r\n"}, "closed the connection", AttemptReason.PROXY_UNREACHABLE),
        ("socks5h", {"credentials": "ann:secret"}, "write user and password", AttemptReason.PROXY_DENIED),
        ("socks5h", {"ports": (1,)}, "rules do not allow", AttemptReason.PROXY_DENIED),
        ("socks5", {"answer": b"HTTP/1.1 400"}, "not answer in SOCKS 5", AttemptReason.PROXY_UNREACHABLE),
        ("socks5h", {"answer": b"\x05\x00"}, "closed the connection", AttemptReason.PROXY_UNREACHABLE),
    ],
)
async def test_a_proxy_of_another_kind_that_does_not_let_through_is_the_reason(
    scene: Scene, scheme: str, how: dict[str, Any], words: str, reason: AttemptReason
) -> None:
    proxy = await make_proxy(scene, scheme, **how)
    client = await scene.client(scene.secure, proxy=proxy.uri)
    with pytest.raises(ConnectError, match=words) as caught:
        await client.connect("cd" * 32, timeout=PATIENCE)
    assert caught.value.code is reason


async def test_a_proxy_whose_certificate_nobody_vouches_for_is_told_nothing(scene: Scene, tmp_path: Path) -> None:
    stranger = make_certificate(tmp_path, "127.0.0.1", file="stranger.pem")
    proxy = await scene.stack.enter_async_context(HttpProxy(certificate=stranger))
    client = await scene.client(scene.secure, proxy=proxy.uri.replace("://", "://ann:secret@"))
    with pytest.raises(ConnectError, match="certificate") as caught:
        await client.connect("cd" * 32, timeout=PATIENCE)
    assert caught.value.code is AttemptReason.PROXY_UNREACHABLE
    assert proxy.asked == []


async def test_a_name_that_does_not_resolve_here_is_the_reason_with_socks5(scene: Scene) -> None:
    proxy = await make_proxy(scene, "socks5", hosts={"relay.invalid": "127.0.0.1"})
    client = await scene.client(scene.secure.replace("127.0.0.1", "relay.invalid"), proxy=proxy.uri)
    await until(lambda: client._keeper is not None and "with socks5h:// the proxy looks" in client._keeper.problem[0])
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("how", "words", "reason"),
    [
        ({"credentials": "ann:secret"}, "407", AttemptReason.PROXY_DENIED),
        ({"ports": (1,)}, "403 Forbidden", AttemptReason.PROXY_DENIED),
        ({"answer": b"SSH-2.0-x\r\n"}, "not answer in HTTP", AttemptReason.PROXY_UNREACHABLE),
        ({"answer": b"HTTP/1.1 200 OK\r\n"}, "closed the connection", AttemptReason.PROXY_UNREACHABLE),
    ],
)
async def test_a_proxy_that_does_not_let_through_is_the_reason(
    scene: Scene, how: dict[str, Any], words: str, reason: AttemptReason
) -> None:
    proxy = await scene.stack.enter_async_context(HttpProxy(**how))
    client = await scene.client(scene.secure, proxy=proxy.uri)
    with pytest.raises(ConnectError, match=words) as caught:
        await client.connect("cd" * 32, timeout=PATIENCE)
    assert caught.value.code is reason
    assert proxy.asked


async def test_a_proxy_without_an_address_is_the_reason(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await scene.client(scene.secure, proxy="http://proxy.invalid:3128")

    async def resolve(address: Address) -> list[Address]:
        raise OSError("unknown")

    monkeypatch.setattr(client._network, "resolve", resolve)
    await until(lambda: client._keeper is not None and "no such host" in client._keeper.problem[0])
    assert client._keeper is not None
    assert client._keeper.problem[1] is AttemptReason.PROXY_UNREACHABLE


async def test_a_proxy_that_nobody_runs_is_the_reason(scene: Scene) -> None:
    async with HttpProxy() as proxy:
        uri = proxy.uri
    client = await scene.client(scene.secure, proxy=uri)
    with pytest.raises(ConnectError, match="does not let us through: connection refused") as caught:
        await client.connect("cd" * 32, timeout=PATIENCE)
    assert caught.value.code is AttemptReason.PROXY_UNREACHABLE


@pytest.mark.parametrize(
    ("how", "seconds", "words"), [({"ports": (1,)}, 60.0, "403"), ({"answer": b""}, 0.2, "takes too long")]
)
async def test_where_the_proxy_of_the_system_does_not_do_the_server_is_reached_without_it(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: dict[str, Any],
    seconds: float,
    words: str,
) -> None:
    monkeypatch.setattr("librats.services.server_dialling.PROXY_TIMEOUT", seconds)
    proxy = await scene.stack.enter_async_context(HttpProxy(**how))
    monkeypatch.setattr("librats.runtime.proxies.is_here", lambda server: False)
    monkeypatch.setenv("https_proxy", proxy.uri)
    monkeypatch.delenv("no_proxy", raising=False)
    caplog.set_level(logging.DEBUG, "librats.proxy")
    client = await scene.client(scene.secure, proxy="system")
    await until(lambda: bool(client.introducers))
    assert proxy.asked
    assert words in caplog.text
    assert "is to be reached without a proxy" in caplog.text


async def test_the_proxy_of_the_system_is_taken(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = await scene.stack.enter_async_context(HttpProxy(hosts={"relay.test": "127.0.0.1"}))
    monkeypatch.setenv("https_proxy", proxy.uri)
    monkeypatch.delenv("no_proxy", raising=False)
    client = await scene.client(scene.secure.replace("127.0.0.1", "relay.test"), proxy="system")
    await until(lambda: bool(client.introducers))
    assert proxy.asked
