"""Scrape over HTTP: which URL is asked, and answers that are as they should be and others (BEP 48, 21)."""

from __future__ import annotations

from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.tracker_http import MAX_REPLY
from librats.bittorrent.tracker_scrape import MAX_SCRAPED, ScrapeReply, SwarmCounts, read_scrape_reply, scrape_url
from librats.errors import RemoteProtocolError, UsageError

HASH = bytes(range(200, 220))
ASKED = "?info_hash=%C8%C9%CA%CB%CC%CD%CE%CF%D0%D1%D2%D3%D4%D5%D6%D7%D8%D9%DA%DB"


@pytest.mark.parametrize(
    ("announced", "scraped"),
    [
        ("http://t.example/announce", "http://t.example/scrape"),
        ("http://t.example/x/announce", "http://t.example/x/scrape"),
        ("https://t.example:8443/announce.php", "https://t.example:8443/scrape.php"),
        ("http://t.example/0123abcd/announce", "http://t.example/0123abcd/scrape"),
        ("http://t.example/announce/0123abcd", "http://t.example/scrape/0123abcd"),
        ("http://t.example/announce/announce", "http://t.example/announce/scrape"),
        ("http://announce.example/announce", "http://announce.example/scrape"),
        ("http://t.example/announce#announce", "http://t.example/scrape"),
    ],
)
def test_scrape_stands_where_announce_did(announced: str, scraped: str) -> None:
    assert scrape_url(announced, [HASH]) == scraped + ASKED


def test_the_query_of_a_tracker_stays_as_it_is() -> None:
    assert scrape_url("http://t.example/announce?x=2%0644&u=a/b", [HASH]) == (
        "http://t.example/scrape?x=2%0644&u=a/b&" + ASKED[1:]
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://t.example/a",
        "http://t.example/",
        "http://t.example",
        "http://announce",
        "http://t.example/x%064announce",
        "http://t.example/ANNOUNCE",
        "http://t.example/a?b=/announce",
        "http://[::1/announce",
        "announce",
        "",
    ],
)
def test_a_tracker_without_announce_in_its_path_cannot_be_scraped(url: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be scraped|no URL"):
        scrape_url(url, [HASH])


def test_several_torrents_are_asked_about_at_once() -> None:
    url = scrape_url("http://t.example/announce", [b"a" * 20, b"b" * 20])
    assert url == "http://t.example/scrape?info_hash=" + "a" * 20 + "&info_hash=" + "b" * 20


@pytest.mark.parametrize("hashes", [[], [b"a" * 20] * (MAX_SCRAPED + 1), [b"a" * 19], [b"a" * 20, b"b" * 32]])
def test_hashes_that_a_tracker_cannot_be_asked_about_are_refused(hashes: list[bytes]) -> None:
    with pytest.raises(UsageError, match=r"1 to 74 torrents|has 20 bytes"):
        scrape_url("http://t.example/announce", hashes)


def test_both_hashes_of_a_hybrid_are_asked_about_and_that_of_version_2_is_cut_short() -> None:
    first, second = b"1" * 20, b"2" * 32
    assert Magnet(info_hash_v1=first, info_hash_v2=second).info_hashes == (b"1" * 20, b"2" * 20)
    assert Magnet(info_hash_v1=first).info_hashes == (b"1" * 20,)
    assert Magnet(info_hash_v2=second).info_hashes == (b"2" * 20,)


def test_the_example_that_the_convention_gives_is_read() -> None:
    raw = b"d5:filesd20:....................d8:completei5e10:downloadedi50e10:incompletei10eeee"
    assert read_scrape_reply(raw, [b"." * 20]) == ScrapeReply(
        counts={b"." * 20: SwarmCounts(seeds=5, downloaded=50, leechers=10)}
    )


def answer(told: Any, **more: Any) -> bytes:
    return bencode.encode({b"files": {HASH: told}, **{key.encode(): value for key, value in more.items()}})


def test_a_name_partial_seeds_and_when_to_ask_again_are_read_where_they_are_told() -> None:
    told = {b"complete": 1, b"incomplete": 9, b"downloaded": 3, b"downloaders": 4, b"name": b"album"}
    reply = read_scrape_reply(answer(told, flags={b"min_request_interval": 900}), [HASH])
    assert reply.min_interval == 900
    assert reply.counts[HASH] == SwarmCounts(seeds=1, leechers=9, downloaded=3, downloaders=4, name="album")


def test_a_torrent_that_the_tracker_does_not_know_is_left_out_and_others_than_asked_about_are() -> None:
    raw = bencode.encode({b"files": {b"o" * 20: {b"complete": 1}, HASH: {b"complete": 2}}})
    reply = read_scrape_reply(raw, [HASH, b"m" * 20])
    assert {info_hash: counts.seeds for info_hash, counts in reply.counts.items()} == {HASH: 2}
    assert read_scrape_reply(b"d5:filesdee", [HASH]).counts == {}


def test_a_hash_that_the_tracker_takes_for_a_text_is_known_again() -> None:
    raw = b"d5:filesd40:" + b"\xc3\x88" * 20 + b"d8:completei0e10:downloadedi0e10:incompletei1eee"
    raw += b"5:flagsd20:min_request_intervali600eee"  # of bittorrent-tracker 11
    reply = read_scrape_reply(raw, [b"\xc8" * 20])
    assert reply.counts == {b"\xc8" * 20: SwarmCounts(seeds=0, leechers=1, downloaded=0)}
    assert reply.min_interval == 600


@pytest.mark.parametrize("value", [-1, -(10**30), b"7", [], {}])
def test_numbers_that_cannot_be_count_as_none(value: Any) -> None:
    counts = read_scrape_reply(answer({b"complete": value, b"incomplete": value, b"name": 7}), [HASH]).counts[HASH]
    assert (counts.seeds, counts.leechers, counts.downloaded, counts.downloaders, counts.name) == (0, 0, 0, None, "")


def test_numbers_beyond_all_reason_are_cut_and_names_too() -> None:
    told = {b"complete": 10**30, b"name": b"n" * 5000}
    reply = read_scrape_reply(answer(told, flags={b"min_request_interval": 10**30}), [HASH])
    assert (reply.counts[HASH].seeds, len(reply.counts[HASH].name), reply.min_interval) == (2**31 - 1, 512, 86_400)


@pytest.mark.parametrize("flags", [7, [], {b"min_request_interval": -1}, {b"min_request_interval": b"x"}])
def test_flags_that_are_none_are_no_reason_to_refuse(flags: Any) -> None:
    assert read_scrape_reply(answer({}, flags=flags), [HASH]).min_interval == 0


def test_what_is_no_dictionary_tells_of_no_torrent() -> None:
    assert read_scrape_reply(answer(7), [HASH]).counts == {}


def test_a_refusal_is_told_in_the_words_of_the_tracker() -> None:
    with pytest.raises(RemoteProtocolError, match="refuses: not here"):
        read_scrape_reply(bencode.encode({b"failure reason": b"not here"}), [HASH])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"de",
        b"le",
        b"d5:filesi1ee",
        b"d5:filesle" + b"e",
        b"d5:files" + b"d1:a" * 50 + b"e" * 51,
        b"d5:files" + b"l" * 100_000,
        b"d5:filesd" + b"".join(b"20:%020dde" % number for number in range(20_000)) + b"ee",
        bytes(MAX_REPLY + 1),
    ],
    ids=["nothing", "html", "empty", "list", "number", "files-list", "deep", "deeper", "many", "long"],
)
def test_what_is_no_answer_or_beyond_a_limit_is_refused(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        read_scrape_reply(raw, [HASH])
