"""A stream beside sessions recorded from librats 2.1.4: the same packets come out where the rules leave no choice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.joined_tables import Seeded

from librats._core.rudp import RudpTable
from librats._core.rudp_packets import parse, serialise
from librats._core.rudp_stream import RudpStream
from librats.rudp.constants import CloseCause, PacketKind, StreamEvent
from librats.types import Address

VECTORS = Path(__file__).parents[2] / "vectors" / "librats2" / "udp_sessions.json"
SESSIONS: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
PEER = Address("192.0.2.7", 4000)
START = 1000.0


class Node:
    """A table that stands where the recorded node stood."""

    def __init__(self, **settings: Any) -> None:
        self.table = RudpTable(entropy=Seeded("node"), **settings)
        self.stream: RudpStream | None = None
        self.now = START

    def feed(self, *datagrams: bytes) -> list[dict[str, Any]]:
        assert self.table.receive([(data, PEER) for data in datagrams], self.now) == []
        return self.outcome()

    def outcome(self) -> list[dict[str, Any]]:
        for stream, bits in self.table.events():
            if bits & StreamEvent.INCOMING:
                self.stream = stream
        return [parse(data) for data, _ in self.table.transmit(self.now)]

    def wait(self, seconds: float) -> list[tuple[float, dict[str, Any]]]:
        """Let time go by, timer after timer; return what went out, and when."""
        found: list[tuple[float, dict[str, Any]]] = []
        stop = self.now + seconds
        while True:
            due = self.table.next_timer()
            if due is None or due > stop:
                self.now = stop
                return found
            self.now = max(self.now, due)
            self.table.handle_timer(self.now)
            found += [(self.now, packet) for packet in self.outcome()]


def accepted(number: int = 0x11223345, **settings: Any) -> Node:
    node = Node(**settings)
    answer = node.feed(serialise(PacketKind.SYN, conn_id=number, number=1, window=1024))
    assert [packet["kind"] for packet in answer] == [PacketKind.ACK]
    return node


def stream_of(node: Node) -> RudpStream:
    assert node.stream is not None
    return node.stream


def told(packet: dict[str, Any]) -> tuple[int, ...]:
    return packet["kind"], packet["conn_id"], packet["number"], packet["ack"]


def said(row: dict[str, Any]) -> tuple[int, ...]:
    return PacketKind[row["type"]], row["conn_id"], row["seq"], row["ack"]


@pytest.mark.parametrize("probe", SESSIONS["raw_probes"], ids=lambda probe: probe["note"])
def test_strangers_are_answered_as_by_librats_2(probe: dict[str, Any]) -> None:
    node = Node()
    if probe["note"].startswith("same SYN"):
        node.feed(bytes.fromhex(probe["sent"]))
    datagram = bytes.fromhex(probe["sent"])
    left = node.table.receive([(datagram, PEER)], START)
    assert left == ([] if 0x10 <= datagram[0] <= 0x16 else [(datagram, PEER)])
    answers = [
        [PacketKind(packet["kind"]).name, hex(packet["conn_id"]), packet["number"], packet["ack"], packet["window"]]
        for packet in node.outcome()
    ]
    if "unknown flag bits" in probe["note"]:
        # Bit 1 is ours: the answer says that it was understood, and numbers begin anywhere.
        answers = [[*answer[:2], 1, *answer[3:]] for answer in answers]
    if "seq 7" in probe["note"]:
        # librats 2 answers and keeps a dial that can never end; here it is dropped.
        assert (answers, len(node.table)) == ([], 0)
    else:
        assert answers == probe["answers"]


def replay(rows: list[dict[str, Any]], mine: str, node: Node) -> None:
    """Feed what the other side sent; what the node's side sent of data is written, and must come out again."""
    started = node.now
    for row in rows:
        node.now = started + row["t_ms"] / 1000
        datagram = bytes.fromhex(row["datagram"])
        if row["dir"].startswith(mine):
            if row["type"] == "DATA":
                assert stream_of(node).write(datagram[16:]) == len(datagram) - 16
            if row["type"] == "FIN":
                stream_of(node).finish()
            packets = node.outcome()
            if row["type"] in {"DATA", "FIN"}:
                sent = [packet for packet in packets if packet["kind"] == PacketKind[row["type"]]]
                assert [told(packet) for packet in sent] == [said(row)]
                assert sent[0]["payload"] == datagram[16:]
        else:
            node.feed(datagram)
            if node.stream is not None:
                node.stream.take()


@pytest.mark.parametrize("name", ["fin_from_client", "retry_cookie"])
def test_a_recorded_session_is_answered_alike(name: str) -> None:
    rows = [row for row in SESSIONS[name] if row["type"] != "RETRY"]
    replay(rows, "node", Node())


def test_a_recorded_dial_of_the_node_is_answered_alike() -> None:
    replay(SESSIONS["node_dials_client"], "client", Node())


def test_the_end_of_a_recorded_session_is_acknowledged_and_answered() -> None:
    node = Node()
    replay(SESSIONS["fin_from_client"], "node", node)
    assert stream_of(node).has_ended
    assert stream_of(node).is_closed


