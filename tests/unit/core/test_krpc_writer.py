"""Messages of the DHT written: those of others byte for byte, every field in its place, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode, krpc, krpc_writer
from librats.errors import UsageError

ID = b"i" * 20
QUERY: dict[str, tuple[bytes, Any]] = {
    "target": (b"target", b"t" * 20),
    "info_hash": (b"info_hash", b"h" * 20),
    "token": (b"token", b"abcd"),
    "port": (b"port", 6881),
    "implied_port": (b"implied_port", True),
    "want": (b"want", [b"n4", b"n6"]),
    "seed": (b"seed", True),
    "noseed": (b"noseed", True),
    "scrape": (b"scrape", True),
    "key": (b"k", b"k" * 32),
    "signature": (b"sig", b"s" * 64),
    "sequence": (b"seq", 2**63 - 1),
    "salt": (b"salt", b"salt"),
    "compare": (b"cas", 0),
}
RESPONSE: dict[str, tuple[bytes, Any]] = {
    "nodes": (b"nodes", b"n" * 208),
    "nodes6": (b"nodes6", b"m" * 304),
    "token": (b"token", b"abcd"),
    "values": (b"values", [b"peer12"] * 100),
    "key": (b"k", b"k" * 32),
    "signature": (b"sig", b"s" * 64),
    "sequence": (b"seq", 7),
    "samples": (b"samples", b"h" * 400),
    "number": (b"num", 123_456),
    "interval": (b"interval", 10),
    "seeds_filter": (b"BFsd", b"\1" * 256),
    "peers_filter": (b"BFpe", b"\2" * 256),
}


def fields_of(message: krpc.KrpcMessage, names: Any) -> dict[str, Any]:
    found = {name: getattr(message, name) for name in (*names, "item", "version")}
    return {name: value for name, value in found.items() if value is not None and value is not False and value != []}


@pytest.mark.vectors("dht/krpc_messages")
def test_messages_of_others_are_written_again_byte_for_byte(case: dict[str, Any]) -> None:
    raw = bytes.fromhex(case["raw"])
    message = krpc.parse(raw)
    if message.kind == krpc.ERROR:
        code, reason = message.fault
        written = krpc_writer.error(message.transaction_id, code, reason)
    elif message.kind == krpc.QUERY:
        if not message.method:
            return
        fields = fields_of(message, QUERY) | {"read_only": message.read_only}
        written = krpc_writer.query(message.method, message.transaction_id, message.id or b"", **fields)
        # Others write what is not so, too.
        for absent in (b"4:seedi0e", b"6:noseedi0e", b"12:implied_porti0e"):
            raw = raw.replace(absent, b"")
    else:
        fields = fields_of(message, RESPONSE) | {"seen_as": message.seen_as}
        written = krpc_writer.response(message.transaction_id, message.id or b"", **fields)
        whole = bencode.decode(raw)
        whole[b"r"].pop(b"p", None)
        raw = bencode.encode(whole)
    assert written == raw


@pytest.mark.parametrize("name", [*QUERY, None])
def test_a_field_of_a_query_has_its_place(name: str | None) -> None:
    chosen = list(QUERY) if name is None else [name]
    written = krpc_writer.query(
        3, b"aa", ID, item=b"le", read_only=True, version=b"RT", **{n: QUERY[n][1] for n in chosen}
    )
    arguments: dict[bytes, Any] = {b"id": ID, b"v": []} | {QUERY[one][0]: QUERY[one][1] for one in chosen}
    whole = {b"a": arguments, b"q": b"get_peers", b"ro": 1, b"t": b"aa", b"v": b"RT", b"y": b"q"}
    assert written == bencode.encode(whole)


@pytest.mark.parametrize("name", [*RESPONSE, None])
def test_a_field_of_a_response_has_its_place(name: str | None) -> None:
    chosen = list(RESPONSE) if name is None else [name]
    written = krpc_writer.response(b"aa", ID, item=b"i1e", seen_as=b"a" * 6, **{n: RESPONSE[n][1] for n in chosen})
    values: dict[bytes, Any] = {b"id": ID, b"v": 1} | {RESPONSE[one][0]: RESPONSE[one][1] for one in chosen}
    assert written == bencode.encode({b"ip": b"a" * 6, b"r": values, b"t": b"aa", b"y": b"r"})


def test_an_error_has_code_and_reason() -> None:
    written = krpc_writer.error(b"aa", 203, b"Protocol Error", seen_as=b"a" * 6, version=b"RT")
    whole = {b"e": [203, b"Protocol Error"], b"ip": b"a" * 6, b"t": b"aa", b"v": b"RT", b"y": b"e"}
    assert written == bencode.encode(whole)


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_that_does_not_fit_is_refused(number: int) -> None:
    with pytest.raises(UsageError, match="64 bits"):
        krpc_writer.response(b"aa", ID, number=number)
    with pytest.raises(UsageError, match="64 bits"):
        krpc_writer.error(b"aa", number, b"")
    for method in (0, 8, -1):
        with pytest.raises(UsageError, match="method"):
            krpc_writer.query(method, b"aa", ID)
    with pytest.raises(UsageError, match="None"):
        krpc_writer.response(b"aa", ID, values=[None])  # type: ignore[list-item]
