from __future__ import annotations

from typing import Any

import pytest

from librats.ice.bases import Base, LocalCandidates
from librats.ice.candidates import CandidateType, IceCandidate, TcpType
from librats.ice.check_list import CheckList
from librats.ice.events import IceRole
from librats.ice.pairs import CandidatePair, PairState, destination_of, may_pair
from librats.types import Address

NETS = {4: "192.0.2.{}", 6: "2001:db8::{}"}
ROLE = IceRole.CONTROLLING


def candidate(kind: str, priority: int, family: int, number: int, foundation: str = "", **fields: Any) -> IceCandidate:
    return IceCandidate(
        foundation=foundation or str(number),
        priority=priority,
        address=Address(NETS[family].format(number), 5000),
        type=CandidateType(kind),
        **fields,
    )


def bases_of(case: dict[str, Any]) -> dict[str, Base]:
    return {
        each["name"]: Base(number, candidate(each["type"], each["priority"], each["family"], number + 1), 65535)
        for number, each in enumerate(case["local"])
    }


@pytest.mark.vectors("ice/check_list_order")
def test_pairs_are_made_and_ordered_as_the_standard_has_it(case: dict[str, Any]) -> None:
    role = IceRole.CONTROLLING if case["local_is_controlling"] else IceRole.CONTROLLED
    pairs = CheckList(100)
    names = {}
    for name, base in bases_of(case).items():
        for number, each in enumerate(case["remote"]):
            remote = candidate(each["type"], each["priority"], each["family"], number + 100)
            if may_pair(base, remote):
                pair = CandidatePair(base, remote, remote.address)
                assert pairs.add(pair, role=role)
                names[pair.key] = [name, each["name"]]
    found = [[*names[pair.key], str(pair.priority)] for pair in pairs]
    key = lambda entry: (-int(entry[2]), entry)  # noqa: E731 - of equal priorities any may be first
    assert sorted(found, key=key) == sorted(case["order"], key=key)


def listed(*remotes: IceCandidate, limit: int = 100) -> tuple[CheckList, list[CandidatePair]]:
    base = Base(0, candidate("host", 2130706431, 4, 1), 65535)
    pairs = CheckList(limit)
    made = [CandidatePair(base, remote, remote.address) for remote in remotes]
    for pair in made:
        pairs.add(pair, role=ROLE)
    return pairs, made


def test_one_pair_of_each_foundation_waits_and_the_others_are_frozen() -> None:
    pairs, made = listed(
        candidate("host", 100, 4, 2, "a"), candidate("host", 200, 4, 3, "a"), candidate("host", 50, 4, 4, "b")
    )
    assert [pair.state for pair in made] == [PairState.FROZEN, PairState.WAITING, PairState.WAITING]
    assert pairs.next_ordinary() is made[1]
    made[1].state = PairState.IN_PROGRESS
    assert pairs.next_ordinary() is made[2]
    made[2].state = PairState.FAILED
    assert pairs.next_ordinary() is None
    made[1].state = PairState.FAILED
    assert pairs.next_ordinary() is made[0]


def test_success_thaws_what_is_alike_and_what_comes_later() -> None:
    pairs, made = listed(candidate("host", 200, 4, 2, "a"), candidate("host", 100, 4, 3, "a"))
    made[0].state = PairState.SUCCEEDED
    pairs.thaw(made[0].foundation)
    assert made[1].state is PairState.WAITING
    remote = candidate("host", 10, 4, 4, "a")
    late = CandidatePair(made[0].base, remote, remote.address)
    pairs.add(late, role=ROLE)
    assert late.state is PairState.WAITING


def test_a_pair_of_the_same_ends_is_not_added_again() -> None:
    pairs, made = listed(candidate("host", 200, 4, 2))
    again = CandidatePair(made[0].base, candidate("srflx", 300, 4, 2), made[0].destination)
    assert not pairs.add(again, role=ROLE)
    assert len(pairs) == 1


def test_the_best_pairs_stay_where_there_are_too_many() -> None:
    pairs, made = listed(*(candidate("host", priority, 4, priority) for priority in (10, 30, 20, 5)), limit=2)
    assert list(pairs) == [made[1], made[2]]
    assert pairs.left_out == 2


