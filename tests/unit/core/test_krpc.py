"""Messages of the DHT read: the vectors, and what is refused, left out, or as if it were not there."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode, krpc
from librats.errors import BencodeError, KrpcError

KINDS = {"query": krpc.QUERY, "response": krpc.RESPONSE, "error": krpc.ERROR}
TEXTS = {"k": "key", "sig": "signature", "BFsd": "seeds_filter", "BFpe": "peers_filter"}
NUMBERS = {"port": "port", "seq": "sequence", "cas": "compare", "num": "number", "interval": "interval"}
SAME = ("id", "target", "info_hash", "nodes", "nodes6", "token", "salt", "samples")
FLAGS = ("implied_port", "seed", "noseed", "scrape")


@pytest.mark.vectors("dht/krpc_messages")
def test_messages_of_others_are_read(case: dict[str, Any]) -> None:
    message = krpc.parse(bytes.fromhex(case["raw"]))
    wanted = case["message"]
    body = wanted.get("a") or wanted.get("r") or {}
    assert message.kind == KINDS[case["kind"]]
    assert message.transaction_id.hex() == wanted["t"]
    assert (message.method_name or b"").hex() == wanted.get("q", "")
    assert message.has_body == (case["kind"] != "error")
    known = krpc.METHODS[message.method]
    assert known is None or known == message.method_name
    for name in SAME:
        value = getattr(message, name)
        assert (None if value is None else value.hex()) == body.get(name), name
    for name, attribute in TEXTS.items():
        value = getattr(message, attribute)
        assert (None if value is None else value.hex()) == body.get(name), name
    for name, attribute in NUMBERS.items():
        assert getattr(message, attribute) == body.get(name), name
    for name in FLAGS:
        assert getattr(message, name) == bool(body.get(name)), name
    assert [value.hex() for value in message.values] == body.get("values", [])
    assert [value.hex() for value in message.want] == body.get("want", [])
    assert message.read_only == bool(wanted.get("ro"))
    assert (message.version or b"").hex() == wanted.get("v", "")
    assert (message.seen_as or b"").hex() == wanted.get("ip", "")
    if case["kind"] == "error":
        code, text = message.fault
        assert [code, text.hex()] == wanted["e"]
    whole = bencode.decode(bytes.fromhex(case["raw"]))
    item = whole.get(b"a", whole.get(b"r", {})).get(b"v")
    assert message.item == (None if item is None else bencode.encode(item))


@pytest.mark.vectors("dht/krpc_malformed")
def test_faults_are_refused_or_leave_a_field_out(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    if case["expect"] == "drop":
        with pytest.raises((BencodeError, KrpcError)):
            krpc.parse(raw)
        return
    message = krpc.parse(raw)
    whole = bencode.decode(raw)
    assert message.transaction_id == whole[b"t"]
    if case["why"].startswith(("id of", "a is")):
        assert message.id is None
    if case["why"].startswith("target is"):
        assert message.target is None
    if case["why"].startswith("values is"):
        assert message.values == []
    if case["why"].startswith("values contains"):
        assert message.values == whole[b"r"][b"values"][:1]
    if case["why"].startswith("e "):
        assert message.fault == (0, b"")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"le", "dictionary"),
        (b"de", "kind"),
        (b"d1:t1:a1:y1:xe", "kind"),
        (b"d1:t1:a1:y2:qqe", "kind"),
        (b"d1:t1:a1:yi1ee", "kind"),
        (b"d1:y1:qe", "transaction id"),
        (b"d1:ti1e1:y1:qe", "transaction id"),
    ],
)
def test_bencode_that_is_no_message_is_told(raw: bytes, told: str) -> None:
    with pytest.raises(KrpcError, match=told) as refused:
        krpc.parse(raw)
    assert refused.value.code == 203


@pytest.mark.parametrize(
    ("raw", "offset"),
    [
        (b"", 0),
        (b"x", 0),
        (b"d", 1),
        (b"d1:ad", 5),
        (b"d1:t1:a1:y1:qex", 14),
        (b"d1:t" + b"l" * 2000, 4 + 32),
        (b"d1:ad1:v" + b"l" * 2000, 8 + 31),
        (b"d1:ad2:id" + b"9" * 60_000, 60_009),
        (b"d1:ad2:id99999:x", 9),
        (b"d1:t65600:" + bytes(65600) + b"1:y1:qe", 65535),
    ],
)
def test_damage_is_told_with_its_place(raw: bytes, offset: int) -> None:
    with pytest.raises(BencodeError) as refused:
        krpc.parse(raw)
    assert refused.value.offset == offset


def test_keys_may_be_in_any_order_and_the_first_of_equal_ones_counts() -> None:
    message = krpc.parse(b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:%b2:id20:%b4:porti1eee" % (b"a" * 20, b"b" * 20))
    assert (message.id, message.port, message.method_name) == (b"a" * 20, 1, b"ping")
    again = krpc.parse(b"d1:y1:q1:t2:aa1:q4:ping1:q3:get1:ad4:porti1ee1:ad4:porti2ee1:rd4:porti3eee")
    assert (again.method_name, again.port) == (b"ping", 1)


def test_arguments_are_not_taken_for_return_values() -> None:
    message = krpc.parse(b"d1:ad5:token1:xe1:rd5:nodes0:e1:t1:a1:y1:re")
    assert (message.token, message.nodes, message.has_body) == (None, b"", True)
    message = krpc.parse(b"d1:ad5:token1:xe1:t1:a1:y1:re")
    assert (message.token, message.has_body) == (None, False)
    message = krpc.parse(b"d1:rd5:nodes0:e1:ad5:token1:xe1:t1:a1:y1:qe")
    assert (message.token, message.nodes) == (b"x", None)
    assert not krpc.parse(b"d1:a1:x1:t1:a1:y1:qe").has_body


@pytest.mark.parametrize(
    ("number", "read"),
    [
        (b"0", 0),
        (b"-1", None),
        (b"999999999999999999", 999999999999999999),
        (b"9223372036854775807", 2**63 - 1),
        (b"9223372036854775808", None),
        (b"-9223372036854775808", None),
        (b"9999999999999999999", None),
        (b"18446744073709551617", None),
    ],
)
def test_sequence_numbers_of_64_bits_are_read(number: bytes, read: int | None) -> None:
    assert krpc.parse(b"d1:ad3:seqi%bee1:t1:a1:y1:qe" % number).sequence == read


def test_the_item_is_given_as_it_is_encoded() -> None:
    message = krpc.parse(b"d1:rd1:vd1:bi01e1:aleee1:t1:a1:y1:re")
    assert message.item == b"d1:bi01e1:alee"


def test_other_buffers_are_copied() -> None:
    raw = bytearray(b"d1:t2:aa1:y1:qe")
    message = krpc.parse(raw)
    raw[:] = bytes(len(raw))
    assert message.transaction_id == b"aa"
    assert repr(message) == "<KrpcMessage q size=15>"
    with pytest.raises(TypeError):
        krpc.parse("d1:t2:aa1:y1:qe")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="parse"):
        krpc.KrpcMessage()
