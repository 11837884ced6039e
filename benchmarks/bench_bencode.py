"""Bencode and messages of the DHT beside bencode2: read, written, and read as far as a node needs it to answer."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from benchmarks.conftest import Stage

from librats._core import bencode, krpc, krpc_writer
from librats.cli.measuring.contest import Contender, Contest, Sample, Target, at_least
from librats.cli.measuring.sealing import operations_rate

bencode2 = pytest.importorskip("bencode2")

ROUNDS = 7
FILES = 9000
chance = random.Random(7)  # noqa: S311 - made-up messages
some = chance.randbytes

ID, TARGET, NODES = some(20), some(20), some(208)
QUERIES: list[dict[bytes, Any]] = [
    {b"a": {b"id": ID}, b"q": b"ping", b"t": b"aa", b"v": b"LT\x02\x01", b"y": b"q"},
    {b"a": {b"id": ID, b"target": TARGET}, b"q": b"find_node", b"t": b"ab", b"v": b"LT\x02\x01", b"y": b"q"},
    {b"a": {b"id": ID, b"info_hash": TARGET}, b"q": b"get_peers", b"t": b"ac", b"v": b"LT\x02\x01", b"y": b"q"},
]
ANSWERS: list[dict[bytes, Any]] = [
    {b"r": {b"id": ID, b"nodes": NODES}, b"t": b"aa", b"v": b"LT\x02\x01", b"y": b"r"},
    {b"r": {b"id": ID, b"nodes": NODES, b"token": some(8)}, b"t": b"ab", b"v": b"LT\x02\x01", b"y": b"r"},
]
MANY_PEERS: dict[bytes, Any] = {
    b"r": {b"id": ID, b"nodes": NODES, b"token": some(8), b"values": [some(6) for _ in range(50)]},
    b"t": b"aa",
    b"y": b"r",
}
TORRENT: dict[bytes, Any] = {
    b"announce": b"http://tracker.example.org/announce",
    b"info": {
        b"files": [
            {b"length": chance.randrange(1 << 32), b"path": [b"folder-%d" % (index // 100), b"file-%d.bin" % index]}
            for index in range(FILES)
        ],
        b"name": b"a torrent",
        b"piece length": 1 << 18,
        b"pieces": some(20 * 20_000),
    },
}
SMALL = [*QUERIES, *ANSWERS]
RAW = [bencode2.bencode(message) for message in SMALL]
RAW_QUERIES = RAW[: len(QUERIES)]
RAW_TORRENT, RAW_PEERS = bencode2.bencode(TORRENT), bencode2.bencode(MANY_PEERS)


def each(function: Callable[[Any], object], values: list[Any]) -> None:
    for value in values:
        function(value)


def read_for_answer(data: bytes) -> tuple[bytes, int, bytes | None, bytes | None]:
    message = krpc.parse(data)
    return message.transaction_id, message.method, message.id, message.target or message.info_hash


def read_for_answer_with_bencode2(data: bytes) -> tuple[bytes, bytes, bytes, bytes | None]:
    message = bencode2.bdecode(data)
    arguments = message[b"a"]
    return message[b"t"], message[b"q"], arguments[b"id"], arguments.get(b"target") or arguments.get(b"info_hash")


def write_answer(fields: tuple[bytes, bytes, bytes, bytes]) -> bytes:
    transaction_id, own_id, nodes, token = fields
    return krpc_writer.response(transaction_id, own_id, nodes=nodes, token=token, version=b"RT")


def write_answer_with_bencode2(fields: tuple[bytes, bytes, bytes, bytes]) -> bytes:
    transaction_id, own_id, nodes, token = fields
    values = {b"id": own_id, b"nodes": nodes, b"token": token}
    written: bytes = bencode2.bencode({b"r": values, b"t": transaction_id, b"v": b"RT", b"y": b"r"})
    return written


def rate(operation: Callable[[], object], times: int, count: int) -> Sample:
    """Measure without the garbage collector, whose runs cost both the same, and now this one, now the other."""
    gc.collect()
    gc.disable()
    try:
        return operations_rate(operation, times, count)
    finally:
        gc.enable()


def hold(  # noqa: PLR0917 - one line for each figure
    stage: Stage,
    figure: str,
    ours: Callable[[Any], object],
    theirs: Callable[[Any], object],
    values: list[Any],
    times: int,
    target: Target,
) -> None:
    times = stage.scaled(times)
    contest = Contest(
        figure,
        "values/s",
        [
            Contender("librats", lambda: rate(partial(each, ours, values), times, len(values))),
            Contender("bencode2", lambda: rate(partial(each, theirs, values), times, len(values))),
        ],
    )
    stage.hold(contest, ROUNDS)
    stage.show(contest.beside("bencode2", target))


def read_torrent(data: bytes) -> object:
    return bencode.decode(data, max_tokens=1_000_000)


def bench_bencode_read(stage: Stage) -> None:
    assert [bencode.decode(data) for data in RAW] == SMALL
    hold(stage, "bencode read: small", bencode.decode, bencode2.bdecode, RAW, 20_000, at_least(1))


def bench_bencode_read_peers(stage: Stage) -> None:
    hold(stage, "bencode read: 50 peers", bencode.decode, bencode2.bdecode, [RAW_PEERS], 20_000, at_least(1))


def bench_bencode_read_torrent(stage: Stage) -> None:
    assert read_torrent(RAW_TORRENT) == TORRENT
    hold(stage, "bencode read: 9,000 files", read_torrent, bencode2.bdecode, [RAW_TORRENT], 20, at_least(1.3))


def bench_bencode_written(stage: Stage) -> None:
    assert [bencode.encode(message) for message in SMALL] == RAW
    hold(stage, "bencode written: small", bencode.encode, bencode2.bencode, SMALL, 20_000, at_least(1.5))


def bench_bencode_written_torrent(stage: Stage) -> None:
    assert bencode.encode(TORRENT) == RAW_TORRENT
    hold(stage, "bencode written: 9,000 files", bencode.encode, bencode2.bencode, [TORRENT], 40, at_least(1.5))


def bench_krpc_read(stage: Stage) -> None:
    hold(stage, "KRPC read lazily", krpc.parse, bencode2.bdecode, RAW, 30_000, at_least(4))


def bench_krpc_read_peers(stage: Stage) -> None:
    hold(stage, "KRPC read lazily: 50 peers", krpc.parse, bencode2.bdecode, [RAW_PEERS], 30_000, at_least(4))


def bench_krpc_read_for_answer(stage: Stage) -> None:
    assert read_for_answer(RAW[1])[3] == read_for_answer_with_bencode2(RAW[1])[3] == TARGET
    ours, theirs = read_for_answer, read_for_answer_with_bencode2
    hold(stage, "KRPC query read for its answer", ours, theirs, RAW_QUERIES, 30_000, at_least(1.5))


def bench_krpc_written(stage: Stage) -> None:
    fields = (b"aa", ID, NODES, b"12345678")
    assert write_answer(fields) == write_answer_with_bencode2(fields)
    ours, theirs = write_answer, write_answer_with_bencode2
    hold(stage, "KRPC answer written", ours, theirs, [fields], 30_000, at_least(1.5))