def test_holes_are_told_and_filled_as_recorded() -> None:
    rows = SESSIONS["hole_and_sack_from_node"]
    node = accepted(rows[0]["conn_id"])
    stream_of(node).renumber(3, 4)
    answers = [row for row in rows if row["dir"] == "node->client"]
    heard = iter(answers)
    node.feed(bytes.fromhex(rows[0]["datagram"]))
    stream_of(node).take()
    for row in rows[1:4]:
        wanted = next(heard)
        (answer,) = node.feed(bytes.fromhex(row["datagram"]))
        assert told(answer) == said(wanted)
        assert answer["sack"] == wanted["sack"]
    node.now += 0.151
    assert [told(packet) for packet in node.feed(bytes.fromhex(rows[7]["datagram"]))] == [said(rows[8])]
    assert stream_of(node).take() == b"".join(bytes.fromhex(rows[index]["datagram"])[16:] for index in (7, 1, 2, 3))


def test_an_acknowledgement_waits_as_long_as_recorded() -> None:
    rows = SESSIONS["delayed_ack"]
    node = accepted(rows[0]["conn_id"])
    prove(node)
    stream_of(node).renumber(3, 9)
    assert node.feed(bytes.fromhex(rows[0]["datagram"])) == []
    ((when, packet),) = node.wait(0.05)
    assert told(packet) == said(rows[1])
    assert when - START == pytest.approx(rows[1]["t_ms"] / 1000, abs=0.0025)


def prove(node: Node) -> None:
    """Let the stream send something that is acknowledged after a millisecond."""
    stream = stream_of(node)
    node.feed(serialise(PacketKind.DATA, conn_id=stream.number, number=2, window=1024, payload=b"y"))
    stream.take()
    stream.write(b"x")
    (packet,) = node.outcome()
    node.now += 0.001
    node.feed(serialise(PacketKind.ACK, conn_id=stream.number, number=3, ack=packet["number"], window=1024))


def test_what_is_not_acknowledged_is_sent_again_as_recorded() -> None:
    rows = SESSIONS["node_retransmits_when_unacked"]
    node = accepted(rows[0]["conn_id"] + 1)
    prove(node)
    stream_of(node).renumber(3, 10)
    payload = bytes.fromhex(rows[0]["datagram"])[16:]
    stream_of(node).write(payload)
    first = node.now
    sent = [(node.now, packet) for packet in node.outcome()] + node.wait(3.5)
    assert [told(packet) for _, packet in sent] == [said(row) for row in rows]
    assert all(packet["payload"] == payload for _, packet in sent)
    for (when, _), row in zip(sent, rows, strict=True):
        assert when - first == pytest.approx(row["t_ms"] / 1000, abs=0.005)


def test_a_shut_window_stops_and_an_open_one_starts_as_recorded() -> None:
    rows = SESSIONS["zero_window"]
    node = accepted(rows[0]["conn_id"])
    prove(node)
    stream_of(node).renumber(4, 10)
    assert node.feed(bytes.fromhex(rows[0]["datagram"])) == []
    stream_of(node).write(bytes.fromhex(rows[2]["datagram"])[16:])
    assert node.wait(1.053) == []
    (packet,) = node.feed(bytes.fromhex(rows[1]["datagram"]))
    assert told(packet) == said(rows[2])


def test_silence_is_broken_after_ten_seconds_and_ends_a_stream_after_45() -> None:
    node = accepted()
    prove(node)
    begun = node.now
    sent = node.wait(46)
    assert [packet["kind"] for _, packet in sent] == [PacketKind.ACK] * 4
    assert [round(when - begun) for when, _ in sent] == [10, 20, 30, 40]
    assert stream_of(node).cause == CloseCause.IDLE
    assert len(node.table) == 0


def test_a_dial_is_tried_three_times_in_three_and_a_half_seconds() -> None:
    node = Node()
    stream = node.table.dial(PEER, START)
    sent = [(node.now, packet) for packet in node.outcome()] + node.wait(10)
    assert [round(when - START, 1) for when, _ in sent] == [0, 0.5, 1.5]
    assert {packet["kind"] for _, packet in sent} == {PacketKind.SYN}
    assert stream.cause == CloseCause.NO_ANSWER
    assert len(node.table) == 0


def test_a_punch_is_tried_eight_times_in_a_row() -> None:
    node = Node()
    stream = node.table.dial(PEER, START, tries=8, wait=0.2, doubling=False)
    sent = [(node.now, packet) for packet in node.outcome()] + node.wait(10)
    assert [round(when - START, 1) for when, _ in sent] == [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4]
    assert stream.cause == CloseCause.NO_ANSWER


def test_a_recorded_retry_is_obeyed_once() -> None:
    node = Node()
    stream = node.table.dial(PEER, START)
    (syn,) = node.outcome()
    cookie = bytes.fromhex(SESSIONS["retry_cookie"][1]["datagram"])[16:]
    retry = serialise(PacketKind.RETRY, conn_id=stream.number, number=0, payload=cookie)
    (again,) = node.feed(retry)
    assert again == syn | {"payload": cookie}
    assert node.feed(retry) == []


def test_a_recorded_session_is_dialled_alike() -> None:
    rows = [dict(row) for row in SESSIONS["noise_session_with_fin_from_node"][:17]]
    node = Node(extended=False)
    node.stream = node.table.dial(PEER, START)
    base, theirs = node.stream.number, rows[0]["conn_id"]
    for row in rows:
        number = base + (row["conn_id"] - theirs + 1)
        datagram = bytes.fromhex(row["datagram"])
        row["conn_id"] = number
        row["datagram"] = (datagram[:4] + number.to_bytes(4) + datagram[8:]).hex()
    (syn,) = node.outcome()
    assert told(syn) == said(rows[0])
    replay(rows[1:], "client", node)
