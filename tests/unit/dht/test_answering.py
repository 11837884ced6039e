"""What a node answers to queries, and to whom it does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats.dht.addresses import compact
from librats.dht.answering import (
    ANNOUNCE_PEER,
    FIND_NODE,
    GET,
    GET_PEERS,
    HELD_SECONDS,
    LARGEST,
    PING,
    PUT,
    SAMPLE_INFOHASHES,
    Answerer,
)
from librats.dht.items import Item, immutable_target, sign_item
from librats.dht.rates import Limits
from librats.dht.scrape import estimate
from librats.dht.tables import Tables
from librats.testing.entropy import SeededEntropy

OWN = b"mnopqrstuvwxyz123456"
ASKER = b"abcdefghij0123456789"
SOURCE = compact("198.51.100.7", 6881)
SOURCE6 = compact("2001:db8::7", 6881)
HASH = b"h" * 20
SEED = bytes(32)


def an_answerer(**changes: Any) -> Answerer:
    return Answerer(Tables(OWN), SeededEntropy(1), now=0.0, **changes)


def filled(answerer: Answerer, nodes: int = 20) -> None:
    entropy = SeededEntropy(2)
    for number in range(nodes):
        answerer.tables.heard(entropy.token_bytes(20), compact(f"203.0.113.{number}", 6881), now=0.0)
        answerer.tables.heard(entropy.token_bytes(20), compact(f"2001:db8:{number:x}::1", 6881), now=0.0)


def asked(
    answerer: Answerer, method: int, *, source: bytes = SOURCE, now: float = 1.0, **fields: Any
) -> KrpcMessage | None:
    query = krpc_writer.query(method, b"aa", ASKER, **fields)
    answer = answerer.receive(query, source, now=now)
    if answer is None:
        return None
    message = krpc.parse(answer)
    assert message.transaction_id == b"aa"
    assert message.seen_as == source
    return message


def answered(answerer: Answerer, method: int, **fields: Any) -> KrpcMessage:
    message = asked(answerer, method, **fields)
    assert message is not None
    assert message.kind == krpc.RESPONSE, message.fault
    assert message.id == OWN
    return message


def refused(answerer: Answerer, method: int, **fields: Any) -> int:
    message = asked(answerer, method, **fields)
    assert message is not None
    assert message.kind == krpc.ERROR
    return message.fault[0]


def token_for(answerer: Answerer, target: bytes, source: bytes = SOURCE) -> bytes:
    token = answered(answerer, GET_PEERS, info_hash=target, source=source).token
    assert token is not None
    return token


def test_a_ping_is_answered_and_its_sender_waits_as_a_spare() -> None:
    answerer = an_answerer()
    answered(answerer, PING)
    assert (len(answerer.tables), answerer.tables.by_size[6].spares) == (0, 1)
    assert answerer.counts["ping"] == 1


def test_a_read_only_node_is_answered_and_not_kept() -> None:
    answerer = an_answerer()
    answered(answerer, PING, read_only=True)
    assert answerer.tables.by_size[6].spares == 0


@pytest.mark.parametrize(
    ("source", "want", "families"),
    [
        (SOURCE, None, (True, False)),
        (SOURCE6, None, (False, True)),
        (SOURCE, [b"n6"], (False, True)),
        (SOURCE6, [b"n4", b"n6"], (True, True)),
        (SOURCE, [b"n5"], (True, False)),
    ],
)
def test_nodes_are_those_of_the_family_of_the_source_or_those_that_it_wants(
    source: bytes, want: list[bytes] | None, families: tuple[bool, bool]
) -> None:
    answerer = an_answerer()
    filled(answerer)
    answer = answered(answerer, FIND_NODE, target=HASH, want=want, source=source)
    assert (answer.nodes is not None, answer.nodes6 is not None) == families
    if want is None and source == SOURCE:
        assert answer.nodes == answerer.tables.closest(HASH, 6, 8)


def test_who_announced_himself_with_its_token_is_told_to_others() -> None:
    answerer = an_answerer()
    filled(answerer)
    token = token_for(answerer, HASH)
    answered(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token, port=4000)
    other = compact("198.51.100.8", 1)
    found = answered(answerer, GET_PEERS, info_hash=HASH, source=other)
    assert found.values == [compact("198.51.100.7", 4000)]
    assert found.nodes
    assert answered(answerer, GET_PEERS, info_hash=b"i" * 20, source=other).values == []


def test_an_implied_port_is_that_of_the_source() -> None:
    answerer = an_answerer()
    token = token_for(answerer, HASH)
    answered(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token, port=4000, implied_port=True)
    assert answered(answerer, GET_PEERS, info_hash=HASH).values == [SOURCE]


def test_nobody_announces_with_the_token_of_another_or_without_a_port() -> None:
    answerer = an_answerer()
    token = token_for(answerer, HASH)
    other = compact("198.51.100.8", 6881)
    assert refused(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token, port=1, source=other) == 203
    assert refused(answerer, ANNOUNCE_PEER, info_hash=HASH, port=1) == 203
    assert refused(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token) == 203
    assert refused(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token, port=0) == 203
    assert len(answerer.peers) == 0


def test_peers_of_the_other_family_are_left_out() -> None:
    answerer = an_answerer()
    token = token_for(answerer, HASH, SOURCE6)
    answered(answerer, ANNOUNCE_PEER, info_hash=HASH, token=token, port=4000, source=SOURCE6)
    assert answered(answerer, GET_PEERS, info_hash=HASH).values == []
    assert answered(answerer, GET_PEERS, info_hash=HASH, source=SOURCE6).values == [compact("2001:db8::7", 4000)]


def test_a_scrape_tells_whoever_has_proven_himself_how_many_there_are() -> None:
    answerer = an_answerer()
    for number in range(100):
        answerer.peers.announce(HASH, bytes([203, 0, 113, number, 0, 1]), now=0.0, is_seed=number < 20)
    assert answered(answerer, GET_PEERS, info_hash=HASH, scrape=True).seeds_filter is None
    answerer.prove(SOURCE, now=1.0)
    found = answered(answerer, GET_PEERS, info_hash=HASH, scrape=True)
    assert found.seeds_filter is not None
    assert found.peers_filter is not None
    assert estimate(found.seeds_filter) == pytest.approx(20, rel=0.1)
    assert estimate(found.peers_filter) == pytest.approx(80, rel=0.1)
    assert answered(answerer, GET_PEERS, info_hash=b"i" * 20, scrape=True).seeds_filter is None


def put(answerer: Answerer, item: Item, token: bytes | None = None, **fields: Any) -> int:
    wanted = token_for(answerer, item.target) if token is None else token
    message = asked(
        answerer,
        PUT,
        token=wanted,
        item=item.value,
        key=item.key,
        signature=item.signature or None,
        sequence=item.sequence if item.key else None,
        salt=item.salt or None,
        **fields,
    )
    assert message is not None
    return message.fault[0] if message.kind == krpc.ERROR else 0


def test_an_immutable_item_is_kept_and_given() -> None:
    answerer = an_answerer()
    item = Item(value=b"5:hello")
    assert put(answerer, item) == 0
    found = answered(answerer, GET, target=immutable_target(b"5:hello"))
    assert (found.item, found.key, found.sequence) == (b"5:hello", None, None)
    assert found.token is not None


def test_a_mutable_item_is_given_to_whoever_does_not_know_it() -> None:
    answerer = an_answerer()
    answerer.prove(SOURCE, now=0.0)
    item = sign_item("hello", seed=SEED, sequence=7, salt=b"s")
    assert put(answerer, item) == 0
    found = answered(answerer, GET, target=item.target)
    assert (found.item, found.key, found.signature, found.sequence) == (item.value, item.key, item.signature, 7)
    assert answered(answerer, GET, target=item.target, sequence=6).item == item.value
    known = answered(answerer, GET, target=item.target, sequence=7)
    assert (known.item, known.sequence) == (None, 7)


def test_items_that_break_the_rules_are_refused_with_their_codes() -> None:
    answerer = an_answerer(limits=Limits(queries=1000, most_queries=1000))
    item = sign_item("hello", seed=SEED, sequence=7)
    assert put(answerer, item, b"a token") == 203
    assert put(answerer, Item(value=b"1000:" + bytes(1000))) == 205
    assert put(answerer, replace(item, sequence=8)) == 206
    assert put(answerer, replace(item, salt=bytes(65))) == 207
    assert put(answerer, item) == 0
    assert put(answerer, sign_item("older", seed=SEED, sequence=6)) == 302
    newer = sign_item("newer", seed=SEED, sequence=8)
    assert put(answerer, newer, compare=6) == 301
    assert put(answerer, newer, compare=7) == 0
    assert refused(answerer, PUT, token=b"t") == 203
    assert refused(answerer, PUT, token=b"t", item=b"1:a", key=bytes(32)) == 203
    assert answerer.counts["error 203"] == 3


def test_a_sample_tells_hashes_and_how_many_there_are() -> None:
    answerer = an_answerer()
    hashes = {bytes([number]) * 20 for number in range(5)}
    for info_hash in hashes:
        answerer.peers.announce(info_hash, SOURCE, now=0.0)
    found = answered(answerer, SAMPLE_INFOHASHES, target=HASH)
    assert found.samples is not None
    assert {found.samples[start : start + 20] for start in range(0, 100, 20)} == hashes
    assert found.number == 5
    assert found.interval is not None


def test_what_is_no_query_gets_an_error_or_nothing() -> None:
    answerer = an_answerer()

    def code(data: bytes) -> int | None:
        answer = answerer.receive(data, SOURCE, now=1.0)
        return None if answer is None else krpc.parse(answer).fault[0]

    assert code(b"d1:ad2:id20:abcdefghij0123456789e1:q4:vote1:t2:aa1:y1:qe") == 204
    assert code(b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe") == 203
    assert code(b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe") == 203
    assert code(b"d1:q4:ping1:t2:aa1:y1:qe") == 203
    assert code(b"d1:ad2:id20:abcdefghij0123456789e1:q9:find_node1:t2:aa1:y1:qe") == 203
    assert code(b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe") is None
    assert code(b"d1:rd2:id20:abcdefghij0123456789e1:t2:aa1:y1:re") is None
    assert code(b"l" * 20_000) is None
    assert (answerer.counts["malformed"], answerer.counts["not a query"]) == (2, 1)


@given(
    method=st.integers(1, 7),
    want=st.sampled_from([None, [b"n4", b"n6"]]),
    scrape=st.booleans(),
    source=st.sampled_from([SOURCE, SOURCE6]),
)
def test_nobody_gets_more_than_four_bytes_for_one_before_he_has_proven_himself(
    method: int, want: list[bytes] | None, scrape: bool, source: bytes
) -> None:
    answerer = an_answerer()
    filled(answerer)
    for number in range(200):
        answerer.peers.announce(HASH, bytes([203, 0, 113, number, 0, 1]), now=0.0)
        answerer.peers.announce(HASH, compact(f"2001:db8:{number:x}::1", 1), now=0.0)
        answerer.peers.announce(bytes([number]) * 20, SOURCE, now=0.0)
    item = sign_item("v" * 900, seed=SEED, sequence=1)
    answerer.items.put(item, now=0.0)
    target = item.target if method == GET else HASH
    query = krpc_writer.query(
        method, b"aa", ASKER, target=target, info_hash=HASH, want=want, scrape=scrape, read_only=True
    )
    answer = answerer.receive(query, source, now=1.0)
    assert answer is not None
    assert len(answer) <= 4 * len(query)
    assert krpc.parse(answer).kind == (krpc.ERROR if method in (ANNOUNCE_PEER, PUT) else krpc.RESPONSE)
    answerer.prove(source, now=1.0)
    full = answerer.receive(query, source, now=1.0)
    assert full is not None
    assert len(answer) <= len(full) <= LARGEST
    if method == GET:
        assert krpc.parse(full).item == item.value
    if method == GET_PEERS and scrape:
        assert krpc.parse(full).peers_filter is not None


def test_a_query_whose_item_does_not_fit_is_held_until_its_sender_has_proven_himself() -> None:
    answerer = an_answerer()
    item = sign_item("v" * 900, seed=SEED, sequence=1)
    answerer.items.put(item, now=0.0)
    assert asked(answerer, GET, target=item.target) is None
    assert (answerer.take_to_prove(), answerer.take_to_prove()) == ([SOURCE], [])
    answer = answerer.prove(SOURCE, now=2.0)
    assert answer is not None
    assert krpc.parse(answer).item == item.value
    assert answerer.prove(SOURCE, now=2.0) is None


def test_a_query_is_not_held_forever() -> None:
    answerer = an_answerer()
    item = sign_item("v" * 900, seed=SEED, sequence=1)
    answerer.items.put(item, now=0.0)
    assert asked(answerer, GET, target=item.target) is None
    answerer.expire(now=1.0 + HELD_SECONDS)
    assert answerer.prove(SOURCE, now=7.0) is None


def test_a_host_gets_so_many_answers_a_second_whatever_its_port() -> None:
    answerer = an_answerer(limits=Limits(queries=10, most_queries=20))
    sources = [compact("198.51.100.7", port) for port in range(1, 41)]
    assert sum(asked(answerer, PING, source=source) is not None for source in sources) == 20
    assert asked(answerer, PING, source=compact("198.51.100.8", 1)) is not None
    assert sum(asked(answerer, PING, source=source, now=2.0) is not None for source in sources) == 10
    assert answerer.counts["too many queries"] == 50


def test_a_host_that_has_not_proven_itself_gets_so_many_bytes_a_second_and_all_of_them_together_too() -> None:
    answerer = an_answerer(limits=Limits(byte_rate=100, most_bytes=200, all_bytes=300))
    size = len(krpc_writer.response(b"aa", OWN, seen_as=SOURCE))
    sent = sum(asked(answerer, PING) is not None for _ in range(10))
    assert sent == 200 // size
    others = sum(asked(answerer, PING, source=bytes([203, 0, 113, last, 0, 1])) is not None for last in range(10))
    assert sent + others == 300 // size
    answerer.prove(SOURCE, now=1.0)
    assert asked(answerer, PING) is not None


def test_a_proof_holds_for_a_while_and_for_its_address_only() -> None:
    answerer = an_answerer(limits=Limits(proof=60))
    answerer.peers.announce(HASH, SOURCE, now=0.0)
    answerer.prove(SOURCE, now=1.0)
    other = SOURCE[:4] + b"\0\1"
    assert answered(answerer, GET_PEERS, info_hash=HASH, scrape=True, source=other, now=59.0).peers_filter is None
    assert answered(answerer, GET_PEERS, info_hash=HASH, scrape=True, now=60.0).peers_filter is not None
    assert answered(answerer, GET_PEERS, info_hash=HASH, scrape=True, now=61.0).peers_filter is None


@given(data=st.binary(max_size=200) | st.binary(max_size=80).map(lambda rest: b"d1:ad2:id20:" + rest))
def test_whatever_comes_nothing_is_raised(data: bytes) -> None:
    answerer = an_answerer()
    answer = answerer.receive(data, SOURCE, now=1.0)
    assert answer is None or len(answer) <= 4 * len(data)


def test_an_error_that_is_longer_than_four_times_a_query_is_not_sent() -> None:
    answerer = an_answerer()
    assert answerer.receive(b"d1:t0:1:y1:qe", SOURCE6, now=1.0) is None
    assert answerer.counts["would amplify"] == 1
