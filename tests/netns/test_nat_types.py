"""Detection behind every type of NAT that the kernel can be made to be, with servers of three kinds."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.netns.lab import HOST6, PUBLIC, SERVER, SERVER6, Lab, missing
from tests.netns.nat_rules import CHAINS, TYPES, chain_of
from tests.netns.servers import OTHER_PORT, PORT, serve_with_relay, served_by
from tests.reference.nat_types import PORTS, WORDS, promised
from tests.reference.stun_server import StunServer

from librats import Identity, MappingBehavior, NatTraversalConfig, NatType, NatTypeInfo, RatsClient, RatsConfig

WHY_NOT = missing()
pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]

AT_ONCE = 4
BOTH = (f"{SERVER[0]}:{PORT}", f"[{SERVER6}]:{PORT}")

Serve = Callable[[Lab], contextlib.AbstractContextManager[object]]


@contextlib.contextmanager
def serve_ourselves(lab: Lab) -> Iterator[None]:
    sockets = [lab.socket("server", host, port) for host in SERVER for port in (PORT, OTHER_PORT)]
    with StunServer(sockets), StunServer([lab.socket("server", SERVER6, PORT)]):
        yield


@contextlib.contextmanager
def serve_plainly(lab: Lab) -> Iterator[None]:
    with StunServer([lab.socket("server", SERVER[0], PORT)]), StunServer([lab.socket("server", SERVER[1], PORT)]):
        yield


@contextlib.contextmanager
def serve_with_coturn(lab: Lab) -> Iterator[None]:
    program = shutil.which("turnserver")
    assert program is not None
    arguments = [program, "-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--log-file=stdout", "--simple-log"]
    arguments += [f"--listening-ip={host}" for host in (*SERVER, SERVER6)]
    arguments += [
        f"--listening-port={PORT}",
        f"--alt-listening-port={OTHER_PORT}",
        "--stun-only",
        "--pidfile=/dev/null",
    ]
    with served_by(lab, arguments):
        yield


SERVERS = [
    pytest.param(serve_ourselves, id="ours"),
    pytest.param(
        serve_with_coturn,
        id="coturn",
        marks=pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed"),
    ),
    pytest.param(serve_with_relay, id="relay"),
]


async def detect(servers: tuple[str, ...], **settings: object) -> NatTypeInfo:
    config = RatsConfig(listen_host="127.0.0.1", nat=NatTraversalConfig(stun_servers=servers, stun_timeout=3.0))
    async with RatsClient(0, config=config, identity=Identity.generate()) as client:
        info = await client.nat.detect(**settings)  # type: ignore[arg-type]
        assert await client.get_nat_characteristics() is info
        return info


def detect_behind(lab: Lab, servers: tuple[str, ...] = BOTH, **settings: object) -> NatTypeInfo:
    with lab.enter("host"):  # this thread stays there while the loop runs, and so do its sockets
        return asyncio.run(detect(servers, **settings))


def expected(name: str) -> dict[str, object]:
    told = promised(name)
    return told | {"address": told["NAT"]}


def detect_behind_new(name: str, serve: Serve, servers: tuple[str, ...] = BOTH) -> NatTypeInfo:
    with Lab(name) as lab, serve(lab):
        info = detect_behind(lab, servers)
    if TYPES[name].mapping == "ad" and info.mapping is MappingBehavior.ENDPOINT_INDEPENDENT:
        # Its port of each address is one of 2,048 by chance, and was the same for both servers: hardly twice in a row.
        with Lab(name) as lab, serve(lab):
            info = detect_behind(lab, servers)
    return info


def measured_as(name: str, serve: Serve) -> dict[str, object]:
    info = detect_behind_new(name, serve)
    is_nat_address = info.public_address is not None and info.public_address.host == PUBLIC
    return {
        "type": info.type,
        "mapping": info.mapping,
        "filtering": info.filtering,
        "ports": (info.port_allocation, info.port_step),
        "NAT": info.has_nat,
        "address": is_nat_address,
        "hairpin": info.hairpin,
        "problem": info.problem,
    }


ONE_AND_LONG_SERVERS = [
    pytest.param(*one.values, id=one.id, marks=[*one.marks, *([] if one.id == "ours" else [pytest.mark.long])])
    for one in SERVERS
]
"""One of them, and the others in the long tests."""


@pytest.mark.parametrize("serve", ONE_AND_LONG_SERVERS)
def test_every_type_is_told(serve: Serve) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:  # most of it is waiting for what never comes
        found = list(threads.map(lambda name: measured_as(name, serve), WORDS))
    assert dict(zip(WORDS, found, strict=True)) == {name: expected(name) for name in WORDS}


def test_every_type_is_looked_at() -> None:
    assert set(WORDS) | {"udp_blocked", "v6_only"} == set(TYPES)
    assert set(CHAINS) < set(WORDS)


def test_udp_that_is_blocked_is_told() -> None:
    with Lab("udp_blocked") as lab, serve_ourselves(lab):
        info = detect_behind(lab)
    assert (info.type, info.has_nat, info.public_address) == (NatType.BLOCKED, None, None)
    assert "no STUN server has answered" in info.problem


def test_a_host_without_ipv4_is_measured_over_ipv6() -> None:
    with Lab("v6_only") as lab, serve_ourselves(lab):
        info = detect_behind(lab)
    assert info.public_address is not None
    assert (info.public_address.host, info.has_nat) == (HOST6, False)


@pytest.mark.parametrize("name", ["port_restricted", "full_cone_random", "symmetric", "symmetric_seq", "symmetric_ad"])
def test_two_plain_servers_tell_mapping_but_not_filtering(name: str) -> None:
    info = detect_behind_new(name, serve_plainly, tuple(f"{host}:{PORT}" for host in SERVER))
    [nat] = chain_of(name)
    assert info.type is (NatType.CONE if nat.mapping == "ei" else NatType.SYMMETRIC)
    assert info.mapping == ("endpoint-independent" if nat.mapping == "ei" else "dependent")
    assert info.filtering == "unknown"
    assert info.port_allocation is PORTS[nat.ports]
    assert "second address" in info.problem


@pytest.mark.long
@pytest.mark.parametrize("serve", ONE_AND_LONG_SERVERS)
def test_the_lifetime_of_a_mapping_is_between_two_silences(serve: Serve) -> None:
    with Lab("port_restricted", lifetime=3) as lab, serve(lab):
        info = detect_behind(lab, lifetime=True, lifetime_waits=(1.0, 6.0))
    assert (info.mapping_lifetime, info.mapping_expired_after) == (1.0, 6.0)
