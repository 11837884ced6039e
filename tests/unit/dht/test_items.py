"""Items: the vectors of BEP 44, and what a store takes, replaces, refuses and forgets."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode
from librats.dht.items import Item, ItemStore, immutable_target, mutable_target, sign_item
from librats.errors import KrpcError, UsageError

SEED = bytes(range(32))


def refusal(call: Any) -> int:
    with pytest.raises(KrpcError) as refused:
        call()
    return refused.value.code


@pytest.mark.vectors("dht/bep44_items")
def test_items_of_others_are_sound_or_not(case: dict[str, Any]) -> None:
    key, salt = bytes.fromhex(case.get("public_key", "")), bytes.fromhex(case.get("salt", ""))
    if case["kind"] == "target":
        assert mutable_target(key, salt).hex() == case["target"]
        return
    signature = bytes.fromhex(case.get("signature", ""))
    item = Item(
        value=bytes.fromhex(case["value"]),
        key=key or None,
        signature=signature,
        sequence=case.get("seq", 0),
        salt=salt,
    )
    assert item.target.hex() == case["target"]
    if not case["valid"]:
        assert refusal(item.check) in {205, 206, 207}
        return
    item.check()
    if "seed" in case:
        made = sign_item(
            bencode.decode(item.value), seed=bytes.fromhex(case["seed"]), sequence=item.sequence, salt=salt
        )
        assert made == item


def test_every_changed_part_of_a_mutable_item_is_detected() -> None:
    item = sign_item([1, "two"], seed=SEED, sequence=5, salt=b"salt")
    parts = {"value": item.value, "key": item.key, "signature": item.signature, "sequence": 5, "salt": item.salt}
    Item(**parts).check()  # type: ignore[arg-type]
    changes: list[tuple[str, object]] = [("value", b"le"), ("sequence", 6), ("salt", b"tals"), ("salt", b"")]
    changes += [("signature", bytes(64)), ("key", sign_item(1, seed=bytes(32), sequence=5).key)]
    for name, value in changes:
        assert refusal(Item(**parts | {name: value}).check) == 206  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"value": b"1001:" + bytes(1001)}, 205),
        ({"value": b"d1:bi1e1:ai1ee"}, 203),
        ({"value": b""}, 203),
        ({"value": b"le", "key": bytes(31), "signature": bytes(64)}, 203),
        ({"value": b"le", "key": bytes(32), "signature": bytes(63)}, 203),
        ({"value": b"le", "key": bytes(32), "signature": bytes(64), "salt": bytes(65)}, 207),
    ],
)
def test_an_item_that_breaks_a_rule_is_refused_with_its_code(parts: dict[str, Any], code: int) -> None:
    assert refusal(Item(**parts).check) == code
    assert refusal(lambda: ItemStore().put(Item(**parts), now=0.0)) == code


@pytest.mark.parametrize(
    "arguments",
    [{"seed": bytes(31)}, {"sequence": -1}, {"sequence": 1 << 63}, {"salt": bytes(65)}, {"value": bytes(999)}],
)
def test_an_item_that_cannot_be_is_not_signed(arguments: dict[str, Any]) -> None:
    whole: dict[str, Any] = {"value": 1, "seed": SEED, "sequence": 1} | arguments
    with pytest.raises(UsageError):
        sign_item(whole.pop("value"), **whole)


def test_the_highest_sequence_number_is_kept() -> None:
    store = ItemStore()
    old, new = sign_item("old", seed=SEED, sequence=1), sign_item("new", seed=SEED, sequence=2)
    store.put(old, now=0.0)
    store.put(new, now=1.0)
    assert refusal(lambda: store.put(old, now=2.0)) == 302
    assert refusal(lambda: store.put(sign_item("other", seed=SEED, sequence=2), now=2.0)) == 302
    store.put(new, now=3.0)
    assert store.get(new.target, now=7202.0) == new
    assert store.get(new.target, now=7203.0) is None


def test_what_is_to_be_replaced_is_compared() -> None:
    store = ItemStore()
    for sequence in (1, 2):
        store.put(sign_item(sequence, seed=SEED, sequence=sequence), now=0.0, compare=sequence - 1)
    third = sign_item(3, seed=SEED, sequence=3)
    assert refusal(lambda: store.put(third, now=0.0, compare=1)) == 301
    store.put(third, now=0.0, compare=2)
    assert store.get(third.target, now=0.0) == third


def test_items_with_another_salt_are_others() -> None:
    store = ItemStore()
    items = [sign_item(salt, seed=SEED, sequence=1, salt=salt) for salt in (b"", b"a", b"b")]
    for item in items:
        store.put(item, now=0.0)
    assert [store.get(item.target, now=0.0) for item in items] == items


def test_the_item_that_was_put_longest_ago_makes_room() -> None:
    store = ItemStore(max_items=3)
    items = [Item(value=b"i%de" % number) for number in range(4)]
    for item in items[:3]:
        store.put(item, now=0.0)
    store.put(items[0], now=1.0)
    store.put(items[3], now=2.0)
    assert [store.get(item.target, now=3.0) is not None for item in items] == [True, False, True, True]
    assert immutable_target(b"i0e") == items[0].target
    with pytest.raises(UsageError):
        ItemStore(max_items=0)


def test_expired_items_are_forgotten() -> None:
    store = ItemStore()
    for number in range(5):
        store.put(Item(value=b"i%de" % number), now=100.0 * number)
    store.expire(now=7200.0 + 150.0)
    assert len(store) == 3
