"""Announced peers and the filters that count them: the vectors of BEP 33, limits, and what is forgotten."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from tests.unit.dht.test_tokens import SeededEntropy

from librats.dht.peer_store import PeerStore
from librats.dht.scrape import estimate, scrape_filter, together
from librats.errors import UsageError

HASH = b"h" * 20


def at(host: int, port: int = 6881) -> bytes:
    return (0xC0000000 + host).to_bytes(4) + port.to_bytes(2)


def hosts_of(case: dict[str, Any]) -> list[bytes]:
    hosts = [ipaddress.ip_address(host) for host in case.get("ips", ())]
    for first, last in case.get("ranges", ()):
        low = ipaddress.ip_address(first)
        hosts += [low + offset for offset in range(int(ipaddress.ip_address(last)) - int(low) + 1)]
    return [host.packed for host in hosts]


@pytest.mark.vectors("dht/bep33_bloom")
def test_the_filter_of_addresses_is_that_of_the_bep(case: dict[str, Any]) -> None:
    hosts = hosts_of(case)
    bloom = scrape_filter(hosts)
    assert bloom.hex() == case["filter"]
    assert estimate(bloom) == pytest.approx(case["estimate"], abs=1e-3)
    assert together([scrape_filter(hosts[::2]), scrape_filter(hosts[1::2])]) == bloom


def test_no_filter_and_a_full_one_are_estimated() -> None:
    assert estimate(together([])) == 0
    assert 5000 < estimate(b"\xff" * 256) < 8000
    for call in (estimate, lambda bloom: together([bloom])):
        with pytest.raises(UsageError, match="256"):
            call(bytes(255))


def test_peers_are_told_for_half_an_hour_after_they_announced_themselves() -> None:
    store = PeerStore(SeededEntropy(1))
    store.announce(HASH, at(1), now=0.0)
    store.announce(HASH, at(2), now=100.0)
    store.announce(HASH, at(1), now=200.0)
    assert sorted(store.peers(HASH, now=1899.0)) == [at(1), at(2)]
    assert store.peers(HASH, now=1900.0) == [at(1)]
    assert store.peers(HASH, now=2000.0) == []
    assert len(store) == 0


def test_a_network_has_eight_places() -> None:
    store = PeerStore(SeededEntropy(1))
    store.announce(HASH, at(2), now=0.0)
    for port in range(1, 100):
        store.announce(HASH, at(1, port), now=0.0)
    assert store.peers(HASH, now=0.0) == [at(2), *(at(1, port) for port in range(92, 100))]
    six = [bytes(8) + number.to_bytes(8) + b"\x1a\xe1" for number in range(2, 40)]
    for address in six:
        store.announce(HASH, address, now=0.0)
    assert store.peers(HASH, now=0.0, host_size=16) == six[-8:]


def test_on_the_host_itself_there_may_be_many_peers() -> None:
    store = PeerStore(SeededEntropy(1))
    peers = [bytes([127, 0, 0, 1]) + port.to_bytes(2) for port in range(1, 51)]
    for address in peers:
        store.announce(HASH, address, now=0.0)
    assert store.peers(HASH, now=0.0) == peers


def test_families_and_seeds_are_told_apart() -> None:
    store = PeerStore(SeededEntropy(1))
    six = bytes(15) + b"\1\x1a\xe1"
    six_seed = bytes(15) + b"\2\x1a\xe1"
    store.announce(HASH, at(1), now=0.0)
    store.announce(HASH, six, now=0.0)
    store.announce(HASH, six_seed, now=0.0, is_seed=True)
    assert store.peers(HASH, now=0.0) == [at(1)]
    assert store.peers(HASH, now=0.0, host_size=16) == [six, six_seed]
    assert store.peers(HASH, now=0.0, host_size=16, without_seeds=True) == [six]
    assert store.scrape(HASH, now=0.0) == (scrape_filter([six_seed[:16]]), scrape_filter([at(1)[:4], six[:16]]))
    assert store.scrape(HASH, now=9999.0) == (bytes(256), bytes(256))


def test_of_many_peers_others_are_told_each_time() -> None:
    store = PeerStore(SeededEntropy(1))
    for host in range(200):
        store.announce(HASH, at(host), now=0.0)
    answers = [store.peers(HASH, now=0.0, count=50) for _ in range(30)]
    assert {len(set(answer)) for answer in answers} == {50}
    assert len(set().union(*answers)) == 200


def test_the_oldest_makes_room() -> None:
    store = PeerStore(SeededEntropy(1), max_hashes=2, max_peers=3)
    for host in (1, 2, 3, 1, 4):
        store.announce(HASH, at(host), now=0.0)
    assert store.peers(HASH, now=0.0) == [at(3), at(1), at(4)]
    for other in (b"i", b"j"):
        store.announce(other * 20, at(1), now=0.0)
    assert (len(store), store.peers(HASH, now=0.0)) == (2, [])
    for limits in ({"max_hashes": 0}, {"max_peers": 0}):
        with pytest.raises(UsageError):
            PeerStore(SeededEntropy(1), **limits)


def test_samples_are_of_the_hashes_and_expired_ones_go() -> None:
    store = PeerStore(SeededEntropy(1))
    hashes = [bytes([number]) * 20 for number in range(30)]
    for number, info_hash in enumerate(hashes):
        store.announce(info_hash, at(1), now=float(number))
    assert set(store.sample(30)) == set(hashes)
    assert len(set(store.sample(10))) == 10
    assert set().union(*(store.sample(10) for _ in range(50))) == set(hashes)
    store.expire(now=1800.0 + 9)
    assert set(store.sample(30)) == set(hashes[10:])
