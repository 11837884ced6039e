"""Which ids are the nearest, beside sorting all of them; and a routing table that anything happens to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from librats._core import routing
from librats._core.routing import RoutingTable, SortedIds

# Few different bits, so that ids have much in common, and the same again; with much between them that is zero.
CLUSTERED = st.builds(
    lambda high, place, low: (high << 152 | 1 << place | low).to_bytes(20),
    st.integers(0, 3),
    st.integers(0, 151),
    st.integers(0, 7),
)
IDS = CLUSTERED | st.binary(min_size=20, max_size=20)


def sorted_by_distance(ids: set[bytes], target: bytes) -> list[bytes]:
    return sorted(ids, key=lambda one: int.from_bytes(one) ^ int.from_bytes(target))


@given(st.lists(IDS, max_size=120), IDS, st.integers(0, 40))
def test_the_nearest_are_those_that_sorting_finds(ids: list[bytes], target: bytes, count: int) -> None:
    wanted = sorted_by_distance(set(ids), target)[:count]
    assert SortedIds(b"".join(ids)).closest(target, count) == b"".join(wanted)
    raw = b"".join(sorted(set(ids)))
    assert [raw[20 * number : 20 * number + 20] for number in routing.closest(raw, target, count)] == wanted


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=150), IDS)
def test_a_set_is_what_was_added_and_not_removed(steps: list[tuple[bool, bytes]], target: bytes) -> None:
    ids, model = SortedIds(), set[bytes]()
    for adds, one in steps:
        if adds:
            assert ids.add(one) == (one not in model)
            model.add(one)
        else:
            assert ids.discard(one) == (one in model)
            model.discard(one)
    assert len(ids) == len(model)
    assert ids.closest(target, len(model)) == b"".join(sorted_by_distance(model, target))


STEP = st.tuples(
    st.sampled_from(["answers", "asks", "fails"]),
    IDS,
    st.integers(0, 40).map(lambda host: b"\x0a\0\0" + bytes([host]) + b"\x1a\xe1"),
)


@settings(max_examples=60)
@given(st.lists(STEP, max_size=200), IDS, IDS)
def test_whatever_happens_the_table_keeps_its_rules(
    steps: list[tuple[str, bytes, bytes]], own: bytes, target: bytes
) -> None:
    table = RoutingTable(own, size=2)
    failing = set[tuple[bytes, bytes]]()
    for now, (what, one, address) in enumerate(steps):
        if what == "fails":
            if not table.failed(one, address):
                failing.add((one, address))
        elif table.heard(one, address, now=float(now), answered=what == "answers") and what == "answers":
            failing.discard((one, address))
        known = table.nodes()
        assert len(known) == len(table)
        assert own not in {node for node, _, _ in known}
        hosts = [(routing.shared_bits(own, node), place[:4]) for node, place, _ in known]
        assert len(hosts) == len(set(hosts))
        for bucket in {bucket for bucket, _ in hosts}:
            assert sum(bucket == other for other, _ in hosts) <= 2 << max(0, 4 - bucket)
    places = {node: place for node, place, _ in table.nodes() if (node, place) not in failing}
    wanted = sorted_by_distance(set(places), target)[:8]
    assert table.closest(target) == b"".join(node + places[node] for node in wanted)
