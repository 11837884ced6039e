"""Discovery by multicast on 127.0.0.1, among our own nodes and strangers that announce what they like.

Where this machine's loopback has no multicast at all, as a plain socket tells, each test instead demands that
``start`` says so. Where a plain socket has it and discovery does not, the tests fail.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import secrets
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec

import pytest
from zeroconf import DNSOutgoing, DNSPointer, Zeroconf  # type: ignore[attr-defined]  # not in its __all__
from zeroconf import asyncio as zeroconf_asyncio
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from librats.errors import ClosedError
from librats.services import mdns as module
from librats.services.mdns import SERVICE_TYPE, MdnsDiscovery
from librats.services.mdns_records import MdnsPeer
from librats.types import Address

P = ParamSpec("P")
LOOPBACK = "127.0.0.1"
GROUP = "224.0.0.251"
DEADLINE = 20.0
PROTOCOL = f"test/{secrets.token_hex(4)}"  # tests that run beside these in another process are not to be seen
RESPONSE = 0x8400  # flags of an mDNS answer (RFC 6762, 18)

NODE = """
import asyncio, json, sys
from librats.services.mdns import MdnsDiscovery

def tell(event, peer):
    found = {"event": event, "id": peer.peer_id, "name": peer.name, "addresses": [str(a) for a in peer.addresses]}
    print(json.dumps(found), flush=True)

async def main(peer_id, port, protocol):
    node = MdnsDiscovery(
        peer_id, int(port), protocol=protocol, name="the other process", interfaces=["127.0.0.1"],
        on_found=lambda peer: tell("found", peer), on_lost=lambda peer: tell("lost", peer),
    )
    if not await node.start():
        sys.exit(node.problem)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await node.close()

asyncio.run(main(*sys.argv[1:]))
"""


@cache
def multicast_problem() -> str:
    """Send a packet to the group on loopback; return what keeps it from coming back, empty where nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("", 0))
            membership = socket.inet_aton(GROUP) + socket.inet_aton(LOOPBACK)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
            sock.settimeout(5.0)
            sock.sendto(b"probe", (GROUP, sock.getsockname()[1]))
            sock.recv(16)
        except OSError as error:
            return str(error) or type(error).__name__
    return ""


