"""JSON out of the ordinary, sent past the checks of an honest sender, in both framings.

The table of docs/howto/limits.md is read here, so that it cannot say anything else than what happens.
"""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.reference.librats2_node import TYPED, Librats2Node, peer_id

from librats import PeerDisconnected, RatsClient, RemoteError, SessionConfig, UsageError
from librats.session.frames import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import MakeClient, Pair, Until

WAIT = 30.0
MIB = 1024 * 1024
KEY = bytes(range(1, 33))
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "limits.md"
pytestmark = pytest.mark.timeout(120)

# What arrives, and what comes of it: a value, or the words of the refusal.
TAKEN = {
    "duplicate keys": (b'{"a":1,"b":2,"a":3}', {"a": 3, "b": 2}),
    "an integer of 64 bits": (b"18446744073709551615", 2**64 - 1),
    "an integer beyond 64 bits": (b"123456789012345678901234567890", 123456789012345678901234567890),
    "a negative one": (b"-9223372036854775809", -(2**63) - 1),
    "an exponent that is too small": (b"1e-400", 0.0),
    "more digits than a float has": (b"1.00000000000000000000000001", 1.0),
    "an escaped pair of surrogates": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "an escaped NUL": (b'"a\\u0000b"', "a\0b"),
    "32 levels": (b"[" * 32 + b"]" * 32, None),
}
REFUSED = {
    "10,000 levels": (b"[" * 10_000 + b"]" * 10_000, "JSON nested deeper than max_json_depth (32)"),
    "10,000 levels of objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "JSON nested deeper than max_json_depth"),
    "10,000 levels, not closed": (b"[" * 10_000, "JSON nested deeper than max_json_depth (32)"),
    "longer than 1 MiB": (b'"' + b"x" * MIB + b'"', "1048578 bytes of JSON are over max_json_size (1048576)"),
    "NaN": (b"NaN", "not JSON"),
    "Infinity": (b'{"a":[Infinity]}', "not JSON"),
    "-Infinity": (b"-Infinity", "not JSON"),
    "an integer of 5,000 digits": (b"9" * 5000, "not JSON: Integer value out of range"),
    "an exponent that is too big": (b"1e400", "not JSON: Number out of range"),
    "an exponent of 1,000 digits": (b"1e" + b"9" * 1000, "not JSON: Number out of range"),
    "a lone surrogate, escaped": (b'"\\ud800"', "not JSON"),
    "a lone surrogate, escaped, behind": (b'"x\\udc00y"', "not JSON"),
    "a lone surrogate in UTF-8": (b'"\xed\xa0\x80"', "not JSON"),
    "what is not UTF-8": (b'"\xff"', "not JSON"),
    "a byte order mark": (b"\xef\xbb\xbf1", "not JSON"),
    "nothing": (b"", "not JSON"),
    "half a text": (b'{"a":', "not JSON"),
    "two texts": (b"1 2", "not JSON"),
    "a comment": (b"/**/1", "not JSON"),
}


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


def hear(client: RatsClient) -> asyncio.Queue[Any]:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client.on("odd", lambda peer, data: heard.put_nowait(data))
    client.on("end", lambda peer, data: heard.put_nowait("end"))
    return heard


def expected(payload: bytes, value: Any) -> Any:
    if value is not None:
        return value
    nested: Any = []
    for _ in range(payload.count(b"[") - 1):
        nested = [nested]
    return nested


@pytest.mark.parametrize(("payload", "value"), TAKEN.values(), ids=TAKEN)
async def test_what_is_taken_in_our_framing(pair: Pair, payload: bytes, value: Any) -> None:
    heard = hear(pair.b)
    assert pair.to_b.try_send_encoded(Kind.JSON, b"odd", payload)
    assert await soon(heard.get()) == expected(payload, value)
    pair.b.on("ask", lambda peer, data: data)
    _, coming = pair.to_b.link.request((Kind.JSON, payload), b"ask", 10.0)
    answer = await soon(coming)
    assert (answer.kind, bool(answer.payload)) == (Kind.JSON, True)


@pytest.mark.parametrize(("payload", "words"), REFUSED.values(), ids=REFUSED)
async def test_what_is_refused_in_our_framing_is_counted_and_told_and_the_session_lives(
    pair: Pair, payload: bytes, words: str
) -> None:
    heard = hear(pair.b)
    pair.b.on("ask", lambda peer, data: heard.put_nowait("asked"))
    assert pair.to_b.try_send_encoded(Kind.JSON, b"odd", payload)
    await soon(pair.to_b.send("end"))
    assert await soon(heard.get()) == "end"
    assert pair.b.statistics()["bad_payloads"] == 1
    _, coming = pair.to_b.link.request((Kind.JSON, payload), b"ask", 10.0)
    with pytest.raises(RemoteError) as refused:
        await soon(coming)
    assert refused.value.code == "bad_data"
    assert words in refused.value.message
    assert heard.empty()
    assert await soon(pair.to_b.ping()) > 0


