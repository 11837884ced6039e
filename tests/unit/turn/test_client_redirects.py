"""300 Try Alternate: followed, but not in circles and not into private networks."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reference.turn_run import SERVER, TurnRun
from tests.reference.turn_server import ReferenceServer

from librats._core.stun import StunMessage, parse, serialise
from librats.errors import TurnError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.turn.allocation_events import TurnAllocated, TurnLost
from librats.turn.client_auth import Login
from librats.turn.client_events import AllocationFailed, ConnectWanted
from librats.turn.client_redirects import MAX_REDIRECTS, Redirects
from librats.types import Address

BOB = Login("bob", "secret")
OTHER = Address("198.51.100.2", 3478)


def answer(*attributes: tuple[int, Any]) -> StunMessage:
    error = (Attribute.ERROR_CODE, (300, "Try Alternate"))
    return parse(serialise(Method.ALLOCATE, MessageClass.ERROR_RESPONSE, b"twelve bytes", [error, *attributes]))


def naming(host: str, port: int = 3478) -> StunMessage:
    return answer((Attribute.ALTERNATE_SERVER, (host, port)))


def redirecting(to: Address, domain: str = "") -> ReferenceServer:
    server = ReferenceServer({"bob": "secret"})
    attributes: list[tuple[int, Any]] = [(Attribute.ALTERNATE_SERVER, to)]
    if domain:
        attributes.append((Attribute.ALTERNATE_DOMAIN, domain))
    server.fault = lambda method, _: (300, attributes) if method == Method.ALLOCATE else None
    return server


def test_the_other_server_is_used_with_the_same_login() -> None:
    run = TurnRun(redirecting(OTHER, "turn.example.org"), login=BOB, start=False)
    run.servers[OTHER] = ReferenceServer({"bob": "secret"}, modern=True)
    run.client.start()
    run.run(2.0)
    assert run.of(TurnAllocated)
    assert [(event.server, event.domain) for event in run.of(ConnectWanted)] == [
        (None, ""),
        (OTHER, "turn.example.org"),
    ]
    assert run.servers[OTHER].methods() == [Method.ALLOCATE, Method.ALLOCATE]
    assert run.servers[OTHER].requests[0][1].integrity_type is None  # nothing signed for somebody else's realm


def test_after_the_other_server_was_lost_the_first_one_is_asked_again() -> None:
    run = TurnRun(redirecting(OTHER), login=BOB, start=False, keep_alive=15.0)
    run.servers[OTHER] = ReferenceServer({"bob": "secret"})
    run.client.start()
    run.run(2.0)
    run.servers.pop(OTHER)
    run.server.fault = lambda *_: None
    run.run(120.0)
    assert run.of(TurnLost)
    assert run.of(TurnAllocated)[-1].again


def test_a_server_whose_address_a_proxy_alone_knows_counts_as_a_public_one() -> None:
    unknown = Address("turn.example.org", 443)
    assert Redirects().follow(unknown, naming("8.8.8.8"))[0] == Address("8.8.8.8", 3478)
    for private in ("192.168.1.7", "127.0.0.1", "10.0.0.1"):
        with pytest.raises(TurnError, match="no business"):
            Redirects().follow(unknown, naming(private))


def test_servers_that_name_each_other_end_in_an_error() -> None:
    run = TurnRun(redirecting(OTHER), login=BOB, start=False)
    run.servers[OTHER] = redirecting(SERVER)
    run.client.start()
    run.run(10.0)
    [failed] = run.of(AllocationFailed)
    assert "asked before" in str(failed.error)
    assert len(run.of(ConnectWanted)) == 2


def test_a_long_chain_of_servers_ends() -> None:
    chain = Redirects()
    here = SERVER
    for number in range(MAX_REDIRECTS):
        here, _ = chain.follow(here, naming(f"198.51.100.{number + 10}"))
    with pytest.raises(TurnError, match="in a row"):
        chain.follow(here, naming("198.51.100.99"))
    chain.arrived()
    assert chain.follow(here, naming("198.51.100.99"))


PUBLIC, PRIVATE, LOOPBACK = Address("8.8.8.8", 3478), Address("10.0.0.1", 3478), Address("127.0.0.1", 3478)


@pytest.mark.parametrize("here", [PUBLIC, PRIVATE, LOOPBACK], ids=str)
@pytest.mark.parametrize(
    ("host", "allowed_from"),
    [
        ("9.9.9.9", {PUBLIC, PRIVATE, LOOPBACK}),
        ("192.168.1.1", {PRIVATE, LOOPBACK}),
        ("100.64.0.1", {PRIVATE, LOOPBACK}),
        ("127.0.0.2", {LOOPBACK}),
        ("169.254.169.254", set()),
        ("0.0.0.0", set()),  # noqa: S104
        ("224.0.0.1", set()),
        ("2001:db8::1", set()),  # another family
    ],
)
def test_nobody_leads_into_a_network_of_less_reach(here: Address, host: str, allowed_from: set[Address]) -> None:
    if here in allowed_from:
        assert Redirects().follow(here, naming(host)) == (Address(host, 3478), "")
    else:
        with pytest.raises(TurnError) as caught:
            Redirects().follow(here, naming(host))
        assert caught.value.code == 300


@pytest.mark.parametrize("here", ["2606:4700::1", "fd00::1"])
def test_an_ipv4_address_in_ipv6_clothes_is_seen_through(here: str) -> None:
    with pytest.raises(TurnError, match="no business"):
        Redirects().follow(Address(here, 3478), naming("::ffff:127.0.0.1"))


def test_port_0_is_nobody() -> None:
    with pytest.raises(TurnError):
        Redirects().follow(SERVER, naming("198.51.100.2", 0))


def test_a_redirection_to_nowhere_is_an_error() -> None:
    with pytest.raises(TurnError, match="does not say which"):
        Redirects().follow(SERVER, answer())
