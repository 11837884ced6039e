"""The tables of a simulated router, one rule of RFC 4787 and RFC 5382 after the other."""

from __future__ import annotations

from typing import Any

import pytest

from librats.errors import ConfigError, UsageError
from librats.testing import RouterBehavior, Unsolicited
from librats.testing.behaviors import ROUTER_TYPES, behaviors_of
from librats.testing.entropy import SeededEntropy
from librats.testing.mappings import MappingTable
from librats.testing.packets import Packet, PacketKind
from librats.types import Address

PUBLIC = "203.0.113.1"
INNER, OTHER = Address("192.168.1.2", 5000), Address("192.168.1.3", 5000)
A1, A2, B1 = Address("198.51.100.1", 1), Address("198.51.100.1", 2), Address("198.51.100.2", 1)


class Router:
    """A table with a public address, and a clock."""

    def __init__(self, *, is_tcp: bool = False, **behavior: Any) -> None:
        self.table = MappingTable(RouterBehavior(**behavior), SeededEntropy(1), is_tcp=is_tcp)
        self.table.clear(PUBLIC)
        self.now = 0.0

    def out(self, remote: Address, inner: Address = INNER, kind: PacketKind = PacketKind.UDP) -> int | None:
        """Return from which public port something leaves."""
        mapping = self.table.outbound(Packet(kind, inner, remote), self.now)
        return None if mapping is None else mapping.outer.port

    def back(self, remote: Address, port: int | None, kind: PacketKind = PacketKind.UDP) -> Address | None:
        """Return whom something reaches that comes to a public port."""
        assert port is not None
        mapping = self.table.inbound(Packet(kind, remote, Address(PUBLIC, port)), self.now)
        return None if mapping is None else mapping.inner


EI, AD, APD = "endpoint-independent", "address-dependent", "address-and-port-dependent"


@pytest.mark.parametrize(("mapping", "ports"), [(EI, (0, 0, 0)), (AD, (0, 0, 1)), (APD, (0, 1, 2))])
@pytest.mark.parametrize("allocation", ["sequential", "random", "preserving"])
def test_mappings_depend_on_what_they_are_said_to(mapping: str, ports: tuple[int, ...], allocation: str) -> None:
    router = Router(mapping=mapping, ports=allocation)
    found = [router.out(remote) for remote in (A1, A2, B1)]
    assert [found.index(port) for port in found] == [ports.index(number) for number in ports]
    assert [router.out(remote) for remote in (A1, A2, B1)] == found


@pytest.mark.parametrize(
    ("filtering", "let_in"), [(EI, (True, True, True)), (AD, (True, True, False)), (APD, (True, False, False))]
)
@pytest.mark.parametrize("mapping", [EI, APD])
def test_filtering_depends_on_what_it_is_said_to(filtering: str, let_in: tuple[bool, ...], mapping: str) -> None:
    router = Router(mapping=mapping, filtering=filtering)
    port = router.out(A1)
    assert tuple(router.back(remote, port) == INNER for remote in (A1, A2, B1)) == let_in
    assert router.back(A1, 4999) is None


def test_a_port_is_preserved_where_it_is_free() -> None:
    router = Router()
    assert router.out(A1) == INNER.port
    second = router.out(A1, OTHER)
    assert second not in (None, INNER.port)
    assert (router.back(A1, INNER.port), router.back(A1, second)) == (INNER, OTHER)


def test_sequential_ports_follow_each_other() -> None:
    router = Router(mapping=APD, ports="sequential")
    found = [router.out(Address(A1.host, number)) for number in range(1, 6)]
    assert found == list(range(found[0] or 0, (found[0] or 0) + 5))


def test_random_ports_are_all_over_the_range() -> None:
    router = Router(mapping=APD, ports="random")
    found = [router.out(Address(A1.host, number)) or 0 for number in range(1, 200)]
    assert len(set(found)) == 199
    assert min(found) < 36_000
    assert max(found) > 54_000


def test_a_router_without_a_free_port_maps_nothing_more() -> None:
    router = Router(mapping=APD, ports="sequential")
    for number in range(1, 64_513):
        assert router.out(Address(f"198.51.{number >> 8}.{number & 255}", 9)) is not None
    assert router.out(B1) is None
    router.now = 121.0
    assert router.out(B1) is not None


def test_a_mapping_ends_when_it_carries_nothing() -> None:
    router = Router(ports="random", udp_timeout=60)
    port = router.out(A1)
    router.now = 59.0
    assert router.back(A1, port) == INNER
    router.now = 118.0
    assert router.back(A1, port) == INNER
    router.now = 178.0
    assert router.back(A1, port) is None
    assert router.out(A1) != port


def test_what_comes_in_keeps_a_mapping_only_where_it_may() -> None:
    router = Router(refreshed_from_outside=False, udp_timeout=60)
    port = router.out(A1)
    router.now = 59.0
    assert router.back(A1, port) == INNER
    router.now = 60.0
    assert router.back(A1, port) is None


def test_who_may_send_is_forgotten_though_the_mapping_stays() -> None:
    router = Router(udp_timeout=60)
    router.out(A1)
    for router.now in (30.0, 60.0, 90.0):
        port = router.out(B1)
        assert router.back(B1, port) == INNER
    assert router.back(A1, port) is None


