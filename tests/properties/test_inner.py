"""The compiled inner messages of librats 2 against the slow oracle, on random, damaged and hostile bytes."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import inner as oracle
from tests.reference.framing import Sealer
from tests.reference.runs import each

from librats._core.aead import Cipher
from librats._core.inner import InnerQueue, InnerReader, InnerWriter
from librats._core.messages import Message, MessageRun

KEY = bytes(range(32))
MAX_MESSAGE = 300_000

names = st.text(max_size=8).map(str.encode)
sizes = st.sampled_from([0, 1, 3, 100, 4_060, 4_076, 70_000, 262_100, 300_000])
payloads = st.binary(max_size=40) | st.builds(lambda size, fill: bytes([fill]) * size, sizes, st.integers(0, 255))
kinds = st.integers(0, 10) | st.integers(0, 255)


def channel(number: int) -> tuple[int, str] | None:
    return (1 + number % 3 % 2, f"channel {number}") if number % 3 else None


@st.composite
def inners(draw: st.DrawFn) -> bytes:
    """Return an inner message that has, mostly, the fields of its type."""
    if draw(st.booleans()):
        return oracle.typed(draw(names | st.binary(max_size=4)), draw(payloads))
    kind = draw(kinds)
    payload = draw(payloads) if draw(st.booleans()) else draw(st.binary(min_size=9, max_size=9))
    return oracle.inner(kind, payload, channel=draw(st.integers(0, 65535)), flags=draw(st.integers(0, 255)))


def fields(news: list[Message | MessageRun | tuple[object, ...]]) -> list[tuple[object, ...]]:
    return [("message", n.kind, n.name, n.payload) if isinstance(n, Message) else n for n in each(news)]


def compare(data: bytes, pieces: list[bytes], *, plain: bool) -> oracle.Reader:
    """Have both read the same, in other pieces, and see that they agree on everything."""
    slow = oracle.Reader(None if plain else Sealer(KEY), MAX_MESSAGE, channel)
    slow.feed(data)
    fast = InnerReader(None if plain else Cipher(KEY), MAX_MESSAGE, channel)
    news = [fields_ for piece in pieces for fields_ in fields(fast.feed(piece))]
    assert news == slow.news
    assert (fast.error is not None) == slow.broken
    assert fast.skipped == slow.skipped
    assert fast.window_used == slow.window_used
    assert fast.messages == sum(n[0] == "message" for n in slow.news)
    assert fast.others == len(slow.news) - fast.messages
    assert fast.buffer_size <= max(262_144, 2 * MAX_MESSAGE)
    return slow


def cut(data: bytes, seed: int) -> list[bytes]:
    rng = random.Random(seed)  # noqa: S311 - nothing here is a secret
    pieces = []
    while data:
        size = rng.choice([1, 3, 20, 1000, 100_000])
        pieces.append(data[:size])
        data = data[size:]
    return pieces


@given(st.lists(inners(), max_size=12), st.booleans(), st.integers(0, 1000))
def test_both_read_the_same(bodies: list[bytes], plain: bool, seed: int) -> None:
    sealer = Sealer(KEY)
    data = b"".join(oracle.plain_block(body) if plain else sealer.block(body) for body in bodies)
    assert not compare(data, cut(data, seed), plain=plain).broken


@given(
    st.lists(st.tuples(st.booleans(), names, payloads), max_size=12),
    st.booleans(),
    st.sampled_from([1, 100, 5000, 1 << 18]),
)
def test_what_is_written_is_what_the_oracle_writes(
    entries: list[tuple[bool, bytes, bytes]], plain: bool, limit: int
) -> None:
    queue = InnerQueue()
    sealer = Sealer(KEY)
    expected = b""
    for is_json, name, payload in entries:
        if is_json:
            queue.add_typed(name, payload)
            body = oracle.typed(name, payload)
        else:
            queue.add_app(name, payload)
            body = oracle.inner(oracle.APP, payload, channel=oracle.channel_number(name))
        expected += oracle.plain_block(body) if plain else sealer.block(body)
    writer = InnerWriter(None if plain else Cipher(KEY))
    rounds = list(iter(lambda: writer.seal(InnerQueue(), queue, limit), b""))
    assert b"".join(rounds) == expected
    assert writer.sealed == len(entries)


@given(st.binary(max_size=400), st.booleans(), st.integers(0, 1000))
def test_random_bytes_are_read_or_refused_alike(data: bytes, plain: bool, seed: int) -> None:
    compare(data, cut(data, seed), plain=plain)


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(0, 1000))
def test_random_inner_messages_are_read_or_refused_alike(bodies: list[bytes], seed: int) -> None:
    sealer = Sealer(KEY)
    data = b"".join(map(sealer.block, bodies))
    compare(data, cut(data, seed), plain=False)


def mutated(rng: random.Random, data: bytes) -> bytes:
    """Change bytes, cut, repeat or insert."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        choice = rng.randrange(6)
        if choice == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif choice == 1:
            del changed[at : at + rng.choice([1, 4, 30])]
        elif choice == 2:
            changed[at:at] = rng.randbytes(rng.choice([1, 4, 40]))
        elif choice == 3:
            changed[at:at] = changed[at : at + rng.randint(1, 60)]
        elif choice == 4 and at < len(changed):
            changed[at] = rng.choice([0, 1, 0x7F, 0xFF])
        else:
            changed[at : at + 4] = struct.pack(">I", rng.choice([0, 3, 4, 20, 1 << 20, 64 << 20, (64 << 20) + 1]))
    return bytes(changed)


def fuzz(rounds: int) -> None:
    rng = random.Random(rounds)  # noqa: S311 - nothing here is a secret
    broken = 0
    for _ in range(rounds):
        plain = rng.random() < 0.8  # where the damage reaches the inner messages
        bodies = [
            oracle.typed(rng.choice([b"", b"chat", "ü".encode()]), rng.randbytes(rng.choice([0, 2, 50])))
            if rng.random() < 0.4
            else oracle.inner(rng.randrange(12), rng.randbytes(rng.choice([0, 9, 9, 60])), channel=rng.randrange(65536))
            for _ in range(rng.randint(1, 5))
        ]
        sealer = Sealer(KEY)
        if plain:
            data = mutated(rng, b"".join(map(oracle.plain_block, bodies)))
        elif rng.random() < 0.5:
            data = mutated(rng, b"".join(map(sealer.block, bodies)))
        else:
            data = b"".join(sealer.block(mutated(rng, body)) for body in bodies)
        broken += compare(data, cut(data, rng.randrange(1000)), plain=plain).broken
    assert rounds * 0.1 < broken < rounds * 0.9  # so that both outcomes were met often


def test_damaged_bytes_are_read_or_refused_alike() -> None:
    fuzz(2_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_hundred_thousand_damaged_links_are_read_or_refused_alike() -> None:
    fuzz(100_000)
