"""The port that peers are told, of those that gateways have made of the one that is listened on."""

from __future__ import annotations

from librats.services.torrenting.outside import reached_at
from librats.types import Address, MappedTransport, PortMapping, PortMappingProtocol

TCP, UDP = MappedTransport.TCP, MappedTransport.UDP


def mapping(transport: MappedTransport, external: str, *, is_public: bool = True) -> PortMapping:
    outside = Address.parse(external)
    return PortMapping(
        transport=transport,
        internal=Address("fd00::11" if ":" in outside.host else "192.168.1.11", 6881),
        external=outside,
        protocol=PortMappingProtocol.PCP,
        gateway="192.168.1.1",
        lifetime=7200.0,
        is_public=is_public,
    )


def test_without_a_mapping_it_is_the_one_that_is_listened_on() -> None:
    assert reached_at(6881, []) == (6881, 6881)


def test_with_a_mapping_it_is_the_one_outside() -> None:
    assert reached_at(6881, [mapping(TCP, "11.0.0.1:40000"), mapping(UDP, "11.0.0.1:40000")]) == (40000, 6881)


def test_each_address_family_has_its_own() -> None:
    found = [mapping(TCP, "11.0.0.1:40000"), mapping(TCP, "[2600::1]:6882")]
    assert reached_at(6881, found) == (40000, 6882)
    assert reached_at(6881, found[::-1]) == (40000, 6882)


def test_of_two_numbers_that_of_tcp_is_told() -> None:
    found = [mapping(UDP, "11.0.0.1:50000"), mapping(TCP, "11.0.0.1:40000")]
    assert reached_at(6881, found).ipv4 == 40000
    assert reached_at(6881, found[::-1]).ipv4 == 40000


def test_that_of_udp_is_told_where_there_is_no_other() -> None:
    assert reached_at(6881, [mapping(UDP, "11.0.0.1:50000")]).ipv4 == 50000


def test_a_mapping_that_ends_at_another_nat_is_told_where_there_is_no_better_one() -> None:
    inner = mapping(TCP, "100.64.0.7:40000", is_public=False)
    assert reached_at(6881, [inner]).ipv4 == 40000
    assert reached_at(6881, [inner, mapping(UDP, "11.0.0.1:50000")]).ipv4 == 50000


def test_of_two_gateways_the_first_is_told() -> None:
    assert reached_at(6881, [mapping(TCP, "11.0.0.1:40000"), mapping(TCP, "11.0.0.2:50000")]).ipv4 == 40000
