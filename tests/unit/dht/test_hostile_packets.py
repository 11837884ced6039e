"""A node in a rain of packets that were changed on their way: it lives, stays small, and sends no more than it may."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from types import BuiltinFunctionType, FunctionType, ModuleType

import pytest
from tests.simulation.many_nodes import Chance

from librats._core import bencode, krpc, krpc_writer
from librats.dht.addresses import compact
from librats.dht.answering import AMPLIFICATION, FIND_NODE, PING
from librats.dht.items import sign_item
from librats.dht.node import DhtNode
from librats.errors import BencodeError, KrpcError

FIRST = compact("203.0.113.1", 6881)
FRIEND = compact("198.51.100.9", 6881)
HASH = b"h" * 20
SOURCES = 500
STEP = 0.01
LENGTHS = [b"0", b"9", b"65536", b"2147483648", b"9223372036854775808", b"-1", b"00"]
ITEM = sign_item("value", seed=bytes(32), sequence=1)
ASKED = {"target": HASH, "info_hash": HASH, "token": b"t", "port": 1, "want": [b"n4", b"n6"], "scrape": True}
SIGNED = {"item": ITEM.value, "key": ITEM.key, "signature": ITEM.signature, "sequence": 1}
QUERIES = [krpc_writer.query(method, b"aa", b"x" * 20, **ASKED, **SIGNED) for method in range(1, 8)]  # type: ignore[arg-type]


def source(number: int) -> bytes:
    return bytes([203, 1 + number >> 8, number & 255, 7, 26, 225])


def mutated(data: bytes, chance: Chance) -> bytes:
    """Change a packet in some places: other bytes, more or fewer of them, other lengths, a part of itself again."""
    changed = bytearray(data)
    for _ in range(chance.randbelow(4)):
        place = chance.randbelow(len(changed) + 1)
        kind = chance.randbelow(6)
        if kind < 2:
            changed[place : place + 1] = chance.token_bytes(1)
        elif kind == 2:
            del changed[place : place + 1 + chance.randbelow(8)]
        elif kind == 3:
            changed[place:place] = chance.token_bytes(chance.randbelow(8))
        elif kind == 4:
            colon = changed.find(b":", place)
            changed[max(0, colon - 2) : max(0, colon)] = LENGTHS[chance.randbelow(len(LENGTHS))]
        else:
            changed[place:place] = changed[chance.randbelow(len(changed) + 1) :][:40]
    return bytes(changed)


def deep_size(node: DhtNode) -> int:
    """Return how many bytes all the objects of a node take that Python knows of."""
    seen, found, size = set(), [node], 0
    while found:
        one = found.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | BuiltinFunctionType):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        found += gc.get_referents(one)
    return size


class Rain:
    """A node, and who has sent it how much, and got how much from it."""

    def __init__(self) -> None:
        self.chance = Chance(7)
        self.node = DhtNode(Chance(1), now=0.0, bootstrap=[FIRST])
        self.now = 0.0
        self.given: Counter[bytes] = Counter()
        self.got: Counter[bytes] = Counter()
        self.proven = {FRIEND}
        self._asked: list[tuple[bytes, bytes]] = []

    def fall(self, count: int) -> None:
        """Let so many packets fall; the friend answers what it is asked."""
        for number in range(count):
            self.now += STEP
            if self._asked and number % 3 == 0:
                data, where = self._asked.pop()
                self._receive(mutated(self._answer(data), self.chance), where)
                self.proven.add(where)
            else:
                packet = QUERIES[number % len(QUERIES)]
                self._receive(mutated(packet, self.chance), source(self.chance.randbelow(SOURCES)))
            if number % 50 == 0:
                self.node.handle_timer(now=self.now)
                self._flush()

    def _answer(self, data: bytes) -> bytes:
        transaction_id = krpc.parse(data).transaction_id
        told = self.chance.token_bytes(20) + source(self.chance.randbelow(SOURCES))
        return krpc_writer.response(
            transaction_id, b"y" * 20, nodes=told * 3, values=[told[20:]], token=b"t", item=b"1:v"
        )

    def _receive(self, data: bytes, where: bytes) -> None:
        self.given[where] += len(data)
        self.node.receive_datagram(data, where, now=self.now)
        self._flush()

    def _flush(self) -> list[bytes]:
        to_friend = []
        for data, where in self.node.datagrams_to_send():
            self.got[where] += len(data)
            if where == FRIEND:
                to_friend.append(data)
            elif krpc.parse(data).kind == krpc.QUERY:
                self._asked = [*self._asked[-200:], (data, where)]
        return to_friend

    def asks(self, method: int) -> krpc.KrpcMessage | None:
        """Let the friend ask; return what it is answered."""
        self.node.receive_datagram(krpc_writer.query(method, b"ff", b"f" * 20, target=HASH), FRIEND, now=self.now)
        answers = [krpc.parse(data) for data in self._flush()]
        return next((answer for answer in answers if answer.transaction_id == b"ff"), None)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_mutated_packets_do_no_harm(count: int) -> None:
    rain = Rain()
    rain.fall(count // 2)
    before = deep_size(rain.node)
    for _ in range(10):
        rain.fall(count // 20)
        for method in (PING, FIND_NODE):
            answer = rain.asks(method)
            assert answer is not None
            assert answer.kind == krpc.RESPONSE
    assert deep_size(rain.node) < 1.1 * before
    statistics = rain.node.statistics()
    assert statistics["answering: malformed"] > count // 20
    assert statistics["asking: answers"] > count // 200


def test_who_has_not_proven_himself_is_sent_no_more_than_four_bytes_for_one() -> None:
    rain = Rain()
    rain.fall(20_000)
    strangers = [where for where in rain.given if where not in rain.proven]
    assert len(strangers) > SOURCES // 4
    assert max(rain.got[where] / rain.given[where] for where in strangers) <= AMPLIFICATION


NESTS = {
    "lists": (b"l" * 20_000, 64),
    "dictionaries": (b"d1:a" * 5_000, 64 * 4),
    "digits": (b"i" + b"1" * 1_000_000 + b"e", 641),
    "a long length": (b"9223372036854775808:abc", 0),
    "a longer length": (b"9" * 1_000_000 + b":abc", 0),
    "a length within": (b"d1:a9223372036854775807:xe", 4),
}


@pytest.mark.parametrize("name", NESTS)
def test_what_would_take_long_to_read_is_refused_where_it_goes_wrong(name: str) -> None:
    data, offset = NESTS[name]
    node = DhtNode(Chance(1), now=0.0)
    with pytest.raises(BencodeError) as refused:
        bencode.decode(data)
    assert refused.value.offset == offset
    with pytest.raises((BencodeError, KrpcError)):
        krpc.parse(data)
    node.receive_datagram(data, FIRST, now=0.0)
    assert node.statistics()["answering: malformed"] == 1
