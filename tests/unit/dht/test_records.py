"""Records of peers: what is written and read, whose they are, and what is not believed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from librats._core import bencode
from librats.dht.items import Item, sign_item
from librats.dht.records import (
    MAX_ADDRESSES,
    MAX_INTRODUCERS,
    MAX_LIFETIME,
    MAX_SEEN,
    RECORD_SALT,
    SKEW,
    IntroducerAt,
    KnownRecords,
    PeerRecord,
    introducer_hash,
    record_target,
)
from librats.errors import DecodeError, UsageError
from librats.peers.identity import Identity
from librats.types import Address

NOW = 1_700_000_000.0
ALICE, MALLORY = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
SEED = bytes(ALICE.signing_key)
RECORD = PeerRecord(
    public_key=ALICE.public_key,
    expires=int(NOW) + 7200,
    addresses=(Address("203.0.113.7", 8080), Address("2001:db8::7", 8081), Address("192.168.1.7", 8080)),
    introducers=(IntroducerAt("ab" * 32, Address("198.51.100.1", 3478)),),
    seen=("203.0.113.7", "2001:db8::7"),
    nat="full-cone",
    sequence=int(NOW),
)


def signed(value: object, *, sequence: int = 1, seed: bytes = SEED) -> Item:
    return sign_item(value, seed=seed, sequence=sequence, salt=RECORD_SALT)


def members(**changes: object) -> dict[str, object]:
    whole: dict[str, object] = {"v": 1, "k": ALICE.public_key, "e": int(NOW) + 7200, **changes}
    return {name: value for name, value in whole.items() if value is not None}


def refusal(item: Item, **options: Any) -> str:
    with pytest.raises(DecodeError) as refused:
        PeerRecord.read(item, **{"now": NOW, **options})
    return refused.value.what


def test_a_record_is_read_as_it_was_written() -> None:
    item = RECORD.sign(SEED)
    assert item.target == record_target(ALICE.verify_key)
    assert item.key == ALICE.verify_key
    read = PeerRecord.read(item, now=NOW, peer_id=ALICE.peer_id)
    assert read == RECORD
    assert read.peer_id == ALICE.peer_id


@pytest.mark.vectors("protocol/records")
def test_records_are_written_and_read_as_the_vector_says(case: dict[str, Any]) -> None:
    identity = Identity(bytes.fromhex(case["private_key"]))
    item = Item(
        value=bytes.fromhex(case["value"]),
        key=identity.verify_key,
        signature=bytes.fromhex(case["signature"]),
        sequence=case["sequence"],
        salt=RECORD_SALT,
    )
    assert (item.target.hex(), identity.peer_id) == (case["target"], case["peer_id"])
    record = PeerRecord.read(item, now=NOW, peer_id=case["peer_id"])
    assert record.expires == case["expires"]
    assert len(record.addresses) == (2 if case["id"] == "whole" else 0)
    assert record.sign(bytes(identity.signing_key)) == item
    assert introducer_hash(case["peer_id"]).hex() == case["introducers"]


def test_the_largest_record_has_room_in_the_dht() -> None:
    addresses = tuple(Address(f"2001:db8:1234:5678:9abc:def0:1234:{number:x}", 65535) for number in range(1, 40))
    record = PeerRecord(
        public_key=ALICE.public_key,
        expires=(1 << 53) - 1,
        addresses=addresses,
        introducers=tuple(IntroducerAt(f"{number:02x}" * 32, addresses[number]) for number in range(20)),
        seen=tuple(address.host for address in addresses),
        nat="n" * 100,
        sequence=(1 << 63) - 1,
    )
    item = record.sign(SEED)
    assert 900 < len(item.value) <= 1000
    read = PeerRecord.read(item, now=float((1 << 53) - 100))
    assert read.addresses == addresses[:MAX_ADDRESSES]  # what is behind the best ones is left out
    assert read.introducers == record.introducers[:MAX_INTRODUCERS]
    assert read.seen == record.seen[:MAX_SEEN]


def test_what_is_named_beyond_the_limits_is_not_read() -> None:
    many = [bytes([203, 0, 113, number, 1, 1]) for number in range(60)]
    assert len(PeerRecord.read(signed(members(a=many)), now=NOW).addresses) == MAX_ADDRESSES


def test_unknown_members_are_skipped_and_missing_ones_are_empty() -> None:
    read = PeerRecord.read(signed(members(zz=[1, {"a": 2}], b=b"later")), now=NOW)
    assert (read.addresses, read.introducers, read.seen, read.nat) == ((), (), (), "")


def test_addresses_that_nobody_can_have_are_left_out_and_private_ones_are_not() -> None:
    hosts = ["0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.1", "127.0.0.1", "203.0.113.7", "203.0.113.7"]  # noqa: S104
    packed = [bytes(map(int, host.split("."))) + b"\x1f\x90" for host in hosts] + [b"\xcb\x00\x71\x07\x00\x00"]
    read = PeerRecord.read(signed(members(a=packed, i=[b"\xab" * 32 + packed[1], b"\xab" * 32 + packed[5]])), now=NOW)
    assert [address.host for address in read.addresses] == ["10.0.0.1", "127.0.0.1", "203.0.113.7"]
    assert [one.address.host for one in read.introducers] == ["203.0.113.7"]


def test_a_record_under_mallorys_key_that_names_alice_is_mallorys_item_and_no_proof() -> None:
    item = RECORD.sign(bytes(MALLORY.signing_key))
    assert item.target != record_target(ALICE.verify_key)  # nobody who knows Alice's key finds it
    moved = replace(item, key=ALICE.verify_key)  # and it cannot be put where Alice's is
    assert "invalid signature" in refusal(moved)


def test_a_record_of_another_peer_under_the_right_key_is_refused() -> None:
    assert "not of" in refusal(signed(members(k=MALLORY.public_key)), peer_id=ALICE.peer_id)


@pytest.mark.parametrize(
    ("expires", "is_good"),
    [
        (NOW - SKEW, False),
        (NOW - SKEW + 1, True),
        (NOW + MAX_LIFETIME + SKEW - 1, True),
        (NOW + MAX_LIFETIME + SKEW, False),
        (-1.0, False),
    ],
)
def test_a_record_that_is_past_or_too_far_ahead_is_refused(expires: float, is_good: bool) -> None:
    item = signed(members(e=int(expires)))
    if is_good:
        assert PeerRecord.read(item, now=NOW).expires == int(expires)
    else:
        assert "good until" in refusal(item)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "form or version"),
        (members(v=2), "form or version"),
        (members(v=None), "form or version"),
        (members(k=b"short"), "without a key"),
        (members(k=None), "without a key"),
        (members(e=b"soon"), "good until"),
        (members(e=None), "good until"),
        (members(a=b"xxxxxx"), "a is no list"),
        (members(a=[b"xxxxxxx"]), "something else in a"),
        (members(a=[1]), "something else in a"),
        (members(i=[b"x" * 32]), "something else in i"),
        (members(s=[b"xxxxx"]), "something else in s"),
        (members(n=7), "n is no text"),
    ],
)
def test_what_is_no_record_is_refused(value: object, problem: str) -> None:
    assert problem in refusal(signed(value))


def test_an_item_of_another_kind_is_refused() -> None:
    assert "no record" in refusal(Item(value=b"i1e"))
    assert "no record" in refusal(sign_item(members(), seed=SEED, sequence=1, salt=b"other"))
    assert "breaks a rule" in refusal(replace(RECORD.sign(SEED), sequence=8))


def test_a_word_for_the_nat_that_is_no_word_is_left_out() -> None:
    for word, read in ((b"later-kind", "later-kind"), (b"\xff", ""), (b"a\nb", ""), (b"x" * 40, "x" * 32)):
        assert PeerRecord.read(signed(members(n=word)), now=NOW).nat == read


def test_what_cannot_be_in_a_record_is_not_signed() -> None:
    for changes in (
        {"addresses": (Address("example.org", 1),)},
        {"addresses": (Address("203.0.113.7", 0),)},
        {"public_key": b"short"},
        {"expires": -1},
        {"sequence": -1},
    ):
        with pytest.raises(UsageError):
            replace(RECORD, **changes).sign(SEED)
    with pytest.raises(UsageError):
        introducer_hash("short")
    with pytest.raises(UsageError):
        introducer_hash("g" * 64)


plain_values = st.recursive(
    st.integers(-(1 << 70), 1 << 70) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(value=plain_values, known=st.dictionaries(st.sampled_from("aeiknsv"), plain_values, max_size=7))
def test_whatever_is_signed_is_read_or_refused(value: object, known: dict[str, object]) -> None:
    for content in (value, {**members(), **known}):
        if len(bencode.encode(content)) <= 1000:
            try:
                read = PeerRecord.read(signed(content), now=NOW)
            except DecodeError:
                continue
            assert read.public_key == ALICE.public_key
            assert PeerRecord.read(read.sign(SEED), now=NOW) == read


@given(data=st.data())
def test_a_record_that_is_changed_on_its_way_is_refused(data: st.DataObject) -> None:
    item = RECORD.sign(SEED)
    at = data.draw(st.integers(0, len(item.value) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(item.value)
    changed[at] ^= flip
    refusal(replace(item, value=bytes(changed)))


@given(
    addresses=st.lists(st.tuples(st.ip_addresses(), st.integers(1, 65535)), max_size=MAX_ADDRESSES),
    nat=st.sampled_from(["", "symmetric", "port-restricted-cone"]),
)
def test_every_record_that_can_be_written_is_read(addresses: list[Any], nat: str) -> None:
    told = tuple(Address(str(host), port) for host, port in addresses)
    record = PeerRecord(public_key=ALICE.public_key, expires=int(NOW) + 1, addresses=told, nat=nat, sequence=3)
    read = PeerRecord.read(record.sign(SEED), now=NOW)
    assert set(read.addresses) <= {
        Address(str(getattr(host, "ipv4_mapped", None) or host), port) for host, port in addresses
    }
    assert read.nat == nat


def test_the_newest_record_of_a_peer_stays_until_it_is_past() -> None:
    known = KnownRecords(most=2)
    later = replace(RECORD, sequence=RECORD.sequence + 1)
    assert known.take(later, now=NOW) is later
    assert known.take(RECORD, now=NOW) is later
    assert known.get(ALICE.peer_id, now=NOW) is later
    past = later.expires + SKEW
    assert known.get(ALICE.peer_id, now=past) is None
    assert len(known) == 0
    assert known.take(RECORD, now=NOW) is RECORD


def test_only_so_many_records_are_kept() -> None:
    known = KnownRecords(most=2)
    for number in range(4):
        known.take(replace(RECORD, public_key=bytes([number]) * 32), now=NOW)
    assert len(known) == 2
    assert known.get(replace(RECORD, public_key=bytes([0]) * 32).peer_id, now=NOW) is None
