"""How often a local network is told of torrents, and how much is taken from there (BEP 14)."""

from __future__ import annotations

from itertools import pairwise

from librats.bittorrent.candidates import MAX_CANDIDATES, MAX_LOCAL, Candidates
from librats.bittorrent.local_discovery import MAX_ANNOUNCED, LocalAnnouncement
from librats.bittorrent.local_pacing import INTERVAL, MAX_HOSTS, MAX_TAKEN, PACKET_INTERVAL, LocalPacing
from librats.types import Address

A, B, C = (letter * 20 for letter in (b"a", b"b", b"c"))


def told_by(*info_hashes: bytes, cookie: str = "theirs", port: int = 1) -> LocalAnnouncement:
    return LocalAnnouncement(port=port, info_hashes=info_hashes, cookie=cookie)


def test_a_torrent_is_told_of_at_once_and_then_every_five_minutes() -> None:
    pacing = LocalPacing("ours")
    times = [now for now in range(1000) if pacing.take_due({A}, float(now))]
    assert times == [0, 300, 600, 900]


def test_torrents_that_come_together_share_a_datagram() -> None:
    assert set(LocalPacing("ours").take_due({A, B}, 0.0)) == {A, B}


def test_one_that_comes_later_waits_until_a_minute_has_passed() -> None:
    pacing = LocalPacing("ours")
    assert pacing.take_due({A}, 0.0) == (A,)
    assert pacing.take_due({A, B}, 59.0) == ()
    assert pacing.take_due({A, B}, 60.0) == (B,)


def test_a_thousand_torrents_have_their_turn_one_datagram_a_minute() -> None:
    active = [number.to_bytes(20) for number in range(1000)]
    pacing = LocalPacing("ours")
    told: dict[bytes, list[int]] = {one: [] for one in active}
    packets = []
    for now in range(0, 6000, 5):
        taken = pacing.take_due(active, float(now))
        assert len(taken) <= MAX_ANNOUNCED
        packets += [now] * bool(taken)
        for one in taken:
            told[one].append(now)
    assert all(later - earlier >= PACKET_INTERVAL for earlier, later in pairwise(packets))
    assert all(later - earlier >= INTERVAL for times in told.values() for earlier, later in pairwise(times))
    assert {len(times) for times in told.values()} == {2, 3}  # nobody is passed over


def test_one_that_pauses_and_goes_on_is_told_of_no_sooner() -> None:
    pacing = LocalPacing("ours")
    pacing.take_due({A}, 0.0)
    assert pacing.take_due(set(), 100.0) == ()
    assert pacing.take_due({A}, 200.0) == ()
    assert pacing.take_due({A}, 300.0) == (A,)


def test_what_did_not_go_is_due_with_the_next_datagram() -> None:
    pacing = LocalPacing("ours")
    pacing.put_back(pacing.take_due({A}, 0.0))
    assert pacing.take_due({A}, 59.0) == ()
    assert pacing.take_due({A}, 60.0) == (A,)


def test_nothing_is_kept_of_torrents_that_are_long_gone() -> None:
    pacing = LocalPacing("ours")
    for number in range(2000):
        pacing.take_due({number.to_bytes(20)}, 60.0 * number)
    assert len(pacing._told) <= INTERVAL / PACKET_INTERVAL + 1


def test_only_torrents_of_ours_are_taken() -> None:
    assert LocalPacing("ours").take(told_by(B, A, C), "192.0.2.1", {A, C}, 0.0) == (A, C)


def test_our_own_announcement_is_passed_over() -> None:
    assert LocalPacing("ours").take(told_by(A, cookie="ours"), "192.0.2.1", {A}, 0.0) == ()


def test_an_announcement_without_a_cookie_is_taken() -> None:
    assert LocalPacing("ours").take(told_by(A, cookie=""), "192.0.2.1", {A}, 0.0) == (A,)


def test_a_host_that_tells_of_very_many_is_heard_again_a_minute_later() -> None:
    pacing = LocalPacing("ours")
    taken = [pacing.take(told_by(A, B, port=port), "192.0.2.1", {A, B}, 1.0) for port in range(1, 200)]
    assert sum(map(len, taken)) == MAX_TAKEN
    assert pacing.take(told_by(A), "192.0.2.1", {A}, 60.9) == ()
    assert pacing.take(told_by(A), "192.0.2.2", {A}, 60.9) == (A,)
    assert pacing.take(told_by(A), "192.0.2.1", {A}, 61.0) == (A,)


def test_what_is_not_ours_costs_a_host_nothing() -> None:
    pacing = LocalPacing("ours")
    for _ in range(1000):
        pacing.take(told_by(B), "192.0.2.1", {A}, 0.0)
    assert pacing.take(told_by(A), "192.0.2.1", {A}, 0.0) == (A,)


def test_a_flood_of_hosts_is_not_kept() -> None:
    pacing = LocalPacing("ours")
    taken = [pacing.take(told_by(A), f"host {number}", {A}, 0.0) for number in range(10_000)]
    assert sum(map(len, taken)) == len(pacing._taken) == MAX_HOSTS
    assert pacing.take(told_by(A), "another host", {A}, 60.0) == (A,)
    assert len(pacing._taken) == 1


# What a torrent keeps of it


def local(number: int) -> Address:
    return Address(f"192.168.{number // 250}.{number % 250 + 1}", 6881)


def test_an_address_of_the_local_network_is_dialled() -> None:
    candidates = Candidates()
    assert candidates.add_local(local(1), 0.0)
    assert not candidates.add_local(local(1), 0.0)
    assert candidates.take(0.0) == local(1)


def test_addresses_of_the_local_network_do_not_displace_those_of_others() -> None:
    candidates = Candidates()
    assert sum(candidates.add_local(local(number), 0.0) for number in range(5000)) == MAX_LOCAL
    assert candidates.add([Address("198.51.100.7", number) for number in range(1, 5000)], 0.0) > MAX_CANDIDATES / 2


def test_one_that_was_connected_makes_room_for_another() -> None:
    candidates = Candidates()
    for number in range(MAX_LOCAL):
        candidates.add_local(local(number), 0.0)
    assert not candidates.add_local(local(1000), 0.0)
    taken = candidates.take(0.0)
    assert taken is not None
    candidates.lose(taken, 0.0)
    assert candidates.add_local(local(1000), 0.0)


def test_one_that_is_never_there_makes_room_in_the_end() -> None:
    candidates = Candidates()
    for number in range(MAX_LOCAL):
        candidates.add_local(local(number), 0.0)
    now = 0.0
    for _ in range(6):
        while (address := candidates.take(now)) is not None:
            candidates.fail(address, now)
        now += 10_000.0
    assert candidates.add_local(local(1000), now)


def test_a_banned_host_is_not_dialled_though_it_tells_of_itself() -> None:
    candidates = Candidates()
    candidates.ban(local(1))
    assert not candidates.add_local(local(1), 0.0)