async def test_the_same_from_a_librats_2_node(make_client: MakeClient, until: Until) -> None:
    client = await make_client(session=SessionConfig(max_json_size=62_000))  # the node's Noise library ends at 65,519
    heard = hear(client)
    node = await soon(Librats2Node.dial(client.listen_port, KEY))
    await until(lambda: peer_id(KEY) in client.peers)
    for payload, value in TAKEN.values():
        await soon(node.send_json(b"odd", payload))
        assert await soon(heard.get()) == expected(payload, value)
    for count, (payload, _) in enumerate(REFUSED.values(), 1):
        await soon(node.send_json(b"odd", payload[:63_000]))
        await soon(node.send_json(b"end", b"1"))
        assert await soon(heard.get()) == "end"
        assert client.statistics()["bad_payloads"] == count
    # The session has outlived them all, in both directions.
    await soon(client.send("back", {"n": 1}))
    async with asyncio.timeout(WAIT):
        while (await node.receive())[0] != TYPED:
            pass
    await node.close()
    await until(lambda: not client.peers)


async def test_a_message_of_100_mb_beyond_the_longest_ends_the_session_and_both_sides_read_why(pair: Pair) -> None:
    ends: dict[RatsClient, asyncio.Queue[PeerDisconnected]] = {client: asyncio.Queue() for client in (pair.a, pair.b)}
    for client, queue in ends.items():
        client.on_event(PeerDisconnected, queue.put_nowait)
    heard = hear(pair.b)
    session: Any = pair.to_b.link.session
    session._max_payload = 1 << 30  # a sender that does not care what the other side takes
    assert pair.to_b.try_send_encoded(Kind.JSON, b"odd", b'"' + b"x" * 100_000_000 + b'"')
    for client in (pair.a, pair.b):
        event = await soon(ends[client].get())
        assert event.code == "protocol_error"
        assert event.reason == f"a message longer than {64 * MIB} bytes"
    assert heard.empty()


async def test_json_of_100_mb_within_the_longest_message_is_refused_and_the_session_lives(
    make_client: MakeClient, connect: Any
) -> None:
    patient = SessionConfig(max_message_size=128 * MIB)
    pair: Pair = await connect(await make_client(session=patient), await make_client(session=patient))
    heard = hear(pair.b)
    with pytest.raises(UsageError, match=r"100000002 bytes of JSON are over max_json_size \(1048576\)"):
        await pair.to_b.send("odd", "x" * 100_000_000)
    assert pair.to_b.try_send_encoded(Kind.JSON, b"odd", b'"' + b"x" * 100_000_000 + b'"')
    await soon(pair.to_b.send("end"))
    assert await soon(heard.get()) == "end"
    assert pair.b.statistics()["bad_payloads"] == 1
    assert await soon(pair.to_b.ping()) > 0


async def test_a_block_of_100_mb_of_a_librats_2_node_ends_its_session(make_client: MakeClient, until: Until) -> None:
    client = await make_client()
    ends: asyncio.Queue[PeerDisconnected] = asyncio.Queue()
    client.on_event(PeerDisconnected, ends.put_nowait)
    node = await soon(Librats2Node.dial(client.listen_port, KEY))
    await until(lambda: peer_id(KEY) in client.peers)
    node._writer.write((100_000_000).to_bytes(4) + bytes(1000))  # how long it is shows before it has come
    event = await soon(ends.get())
    assert event.code == "protocol_error"
    assert "a block of 100000000 bytes" in event.reason
    await node.close()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
async def test_what_is_no_number_in_json_arrives_as_null(pair: Pair, value: float) -> None:
    heard = hear(pair.b)
    await soon(pair.to_b.send("odd", {"n": value}))
    assert await soon(heard.get()) == {"n": None}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (nested(33), r"max_json_depth \(32\)"),
        (nested(10_000), "not JSON|max_json_depth"),
        ("x" * MIB, r"max_json_size \(1048576\)"),
        (10**5000, "not JSON"),
        ("\ud800", "not JSON"),
        ({"\ud800": 1}, "not JSON"),
    ],
    ids=["33 levels", "10,000 levels", "1 MiB", "5,001 digits", "lone surrogate", "lone surrogate in a key"],
)
async def test_an_honest_sender_hears_of_it_where_it_sends(pair: Pair, value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        await pair.to_b.send("odd", value)
    with pytest.raises(UsageError, match=words):
        await pair.to_b.request("ask", value)
    assert await soon(pair.to_b.ping()) > 0


def test_the_documentation_says_the_same() -> None:
    rows = re.findall(
        r"^\| (?!What|-+\|)(.+?) \| (taken|refused|ends the session)[^|]* \|$", PAGE.read_text(), re.MULTILINE
    )
    told = dict(rows)
    for name in TAKEN:
        assert told[name] == "taken", name
    for name in REFUSED:
        assert told[name] == "refused", name
