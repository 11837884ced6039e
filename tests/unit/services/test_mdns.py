"""Reading what strangers announce, and what does not depend on a network."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import pytest

from librats.errors import ClosedError, DecodeError, UsageError
from librats.services.mdns import MdnsDiscovery
from librats.services.mdns_records import MAX_ADDRESSES, MdnsPeer, read_service
from librats.types import Address

PEER_ID = "0123456789abcdef" * 4
INSTANCE = "rats-01234567._librats._tcp.local."
RECORD: dict[bytes, bytes | None] = {b"v": b"1", b"id": PEER_ID.encode(), b"p": b"chat/1.0", b"n": b"Zo\xc3\xab"}
HOSTS = ["192.0.2.7"]


def read(
    hosts: list[str] = HOSTS, port: int | None = 8081, changes: dict[bytes, bytes | None] | None = None
) -> MdnsPeer:
    return read_service(INSTANCE, RECORD | (changes or {}), hosts, port)


def ignore(peer: MdnsPeer) -> None:
    raise AssertionError(f"nobody is there, but {peer} was found")


def discovery(peer_id: str = PEER_ID, port: int = 8081, **changes: Any) -> MdnsDiscovery:
    arguments: dict[str, Any] = {"protocol": "chat/1.0", "on_found": ignore} | changes
    return MdnsDiscovery(peer_id, port, **arguments)


def test_a_record_of_ours_is_read() -> None:
    assert read() == MdnsPeer(
        peer_id=PEER_ID,
        name="Zoë",
        protocol="chat/1.0",
        addresses=(Address("192.0.2.7", 8081),),
        instance=INSTANCE,
    )


def test_a_name_may_be_left_out() -> None:
    assert read(changes={b"n": None}).name == ""


def test_a_node_without_a_record_has_neither_id_nor_protocol() -> None:
    peer = read_service(INSTANCE, {}, HOSTS, 8081)
    assert (peer.peer_id, peer.protocol, peer.name) == ("", "", "")
    assert peer.addresses == (Address("192.0.2.7", 8081),)


@pytest.mark.parametrize(
    "changes",
    [
        {b"v": None},
        {b"v": b"2"},
        {b"id": None},
        {b"id": b""},
        {b"id": PEER_ID[:-1].encode()},
        {b"id": PEER_ID.upper().encode()},
        {b"id": PEER_ID.encode() + b"\n"},
        {b"id": b"g" * 64},
        {b"p": None},
        {b"p": b""},
        {b"p": b"\xff"},
        {b"n": b"x" * 65},
        {b"n": b"a\nb"},
        {b"n": b"\x1b[2J"},
        {b"n": "\u202egpj".encode()},
        {b"n": b"\xff"},
    ],
)
def test_a_record_with_a_bad_value_is_refused(changes: dict[bytes, bytes | None]) -> None:
    with pytest.raises(DecodeError, match="TXT record"):
        read(changes=changes)


@pytest.mark.parametrize("port", [None, 0, 65536])
def test_a_service_without_a_port_is_refused(port: int | None) -> None:
    with pytest.raises(DecodeError, match="port"):
        read(port=port)


@pytest.mark.parametrize("hosts", [[], ["::", "224.0.0.251", "ff02::fb"]])
def test_a_service_that_cannot_be_reached_is_refused(hosts: list[str]) -> None:
    with pytest.raises(DecodeError, match="address"):
        read(hosts)


def test_addresses_come_in_one_order_without_repetition() -> None:
    hosts = ["fe80::1%2", "2001:db8::7", "192.0.2.7", "169.254.1.1", "192.0.2.7"]
    expected = ["192.0.2.7", "169.254.1.1", "2001:db8::7", "fe80::1%2"]
    assert [address.host for address in read(hosts).addresses] == expected
    assert read(hosts[::-1]) == read(hosts)


def test_no_more_addresses_are_taken_than_the_limit() -> None:
    assert len(read([f"192.0.2.{n}" for n in range(1, 100)]).addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peer_id": ""}, "peer id"),
        ({"peer_id": PEER_ID.upper()}, "peer id"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"protocol": ""}, "protocol"),
        ({"protocol": "p" * 254}, "protocol"),
        ({"name": "x" * 65}, "name"),
        ({"name": "😀" * 64}, "name"),
        ({"name": "a\tb"}, "name"),
        ({"addresses": []}, "addresses"),
        ({"addresses": ["example.org"]}, "addresses"),
        ({"addresses": ["::"]}, "addresses"),
    ],
)
def test_what_cannot_be_announced_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        discovery(**changes)


def test_nothing_is_loaded_before_discovery_starts() -> None:
    script = "import sys, librats.services.mdns; sys.exit('zeroconf' in sys.modules or 'ifaddr' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 0


async def test_a_simulated_network_has_no_mdns() -> None:
    loop: Any = asyncio.get_running_loop()
    loop.librats_network = object()
    mdns = discovery()
    assert not await mdns.start()
    assert "simulated" in mdns.problem
    await mdns.close()


async def test_a_network_that_is_not_there_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    mdns = discovery(interfaces=["203.0.113.9", "nonsense"])
    with caplog.at_level(logging.WARNING):
        assert not await mdns.start()
        assert not await mdns.start()
    assert "203.0.113.9: not an address of this machine; nonsense: not" in mdns.problem
    assert [record.getMessage() for record in caplog.records] == [f"no mDNS discovery: {mdns.problem}"]
    await mdns.close()


async def test_a_machine_without_a_network_has_no_mdns() -> None:
    mdns = discovery(interfaces=[])
    assert not await mdns.start()
    assert "no network interface" in mdns.problem
    await mdns.close()


async def test_what_was_closed_does_not_start() -> None:
    mdns = discovery()
    await mdns.close()
    await mdns.close()
    with pytest.raises(ClosedError):
        await mdns.start()