def on_multicast(test: Callable[P, Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Run a test where loopback has multicast; where it has none, demand that ``start`` tells."""

    @wraps(test)
    async def either(*args: P.args, **kwargs: P.kwargs) -> None:
        if not multicast_problem():
            await test(*args, **kwargs)
            return
        node = Node()
        assert not await node.mdns.start(), f"started without multicast: {multicast_problem()}"
        assert node.mdns.problem
        await node.mdns.close()

    return either


class Node:
    """A discovery on loopback, and what it has told."""

    def __init__(self, protocol: str = PROTOCOL, **changes: Any) -> None:
        self.port = 1024 + secrets.randbelow(60000)
        self.found: list[MdnsPeer] = []
        self.lost: list[MdnsPeer] = []
        self._news = asyncio.Event()
        arguments: dict[str, Any] = {"protocol": protocol, "interfaces": [LOOPBACK]} | changes
        self.id = arguments.pop("peer_id", secrets.token_hex(32))
        self.mdns = MdnsDiscovery(self.id, self.port, on_found=self.on_found, on_lost=self.on_lost, **arguments)

    def on_found(self, peer: MdnsPeer) -> None:
        self.found.append(peer)
        self._news.set()

    def on_lost(self, peer: MdnsPeer) -> None:
        self.lost.append(peer)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pytest.fail(f"multicast works on loopback, but all that came is {self.found}, lost {self.lost}")

    async def until_found(self, peer_id: str) -> None:
        await self.until(lambda: peer_id in [peer.peer_id for peer in self.found])

    async def until_lost(self, peer_id: str) -> None:
        await self.until(lambda: peer_id in [peer.peer_id for peer in self.lost])

    async def __aenter__(self) -> Node:
        assert await self.mdns.start(), f"multicast works on loopback, but: {self.mdns.problem}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.mdns.close()


class Faulty(Node):
    """One whose callbacks raise."""

    def on_found(self, peer: MdnsPeer) -> None:
        super().on_found(peer)
        raise ZeroDivisionError

    def on_lost(self, peer: MdnsPeer) -> None:
        super().on_lost(peer)
        raise ZeroDivisionError


class Stranger:
    """Somebody else's responder, which announces anything."""

    def __init__(self, mdns: AsyncZeroconf) -> None:
        self.mdns = mdns

    def service(self, record: dict[str, str] | bytes, label: str = "") -> AsyncServiceInfo:
        label = label or f"rats-{secrets.token_hex(8)}"
        name, server = f"{label}.{SERVICE_TYPE}", f"{label}.local."
        return AsyncServiceInfo(
            SERVICE_TYPE, name, port=9, properties=record, server=server, parsed_addresses=[LOOPBACK]
        )

    async def announce(self, record: dict[str, str] | bytes) -> AsyncServiceInfo:
        service = self.service(record)
        await (await self.mdns.async_register_service(service, cooperating_responders=True))
        return service

    async def update(self, service: AsyncServiceInfo) -> None:
        await (await self.mdns.async_update_service(service))


@asynccontextmanager
async def stranger() -> AsyncIterator[Stranger]:
    responder = AsyncZeroconf(interfaces=[LOOPBACK])
    await responder.zeroconf.async_wait_for_start()
    try:
        yield Stranger(responder)
    finally:
        await responder.async_close()


def record(peer_id: str, protocol: str = PROTOCOL, **more: str) -> dict[str, str]:
    return {"v": "1", "id": peer_id, "p": protocol} | more


@on_multicast
async def test_two_processes_find_each_other_and_say_goodbye() -> None:
    child_id, child_port, protocol = secrets.token_hex(32), 4711, f"test/{secrets.token_hex(8)}"
    node = Node(protocol, name="this process")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", NODE, child_id, str(child_port), protocol),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        async with node:
            await node.until_found(child_id)
            peer = node.mdns.peers[child_id]
            assert (peer.name, peer.protocol) == ("the other process", protocol)
            assert peer.addresses == (Address(LOOPBACK, child_port),)
            async with asyncio.timeout(DEADLINE):
                told = await told_by(child.stdout)
            here = f"{LOOPBACK}:{node.port}"
            assert told == {"event": "found", "id": node.id, "name": "this process", "addresses": [here]}
            child.stdin.close()
            await node.until_lost(child_id)
            assert not node.mdns.peers
            async with asyncio.timeout(DEADLINE):
                assert await child.wait() == 0
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def told_by(output: asyncio.StreamReader) -> Any:
    """Return the next event; other lines may come from the build of an editable installation."""
    while not (line := await output.readline()).startswith(b"{"):
        assert line, "the other process ended"
    return json.loads(line)


@on_multicast
async def test_two_nodes_of_one_process_find_each_other_and_not_themselves() -> None:
    async with Node() as one, Node(name="two") as two:
        await one.until_found(two.id)
        await two.until_found(one.id)
        assert one.mdns.peers[two.id].addresses == (Address(LOOPBACK, two.port),)
        assert one.mdns.peers[two.id].instance == f"rats-{two.id[:8]}.{SERVICE_TYPE}"
        assert one.mdns.peers[two.id].name == "two"
        assert one.mdns.problem == ""
        assert one.id not in [peer.peer_id for peer in one.found]


@on_multicast
async def test_closing_says_goodbye_within_half_a_second() -> None:
    async with Node() as one, Node() as two:
        await one.until_found(two.id)
        begin = time.monotonic()
        await two.mdns.close()
        assert time.monotonic() - begin < 0.5
        await one.until_lost(two.id)
        assert two.id not in one.mdns.peers
        assert not two.mdns.peers


@on_multicast
async def test_nothing_is_left_behind() -> None:
    def census() -> tuple[int, int, int]:
        descriptors = list(Path("/proc/self").glob("fd/*"))  # none where there is no such folder
        return len(asyncio.all_tasks()), threading.active_count(), len(descriptors)

    before = census()
    for _ in range(3):
        async with Node() as one, Node() as two:
            await one.until_found(two.id)
            assert len(asyncio.all_tasks()) > before[0]
        assert census() == before


@on_multicast
async def test_a_cancelled_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = asyncio.Event()
    monkeypatch.setattr(Zeroconf, "async_send", lambda *_: sent.set())
    tasks = len(asyncio.all_tasks())
    node = Node()
    starting = asyncio.create_task(node.mdns.start())
    async with asyncio.timeout(DEADLINE):
        await sent.wait()
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()
    assert len(asyncio.all_tasks()) == tasks


@on_multicast
async def test_closing_interrupts_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = asyncio.Event()
    monkeypatch.setattr(Zeroconf, "async_send", lambda *_: sent.set())
    monkeypatch.setattr(module, "HEARING_TIMEOUT", 10 * DEADLINE)
    node = Node()
    starting = asyncio.create_task(node.mdns.start())
    async with asyncio.timeout(DEADLINE):
        await sent.wait()
        await node.mdns.close()
        with pytest.raises(ClosedError):
            await starting


@on_multicast
async def test_starting_twice_is_one_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Node() as node:
        monkeypatch.delattr(zeroconf_asyncio, "AsyncZeroconf")
        assert await node.mdns.start()


@on_multicast
async def test_where_nothing_comes_back_the_problem_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "HEARING_TIMEOUT", 0.5)
    node = Node()
    with monkeypatch.context() as deaf, caplog.at_level(logging.WARNING, "librats"):
        deaf.setattr(Zeroconf, "async_send", lambda *_: None)
        assert not await node.mdns.start()
    assert node.mdns.problem == "multicast does not work on 127.0.0.1"
    assert [r.getMessage() for r in caplog.records] == [f"no mDNS discovery: {node.mdns.problem}"]
    monkeypatch.setattr(module, "HEARING_TIMEOUT", DEADLINE)
    async with node:
        assert node.mdns.problem == ""


def break_interfaces(monkeypatch: pytest.MonkeyPatch, *broken: str, silent: str = "") -> None:
    """Make zeroconf fail with some interfaces, and go on without another one as it mostly does."""

    def opened(interfaces: list[str]) -> AsyncZeroconf:
        if set(broken) & set(interfaces):
            raise OSError(errno.ENODEV, "No such device")
        return AsyncZeroconf(interfaces=[host for host in interfaces if host != silent])

    monkeypatch.setattr(zeroconf_asyncio, "AsyncZeroconf", opened)


@on_multicast
async def test_an_interface_that_fails_is_left_out_with_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    break_interfaces(monkeypatch, "127.0.0.9", "127.0.0.8")
    with caplog.at_level(logging.WARNING, "librats"):
        one = Node(interfaces=["127.0.0.9", LOOPBACK, "127.0.0.8", "203.0.113.9"])
        async with one, Node() as two:
            await one.until_found(two.id)
            await two.until_found(one.id)
            assert all(host in one.mdns.problem for host in ("127.0.0.9", "127.0.0.8", "203.0.113.9"))
            assert two.mdns.peers[one.id].addresses == (Address(LOOPBACK, one.port),)
    assert [r.getMessage() for r in caplog.records] == [f"mDNS does without: {one.mdns.problem}"]


@on_multicast
async def test_where_every_interface_fails_the_problem_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    break_interfaces(monkeypatch, LOOPBACK, "127.0.0.9")
    node = Node(interfaces=[LOOPBACK, "127.0.0.9"])
    assert not await node.mdns.start()
    assert node.mdns.problem.count("No such device") == 2
    await node.mdns.close()


@on_multicast
async def test_an_interface_that_cannot_join_the_group_is_left_out() -> None:
    # On Linux one may bind to this address, but no device has it.
    async with Node(interfaces=[LOOPBACK, "127.255.255.255"]) as node:
        assert node.mdns.problem.startswith("127.255.255.255: ")


@on_multicast
@pytest.mark.parametrize("broken", ["", "127.0.0.8"])
async def test_an_interface_that_zeroconf_drops_is_told(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    break_interfaces(monkeypatch, broken, silent="127.0.0.9")
    async with Node(interfaces=["127.0.0.9", broken or LOOPBACK, LOOPBACK]) as node:
        assert "127.0.0.9: the interface has no multicast" in node.mdns.problem
        assert LOOPBACK not in node.mdns.problem
    alone = Node(interfaces=["127.0.0.9"])
    assert not await alone.mdns.start()
    assert alone.mdns.problem == "127.0.0.9: the interface has no multicast"


@on_multicast
async def test_what_is_to_be_announced_may_be_given() -> None:
    async with Node() as one, Node(addresses=["192.0.2.7", "2001:db8::7"]) as two:
        await one.until_found(two.id)
        addresses = (Address("192.0.2.7", two.port), Address("2001:db8::7", two.port))
        assert one.mdns.peers[two.id].addresses == addresses


@on_multicast
async def test_another_protocol_is_not_reported() -> None:
    async with Node() as one, Node("foreign/1") as foreign, Node() as two:
        await one.until_found(two.id)
        assert foreign.id not in one.mdns.peers
        assert foreign.id not in [peer.peer_id for peer in one.found]
        await two.until_found(one.id)
        assert not foreign.found


@on_multicast
@pytest.mark.parametrize("text", [b"", b"\0"])
async def test_a_node_of_the_other_library_is_reported_without_an_id(text: bytes) -> None:
    async with Node() as one, stranger() as other:
        service = await other.announce(text)
        await one.until(lambda: service.name in one.mdns.peers)
        peer = one.mdns.peers[service.name]
        assert (peer.peer_id, peer.protocol) == ("", "")
        assert peer.addresses == (Address(LOOPBACK, 9),)


@on_multicast
async def test_malformed_announcements_are_ignored() -> None:
    async with stranger() as other, Node() as one:
        records = [record("a" * 63), record("A" * 64), record("a" * 64, v="2"), {"x": "y"}]
        texts: list[dict[str, str] | bytes] = [*records, b"\x05id="]
        bad = await asyncio.gather(*map(other.announce, texts))
        pointers = DNSOutgoing(RESPONSE)
        for alias in (SERVICE_TYPE, "rats-1.example.", f".{SERVICE_TYPE}", f"{'x' * 60}.{'y' * 60}.{SERVICE_TYPE}"):
            pointers.add_answer_at_time(DNSPointer(SERVICE_TYPE, 12, 1, 120, alias), 0)
        other.mdns.zeroconf.async_send(pointers)
        good = await other.announce(record("b" * 64))
        await one.until_found("b" * 64)
        assert one.mdns.peers["b" * 64].instance == good.name
        assert not {peer.instance for peer in one.found} & {service.name for service in bad}


@on_multicast
async def test_records_without_a_pointer_are_not_listed() -> None:
    async with Node() as one, stranger() as other:
        service = other.service(record("a" * 64))
        loose = DNSOutgoing(RESPONSE)
        for answer in (service.dns_service(), service.dns_text(), *service.dns_addresses()):
            loose.add_answer_at_time(answer, 0)
        other.mdns.zeroconf.async_send(loose)
        await other.announce(record("b" * 64))
        await one.until_found("b" * 64)
        assert "a" * 64 not in one.mdns.peers


@on_multicast
async def test_records_that_were_left_out_are_asked_for() -> None:
    async with Node() as one, stranger() as other:
        service = other.service(record("c" * 64))
        other.mdns.zeroconf.registry.async_add(service)
        pointer = DNSOutgoing(RESPONSE)
        pointer.add_answer_at_time(service.dns_pointer(), 0)
        other.mdns.zeroconf.async_send(pointer)
        await one.until_found("c" * 64)


@on_multicast
async def test_a_change_is_reported_again_and_what_it_replaced_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLING_TIME", 0.5)  # the flush comes later: looked at again
    async with Node() as one, stranger() as other:
        service = await other.announce(record("d" * 64))
        await one.until_found("d" * 64)
        service.port = 10
        service.addresses = [socket.inet_aton("192.0.2.7")]
        service.async_clear_cache()
        async with asyncio.timeout(DEADLINE):
            while one.found[-1].addresses != (Address("192.0.2.7", 10),):
                await other.update(service)  # a record is flushed by what is heard more than a second after it
        assert one.mdns.peers["d" * 64] == one.found[-1]
        assert not one.lost


@on_multicast
async def test_a_peer_that_turns_to_another_protocol_is_lost() -> None:
    async with Node() as one, stranger() as other:
        service = await other.announce(record("e" * 64))
        await one.until_found("e" * 64)
        turned = other.service(record("e" * 64, "foreign/1"), service.get_name())
        await other.update(turned)
        await one.until_lost("e" * 64)
        assert not one.mdns.peers


@on_multicast
async def test_no_more_peers_are_known_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PEERS", 2)
    async with Node() as one, stranger() as other:
        services = await asyncio.gather(*(other.announce(record(digit * 64)) for digit in "abcd"))
        await one.until(lambda: len(one.mdns.peers) == 2)
        known = set(one.mdns.peers)
        gone = next(service for service in services if service.decoded_properties["id"] in known)
        await (await other.mdns.async_unregister_service(gone))
        await one.until(lambda: bool(one.lost))
        await other.announce(record("f" * 64))
        await one.until_found("f" * 64)
        assert set(one.mdns.peers) == known - {one.lost[0].peer_id} | {"f" * 64}


@on_multicast
async def test_a_callback_that_raises_is_logged_and_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    async with Node() as one, Faulty() as two:
        await two.until_found(one.id)
        await one.mdns.close()
        await two.until_lost(one.id)
    assert [r.exc_info[0] for r in caplog.records if r.exc_info] == [ZeroDivisionError] * 2


@on_multicast
async def test_two_nodes_with_the_same_name_find_each_other() -> None:
    first, second = sorted("0badcafe" + secrets.token_hex(28) for _ in range(2))
    async with Node(peer_id=second) as two, Node(peer_id=first) as one:
        await one.until_found(second)
        await two.until_found(first)
        assert two.mdns.peers[first].instance == f"rats-0badcafe.{SERVICE_TYPE}"
        assert one.mdns.peers[second].instance == f"rats-0badcafe-2.{SERVICE_TYPE}"
        await two.mdns.close()
        await one.until_lost(second)
