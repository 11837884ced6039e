from __future__ import annotations

import itertools

import pytest
from tests.unit.stun.scripted import A1, A2, FOUR, PRIVATE, PUBLIC, Nat, SeededEntropy, World

from librats.stun.behaviour import BehaviourDiscovery, pace_within, usable_other
from librats.stun.client import Answered
from librats.types import Address, FilteringBehavior, MappingBehavior, NatType, NatTypeInfo, PortAllocation

PLAIN = ([(A1, 3478)], [(A2, 3478)])
NAMES = {"ei": "endpoint-independent", "ad": "address-dependent", "apd": "address-and-port-dependent"}


def discover(world: World, *, local: str = PRIVATE, servers: list[Address] | None = None) -> NatTypeInfo:
    first = [Address(*endpoints[0]) for endpoints in world.servers]
    machine = BehaviourDiscovery(
        first if servers is None else servers,
        local_ports=world.local_ports,
        local_hosts=[local],
        entropy=SeededEntropy(),
        now=world.now,
    )
    world.run(machine, until=lambda: machine.result is not None)
    assert machine.result is not None
    assert machine.next_timer() is None
    return machine.result


@pytest.mark.parametrize(("mapping", "filtering"), [*itertools.product(NAMES, NAMES)])
@pytest.mark.parametrize("ports", ["preserve", "random", "sequential"])
def test_mapping_and_filtering_are_told_independently(mapping: str, filtering: str, ports: str) -> None:
    info = discover(World(Nat(mapping, filtering, ports)))
    assert (info.mapping, info.filtering) == (NAMES[mapping], NAMES[filtering])
    assert (info.has_nat, info.problem) == (True, "")
    assert info.public_address is not None
    assert info.public_address.host == PUBLIC


@pytest.mark.parametrize(
    ("ports", "kind", "step"),
    [
        ("preserve", PortAllocation.PRESERVING, None),
        ("random", PortAllocation.RANDOM, None),
        ("sequential", PortAllocation.SEQUENTIAL, 1),
    ],
)
def test_how_ports_are_chosen_is_told(ports: str, kind: PortAllocation, step: int | None) -> None:
    info = discover(World(Nat("apd", "apd", ports)))
    assert (info.port_allocation, info.port_step) == (kind, step)
    assert info.preserves_port is (kind is PortAllocation.PRESERVING)


@pytest.mark.parametrize("hairpin", [True, False])
@pytest.mark.parametrize("filtering", NAMES)
def test_hairpinning_is_told_whatever_is_filtered(hairpin: bool, filtering: str) -> None:
    assert discover(World(Nat("ei", filtering, hairpin=hairpin))).hairpin is hairpin


@pytest.mark.parametrize(("filtering", "word"), [("ei", NatType.OPEN_INTERNET), ("apd", NatType.FIREWALL)])
def test_a_host_without_nat_is_open_or_behind_a_firewall(filtering: str, word: NatType) -> None:
    info = discover(World(Nat("ei", filtering)), local=PUBLIC)
    assert (info.type, info.has_nat, info.hairpin) == (word, False, None)
    assert info.mapping is MappingBehavior.ENDPOINT_INDEPENDENT


def test_silence_everywhere_is_blocked_within_the_timeout() -> None:
    world = World(servers=PLAIN, dead=[(A1, 3478), (A2, 3478)])
    info = discover(world)
    assert (info.type, info.has_nat) == (NatType.BLOCKED, None)
    assert info.duration == pytest.approx(5.0)


def test_dead_servers_delay_nothing() -> None:
    alone = discover(World(Nat("ei", "ei", hairpin=True)))
    world = World(Nat("ei", "ei", hairpin=True), servers=([("192.0.2.1", 1)], FOUR), dead=[("192.0.2.1", 1)])
    info = discover(world)
    assert info.duration == alone.duration < 0.2
    assert info.server == Address(*FOUR[0])


@pytest.mark.parametrize(
    ("mapping", "told"), [("ei", "endpoint-independent"), ("ad", "dependent"), ("apd", "dependent")]
)
def test_two_plain_servers_are_compared(mapping: str, told: str) -> None:
    info = discover(World(Nat(mapping, "apd", "random"), servers=PLAIN))
    assert (info.mapping, info.filtering) == (told, FilteringBehavior.UNKNOWN)
    assert info.type is (NatType.CONE if mapping == "ei" else NatType.SYMMETRIC)
    assert info.port_allocation is PortAllocation.RANDOM
    assert "second address" in info.problem


