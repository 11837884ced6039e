"""Trackers over HTTP: what is asked, and answers that are as they should be and others."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from librats._core import bencode
from librats.bittorrent.tracker_http import MAX_REPLY, AnnounceRequest, announce_url, read_announce_reply
from librats.errors import RemoteProtocolError
from librats.types import Address

REQUEST = AnnounceRequest(
    info_hash=bytes(range(200, 220)), peer_id=b"-RB0001-abcdefghijkl", port=6881, left=7, event="started", key=255
)


def test_all_that_a_tracker_must_know_is_in_the_url() -> None:
    url = urlsplit(announce_url("https://t.example:8443/a?pass=1#x", REQUEST, tracker_id=b"id&"))
    assert (url.scheme, url.netloc, url.path, url.fragment) == ("https", "t.example:8443", "/a", "")
    fields = dict(parse_qsl(url.query, encoding="latin-1"))
    assert fields["info_hash"].encode("latin-1") == REQUEST.info_hash
    assert {key: fields[key] for key in ("pass", "port", "left", "compact", "event", "key", "trackerid")} == {
        **{"pass": "1", "port": "6881", "left": "7", "compact": "1", "event": "started"},
        **{"key": "000000ff", "trackerid": "id&"},
    }


def test_compact_peers_of_both_families_are_read() -> None:
    reply = read_announce_reply(
        bencode.encode(
            {
                b"peers": bytes([192, 0, 2, 1, 0, 80, 192, 0, 2, 2, 0, 0, 9]),
                b"peers6": bytes.fromhex("20010db8" + "00" * 11 + "01") + b"\x1a\xe1",
                b"interval": 900,
                b"min interval": 60,
                b"complete": 3,
                b"incomplete": 4,
                b"tracker id": b"x",
                b"warning message": b"slow",
                b"external ip": bytes([198, 51, 100, 7]),
            }
        )
    )
    assert reply.peers == (Address("192.0.2.1", 80), Address("2001:db8::1", 6881))
    assert (reply.interval, reply.min_interval, reply.seeds, reply.leechers) == (900, 60, 3, 4)
    assert (reply.tracker_id, reply.warning, reply.external_ip) == (b"x", "slow", "198.51.100.7")


def test_peers_as_dictionaries_are_read_and_what_is_none_left_out() -> None:
    peers = [
        {b"ip": b"192.0.2.1", b"port": 80, b"peer id": bytes(20)},
        {b"ip": b"host.example", b"port": 81},
        {b"ip": b"192.0.2.1", b"port": 0},
        {b"ip": b"a b", b"port": 80},
        {b"port": 80},
        7,
    ]
    reply = read_announce_reply(bencode.encode({b"peers": peers}))
    assert reply.peers == (Address("192.0.2.1", 80), Address("host.example", 81))
    assert reply.interval == 1800


def test_a_refusal_is_told_in_the_words_of_the_tracker() -> None:
    with pytest.raises(RemoteProtocolError, match="not registered"):
        read_announce_reply(b"d14:failure reason14:not registerede")


@pytest.mark.parametrize("raw", [b"", b"<html>", b"i1e", b"d", bytes(MAX_REPLY + 1), b"l" * 50 + b"e" * 50])
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_announce_reply(raw)


def test_numbers_that_cannot_be_count_as_not_there() -> None:
    reply = read_announce_reply(bencode.encode({b"interval": -5, b"complete": b"x", b"min interval": 10**9}))
    assert (reply.interval, reply.seeds, reply.min_interval) == (1800, 0, 86_400)