def test_what_works_makes_no_room() -> None:
    pairs, made = listed(candidate("host", 10, 4, 2), candidate("host", 20, 4, 3), limit=2)
    made[0].state = PairState.SUCCEEDED
    made[1].transaction = b"on its way"
    better = candidate("host", 100, 4, 4)
    assert not pairs.add(CandidatePair(made[0].base, better, better.address), role=ROLE)


def test_triggered_checks_come_in_the_order_of_the_peers() -> None:
    pairs, made = listed(candidate("host", 10, 4, 2), candidate("host", 20, 4, 3))
    pairs.trigger(made[0])
    pairs.trigger(made[1])
    pairs.trigger(made[0])
    assert [pairs.next_triggered() for _ in range(3)] == [made[0], made[1], None]


def test_a_pair_that_works_by_then_is_not_checked_for_the_peer() -> None:
    pairs, made = listed(candidate("host", 10, 4, 2))
    pairs.trigger(made[0])
    made[0].state = PairState.SUCCEEDED
    assert pairs.next_triggered() is None


def test_unlikely_pairs_are_checked_last() -> None:
    pairs, made = listed(candidate("host", 30, 4, 2), candidate("srflx", 20, 4, 3))
    made[0].is_unlikely = True
    assert pairs.next_ordinary() is made[1]


@pytest.mark.parametrize(
    ("local", "remote", "pairs"),
    [
        (None, None, True),
        (None, TcpType.ACTIVE, False),
        (TcpType.ACTIVE, TcpType.PASSIVE, True),
        (TcpType.ACTIVE, TcpType.ACTIVE, False),
        (TcpType.ACTIVE, TcpType.SIMULTANEOUS, False),
        (TcpType.SIMULTANEOUS, TcpType.SIMULTANEOUS, True),
        (TcpType.PASSIVE, TcpType.ACTIVE, False),
    ],
)
def test_tcp_candidates_are_paired_by_who_connects(local: TcpType | None, remote: TcpType | None, pairs: bool) -> None:
    def of(kind: TcpType | None, number: int) -> IceCandidate:
        return candidate("host", 10, 4, number, transport="udp" if kind is None else "tcp", tcp_type=kind)

    assert may_pair(Base(0, of(local, 1), 65535), of(remote, 2)) is pairs


def test_another_component_makes_no_pair() -> None:
    base = Base(0, candidate("host", 10, 4, 1), 65535)
    assert not may_pair(base, candidate("host", 10, 4, 2, component=2))


def test_link_local_addresses_go_together_and_have_our_zone() -> None:
    local = LocalCandidates().add_hosts([Address("fe80::1%eth0", 5000)])
    remote = IceCandidate(foundation="1", priority=1, address=Address("fe80::2", 5001), type=CandidateType.HOST)
    assert may_pair(local, remote)
    assert destination_of(local, remote) == Address("fe80::2%eth0", 5001)
    assert not may_pair(local, candidate("host", 10, 6, 2))


def test_bases_come_in_the_order_of_their_preference() -> None:
    candidates = LocalCandidates()
    bases = [candidates.add_hosts([Address(host, 5000)]) for host in ("192.0.2.1", "2001:db8::1", "10.0.0.1")]
    priorities = [base.candidate.priority for base in bases]
    assert priorities == sorted(priorities, reverse=True)
    assert bases[0].candidate.priority == 2130706431
    one = candidates.add_mapped(0, Address("203.0.113.1", 5000), server="198.51.100.1")
    other = candidates.add_mapped(0, Address("203.0.113.1", 5001), server="198.51.100.2")
    assert one is not None
    assert other is not None
    assert one.priority > other.priority
    assert one.foundation != other.foundation
    assert one.related == Address("192.0.2.1", 5000)
    relayed = candidates.add_relayed(Address("198.51.100.1", 50000), server="198.51.100.1", mapped=one.address)
    assert relayed.candidate.priority < min(candidate.priority for candidate in candidates.candidates[:-1])
    assert relayed.candidate.related == one.address


def test_a_reflexive_candidate_that_is_nothing_new_is_left_out() -> None:
    candidates = LocalCandidates()
    candidates.add_hosts([Address("192.0.2.1", 5000), Address("192.0.2.2", 5000)])
    for host in ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1"):
        assert candidates.add_mapped(0, Address(host, 5000), server="198.51.100.1") is None
    assert len(candidates.candidates) == 2