def test_one_plain_server_tells_that_there_is_a_nat_and_no_more() -> None:
    info = discover(World(servers=PLAIN, dead=[(A2, 3478)]))
    assert (info.type, info.has_nat) == (NatType.UNKNOWN, True)
    assert (info.mapping, info.filtering) == (MappingBehavior.UNKNOWN, FilteringBehavior.UNKNOWN)
    assert 3.0 < info.duration < 5.0  # the second one was waited for, though not to the end
    assert "only one" in info.problem


def test_a_server_with_two_addresses_is_preferred_to_an_earlier_plain_one() -> None:
    info = discover(World(servers=(PLAIN[0], [(A2, 1), (A2, 2), ("192.0.2.9", 1), ("192.0.2.9", 2)])))
    assert (info.server, info.filtering) == (Address(A2, 1), "address-and-port-dependent")


def test_a_server_that_does_not_heed_change_request_tells_nothing_of_filtering() -> None:
    info = discover(World(Nat("ei", "ei"), heeds_change=0))
    assert (info.mapping, info.filtering) == ("endpoint-independent", "unknown")
    assert info.problem


def test_a_server_that_heeds_half_of_change_request_tells_nothing_of_filtering() -> None:
    assert discover(World(Nat("ei", "apd"), heeds_change=4)).filtering is FilteringBehavior.UNKNOWN


def test_a_server_that_refuses_change_request_tells_nothing_of_filtering() -> None:
    info = discover(World(Nat("ei", "apd"), heeds_change=None))
    assert (info.mapping, info.filtering) == ("endpoint-independent", "unknown")


def test_who_can_send_from_another_host_need_not_be_asked_for_another_port() -> None:
    info = discover(World(Nat("ei", "ei", hairpin=True), dead=[FOUR[1]]))
    assert info.filtering is FilteringBehavior.ENDPOINT_INDEPENDENT
    assert info.duration < 0.2


def test_silence_from_a_second_address_that_is_dead_is_no_filter() -> None:
    info = discover(World(Nat("ei", "ei"), dead=FOUR[2:]))
    assert info.filtering is FilteringBehavior.UNKNOWN
    assert "does not answer" in info.problem


def test_the_socket_of_the_filtering_tests_sends_to_the_first_address_only() -> None:
    world = World()
    discover(world)
    assert {to for _, socket, _, to in world.sent if socket == 1} == {Address(*FOUR[0])}
    assert {socket for _, socket, data, _ in world.sent if len(data) > 20} == {1}


@pytest.mark.parametrize(
    ("server", "other", "usable"),
    [
        ("198.51.100.1", "203.0.113.1", True),
        ("8.8.8.8", "9.9.9.9", True),
        ("8.8.8.8", "192.168.1.1", False),
        ("8.8.8.8", "127.0.0.1", False),
        ("8.8.8.8", "169.254.169.254", False),
        ("8.8.8.8", "224.0.0.1", False),
        ("8.8.8.8", "0.0.0.0", False),  # noqa: S104 - what a server may say
        ("192.168.1.1", "255.255.255.255", False),
        ("8.8.8.8", "8.8.8.8", False),
        ("8.8.8.8", "2001:4860::1", False),
        ("2001:4860::1", "2001:4860::2", True),
        ("2001:4860::1", "fd00::1", False),
        ("2001:4860::1", "::ffff:127.0.0.1", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("192.168.1.1", "192.168.1.2", True),
    ],
)
def test_a_second_address_must_not_lead_inwards(server: str, other: str, usable: bool) -> None:
    answered = Answered(
        transaction_id=bytes(12),
        server=Address(server, 3478),
        source=Address(server, 3478),
        socket=0,
        mapped=Address(PUBLIC, 1),
        other=Address(other, 3479),
        rtt=None,
    )
    assert (usable_other(answered) is not None) is usable


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0, 5.0, 60.0])
def test_asking_ends_when_it_is_to_end(seconds: float) -> None:
    pace = pace_within(seconds)
    assert pace.duration == pytest.approx(seconds)
    assert 1 <= pace.rc <= 7
