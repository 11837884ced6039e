"""The peer wire, extensions and trackers, from whoever breaks their rules: one documented error, or none."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from librats.bittorrent.extensions import (
    read_extended_handshake,
    read_holepunch,
    read_metadata_message,
    read_pex,
)
from librats.bittorrent.messages import Handshake, Message, Piece, read_message, write_message
from librats.bittorrent.reader import MAX_MESSAGE, MessageReader
from librats.bittorrent.tracker_http import AnnounceRequest, read_announce_reply
from librats.bittorrent.tracker_scrape import read_scrape_reply, scrape_url
from librats.bittorrent.tracker_udp import UdpTracker
from librats.errors import RemoteProtocolError, UsageError
from librats.runtime.entropy import SystemEntropy

HELLO = Handshake.of(b"h" * 20, b"p" * 20).encode()
KEYS = [
    b"1:m",
    b"e",
    b"d",
    b"l",
    b"i7e",
    b"i-1e",
    b"8:msg_type",
    b"5:piece",
    b"5:added",
    b"5:peers",
    b"6:added6",
    b"5:files",
    b"5:flags",
    b"20:" + b"h" * 20,
    b"8:complete",
    b"11:downloaders",
    b"0:",
]
bencoded = st.lists(st.one_of(st.sampled_from(KEYS), st.binary(max_size=8)), max_size=20).map(b"".join)


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=10))
def test_bytes_are_messages_or_refused_however_they_are_cut(tail: bytes, cuts: list[int]) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[Message], bool]:
        reader, read = MessageReader(), []
        try:
            for part in parts:
                for message in reader.feed(part):
                    read.append(message._replace(block=bytes(message.block)) if isinstance(message, Piece) else message)
                assert reader.waiting <= MAX_MESSAGE + 4
        except RemoteProtocolError:
            return [], True
        return read, False

    raw, parts, at = HELLO + tail, [], 0
    for cut in cuts:
        parts.append(raw[at : at + cut])
        at += cut
    whole = outcome([raw])
    assert outcome([*parts, raw[at:]]) == whole
    for message in whole[0]:
        ((again),) = MessageReader().feed(HELLO + write_message(message))
        assert again == message


@given(st.integers(0, 255), st.binary(max_size=100))
def test_a_payload_of_any_kind_is_read_or_refused(message_id: int, payload: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        message = read_message(message_id, payload)
        assert write_message(message)[4:] == bytes([message_id]) + payload


@given(st.one_of(st.binary(max_size=60), bencoded, bencoded.map(lambda raw: b"d" + raw + b"e")))
def test_what_others_send_in_extensions_and_trackers_answer_is_read_or_refused(raw: bytes) -> None:
    for read in (read_extended_handshake, read_metadata_message, read_pex, read_holepunch, read_announce_reply):
        with contextlib.suppress(RemoteProtocolError):
            read(raw)


@given(st.one_of(st.binary(max_size=60), bencoded.map(lambda raw: b"d5:filesd20:" + b"h" * 20 + b"d" + raw + b"eee")))
def test_what_trackers_answer_to_a_scrape_is_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        reply = read_scrape_reply(raw, [b"h" * 20])
        assert set(reply.counts) <= {b"h" * 20}
        for counts in reply.counts.values():
            assert min(counts.seeds, counts.leechers, counts.downloaded, counts.downloaders or 0) >= 0


@given(st.text(max_size=40), st.sampled_from(["", "http://t.example/", "http://t.example/announce"]))
def test_any_text_is_a_tracker_that_can_be_scraped_or_is_refused(text: str, begin: str) -> None:
    with contextlib.suppress(UsageError):
        assert "/scrape" in scrape_url(begin + text, [b"h" * 20])


@given(st.booleans(), st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=40)), max_size=8))
def test_a_tracker_over_udp_may_send_what_it_wants(is_scrape: bool, answers: list[tuple[int, bytes]]) -> None:
    tracker = UdpTracker(SystemEntropy())
    if is_scrape:
        tracker.scrape([bytes(20), b"h" * 20], now=0.0)
    else:
        tracker.announce(AnnounceRequest(info_hash=bytes(20), peer_id=bytes(20), port=1), now=0.0)
    sent = b""
    for action, rest in answers:
        sent = next(iter(tracker.datagrams_to_send()), sent)
        with contextlib.suppress(RemoteProtocolError):
            tracker.receive_datagram(action.to_bytes(4) + sent[12:16] + rest, 1.0)