def test_a_mapping_has_a_longest_life() -> None:
    router = Router(ports="random", udp_timeout=60, udp_lifetime=100)
    port = router.out(A1)
    for router.now in (40.0, 80.0, 99.0):
        assert router.out(A1) == port
    router.now = 100.0
    assert router.back(A1, port) is None
    assert router.out(A1) != port


def test_an_answer_to_a_stranger_leaves_the_way_he_came() -> None:
    router = Router(mapping=APD, filtering=EI, ports="random")
    port = router.out(A1)
    assert router.back(B1, port) == INNER
    assert router.out(B1) == port
    assert router.out(A2) != port


def test_an_early_punch_takes_the_port_where_the_router_takes_it_for_its_own() -> None:
    router = Router(unsolicited="own")
    port = router.out(A1)
    assert router.back(B1, port) is None
    router.table.take_for_own(Packet(PacketKind.UDP, B1, Address(PUBLIC, INNER.port)), router.now)
    moved = router.out(B1)
    assert moved != port
    assert router.out(B1) == moved
    assert (router.back(B1, moved), router.back(B1, port), router.back(A1, port)) == (INNER, None, INNER)
    assert router.back(A1, moved) is None
    assert router.out(A2) == port
    router.now = 31.0
    assert router.out(B1) == moved  # as long as it carries something
    router.now = 200.0
    assert router.out(B1) == port


def test_an_early_punch_takes_no_port_elsewhere() -> None:
    for behavior in (RouterBehavior(), RouterBehavior(unsolicited=Unsolicited.REFUSE)):
        table = MappingTable(behavior, SeededEntropy(1), is_tcp=False)
        table.clear(PUBLIC)
        table.take_for_own(Packet(PacketKind.UDP, B1, Address(PUBLIC, INNER.port)), 0.0)
        mapping = table.outbound(Packet(PacketKind.UDP, INNER, B1), 0.0)
        assert mapping is not None
        assert mapping.outer.port == INNER.port


def test_a_forwarded_port_lets_everybody_in_and_stays() -> None:
    router = Router(mapping=APD, ports="random", is_tcp=True)
    router.table.forward(80, Address(INNER.host, 8080))
    for router.now in (0.0, 1e6):
        assert router.back(B1, 80, PacketKind.SYN) == (INNER.host, 8080)
        assert router.out(B1, Address(INNER.host, 8080), PacketKind.SYN_ACK) == 80
    router.table.clear()
    assert router.back(B1, 80, PacketKind.SYN) == (INNER.host, 8080)
    router.table.clear("203.0.113.2")
    assert router.back(B1, 80, PacketKind.SYN) is None


def test_a_restart_forgets_mappings() -> None:
    router = Router()
    port = router.out(A1)
    router.table.clear()
    assert router.back(A1, port) is None
    assert len(router.table) == 0


def talk(router: Router, *packets: str) -> None:
    """Send packets of a connection: those with ``<`` come in."""
    for text in packets:
        kind = PacketKind(text.removeprefix("<"))
        if text.startswith("<"):
            assert router.back(A1, INNER.port, kind) == INNER
        else:
            assert router.out(A1, kind=kind) == INNER.port


@pytest.mark.parametrize(
    ("packets", "seconds"),
    [
        (("syn",), 240),
        (("syn", "<syn-ack"), 7440),
        (("syn", "<syn-ack", "ack", "<data"), 7440),
        (("syn", "<syn"), 7440),
        (("syn", "<syn-ack", "ack", "fin", "<ack"), 7440),
        (("syn", "<syn-ack", "ack", "fin", "<fin", "ack"), 240),
        (("syn", "<syn-ack", "ack", "<rst"), 240),
        (("syn", "<syn-ack", "ack", "rst"), 240),
        (("syn", "<rst", "syn", "<syn-ack"), 7440),
    ],
)
def test_connections_last_as_long_as_they_are_connections(packets: tuple[str, ...], seconds: float) -> None:
    router = Router(is_tcp=True)
    talk(router, *packets)
    router.now = seconds - 1
    assert len(router.table) == 1
    alive = router.table.inbound(Packet(PacketKind.RST, A1, Address(PUBLIC, INNER.port)), seconds - 1)
    assert alive is not None
    router = Router(is_tcp=True)
    talk(router, *packets)
    assert router.table.inbound(Packet(PacketKind.ACK, A1, Address(PUBLIC, INNER.port)), seconds) is None


def test_what_is_over_is_swept_out() -> None:
    router = Router(mapping=APD, ports="random", unsolicited="own")
    for number in range(5000):
        router.now = number * 0.5
        router.out(Address(A1.host, 1 + number))
        router.table.take_for_own(Packet(PacketKind.UDP, A1, Address(PUBLIC, 1 + number)), router.now)
    assert len(router.table) < 1100


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("mapping", "odd"), ("filtering", "unknown"), ("mapping", "dependent"), ("ports", None), ("ipv6", "some")),
        *(("udp_timeout", 0), ("tcp_lifetime", -1), ("tcp_ports", (0,)), ("unsolicited", "eat")),
    ],
)
def test_behaviors_that_make_no_sense_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        RouterBehavior(**{field: value})


def test_kinds_are_named_one_by_one_or_in_a_row() -> None:
    assert behaviors_of("restricted+cgnat") == (*ROUTER_TYPES["restricted"], *ROUTER_TYPES["cgnat"])
    own = RouterBehavior(hairpin=True)
    assert behaviors_of(own) == (own,)
    with pytest.raises(UsageError, match="no router is called 'magic'; there is open, firewall"):
        behaviors_of("open+magic")
