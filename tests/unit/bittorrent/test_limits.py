"""The limits of what is read for BitTorrent: each holds to the very number, on both sides of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.bittorrent.joined_swarms import torrent_of

from librats._core import bencode
from librats.bittorrent import file_lists, metainfo
from librats.bittorrent.block_hashes import BlockServer
from librats.bittorrent.extensions import (
    MetadataKind,
    MetadataMessage,
    compact_peers,
    read_extended_handshake,
    read_metadata_message,
    read_pex,
)
from librats.bittorrent.file_lists import told_in_list
from librats.bittorrent.hash_exchange import LayerFetch, LayerServer, is_answerable
from librats.bittorrent.magnet import Magnet, parse_magnet
from librats.bittorrent.messages import Handshake, HashRequest, Piece, read_message
from librats.bittorrent.metadata import MetadataFetch
from librats.bittorrent.metainfo import read_info, read_torrent
from librats.bittorrent.names import SafePaths, clean_name
from librats.bittorrent.outer import is_tracker, is_web, read_nodes, read_trackers, read_web_seeds
from librats.bittorrent.reader import MessageReader
from librats.bittorrent.tracker_http import read_announce_reply
from librats.errors import DecodeError, RemoteProtocolError

INFO = b"d6:lengthi5e4:name4:file12:piece lengthi16384e6:pieces20:" + bytes(20) + b"e"
LINK = "magnet:?xt=urn:btih:" + 40 * "a"


def torrent(fields: bytes = b"") -> bytes:
    return b"d4:info" + INFO + fields + b"e"


def nested(depth: int) -> bytes:
    return b"1:z" + b"l" * depth + b"e" * depth


def is_taken(read: Callable[[Any], object], value: object) -> bool:
    try:
        read(value)
    except (DecodeError, RemoteProtocolError):
        return False
    return True


# Torrents


@pytest.mark.parametrize(("read", "raw"), [(read_torrent, torrent()), (read_info, INFO)])
def test_a_torrent_may_have_so_many_bytes(
    read: Callable[[bytes], object], raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert metainfo.MAX_TORRENT == 64 * 1024 * 1024
    for limit, taken in ((len(raw), True), (len(raw) - 1, False)):
        monkeypatch.setattr(metainfo, "MAX_TORRENT", limit)
        assert is_taken(read, raw) is taken


def test_a_torrent_is_a_hundred_levels_deep_at_most_and_has_a_hundred_fields() -> None:
    assert [is_taken(read_torrent, torrent(nested(depth))) for depth in (100, 101)] == [True, False]
    assert [is_taken(read_info, INFO[:-1] + nested(depth) + b"e") for depth in (99, 100)] == [True, False]
    fields = [b"3:%03di1e" % number for number in range(100)]
    assert [is_taken(read_torrent, torrent(b"".join(fields[:count]))) for count in (99, 100)] == [True, False]


def test_a_torrent_has_so_many_tokens_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metainfo.MAX_TOKENS == 5_000_000
    monkeypatch.setattr(metainfo, "MAX_TOKENS", 20)
    reads = [is_taken(read_torrent, torrent(b"1:zl" + b"i1e" * count + b"e")) for count in (19, 20)]
    assert reads == [True, False]
    reads = [is_taken(read_info, INFO[:-1] + b"1:zl" + b"i1e" * count + b"ee") for count in (9, 10)]
    assert reads == [True, False]


def test_pieces_and_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (metainfo.MAX_PIECES, file_lists.MAX_FILES) == (2_097_152, 1_000_000)
    monkeypatch.setattr(metainfo, "MAX_PIECES", 2)
    monkeypatch.setattr(file_lists, "MAX_FILES", 2)

    def of_pieces(count: int) -> bytes:
        pieces = {b"length": 16_384 * count, b"name": b"n", b"piece length": 16_384, b"pieces": bytes(20 * count)}
        return bencode.encode(pieces)

    assert [is_taken(read_info, of_pieces(count)) for count in (2, 3)] == [True, False]
    files = [{b"length": 1, b"path": [b"a"]}] * 3
    assert [is_taken(told_in_list, {b"files": files[:count]}) for count in (0, 2, 3)] == [False, True, False]


def test_paths_and_lengths_of_files_have_an_end() -> None:
    paths = [{b"files": [{b"length": 1, b"path": [b"a"] * parts}]} for parts in (64, 65)]
    assert [is_taken(told_in_list, info) for info in paths] == [True, False]
    assert [is_taken(told_in_list, {b"length": length}) for length in (-1, 0, 1 << 50, (1 << 50) + 1)] == [
        *(False, True, True, False)
    ]


def test_around_a_torrent_so_much_is_taken_over() -> None:
    urls = [b"http://t/%d" % number for number in range(300)]
    tiers = read_trackers({b"announce-list": [urls[:200], urls[200:]]})
    assert [len(tier) for tier in tiers] == [200, 56]
    assert len(read_web_seeds({b"url-list": urls})) == 256
    assert len(read_nodes([[b"host", 1]] * 65)) == 64
    hosts = read_nodes([[b"h" * 253, 65_535], [b"h" * 254, 1], [b"", 1], [b"h", 0], [b"h", 65_536]])
    assert [(len(node.host), node.port) for node in hosts] == [(253, 65_535)]
    for looks_like in (is_tracker, is_web):
        assert [looks_like("http://t/".ljust(length, "x")) for length in (2048, 2049)] == [True, False]
    read = read_web_seeds({b"url-list": [b"http://t/".ljust(length, b"x") for length in (2048, 2049)]})
    assert [len(url) for url in read] == [2048]
    assert len(read_torrent(torrent(b"7:comment20000:" + b"c" * 20_000)).comment) == 16_384


# What peers tell


def test_a_handshake_of_extensions_has_a_depth_and_a_number_of_tokens() -> None:
    deep = [is_taken(read_extended_handshake, b"d" + nested(depth) + b"e") for depth in (7, 8)]
    many = [is_taken(read_extended_handshake, b"d1:zl" + b"i1e" * count + b"ee") for count in (1997, 1998)]
    assert deep == many == [True, False]


def test_of_a_handshake_of_extensions_so_much_is_taken_over() -> None:
    numbered = {b"%03d" % number: 1 for number in range(65)}
    assert len(read_extended_handshake(bencode.encode({b"m": numbered})).extensions) == 64
    named = {b"a" * 64: 255, b"b" * 65: 1, b"c": 256, b"d": -1, b"e": 0}
    assert read_extended_handshake(bencode.encode({b"m": named})).extensions == {"a" * 64: 255, "e": 0}
    fields: dict[bytes, Any] = {b"p": 65_535, b"reqq": 2**31 - 1, b"metadata_size": 2**31 - 1, b"v": b"v" * 65}
    read = read_extended_handshake(bencode.encode(fields))
    assert (read.port, read.requests, read.metadata_size) == (65_535, 2**31 - 1, 2**31 - 1)
    assert len(read.version) == 64
    read = read_extended_handshake(bencode.encode({b"p": 65_536, b"reqq": 2**31, b"metadata_size": 2**31}))
    assert (read.port, read.requests, read.metadata_size) == (0, 0, 0)


def test_pieces_of_metadata_have_a_number_and_a_length_that_can_be() -> None:
    def message(piece: int, size: int) -> bytes:
        return MetadataMessage(kind=MetadataKind.DATA, piece=piece, data=bytes(size)).encode()

    good, late, long = message(2**31 - 1, 16_384), message(2**31, 1), message(0, 16_385)
    assert [is_taken(read_metadata_message, raw) for raw in (good, late, long)] == [True, False, False]


def test_metadata_is_asked_for_where_it_is_not_too_long() -> None:
    fetch = MetadataFetch(Magnet(info_hash_v1=bytes(20), info_hash_v2=None))
    for size in (0, 1, 32 << 20, (32 << 20) + 1):
        fetch.add_peer(size, size)
    assert [size for size in (0, 1, 32 << 20, (32 << 20) + 1) if fetch.next_requests(size, 0.0)] == [1, 32 << 20]


def test_of_peers_that_a_peer_tells_two_hundred_of_each_kind_are_read() -> None:
    v4 = b"".join(bytes([192, 0, 2, 1]) + (1 + number).to_bytes(2) for number in range(201))
    v6 = b"".join(bytes(15) + b"\1" + (1 + number).to_bytes(2) for number in range(201))
    raw = bencode.encode({b"added": v4, b"added6": v6, b"dropped": v4, b"dropped6": v6})
    message = read_pex(raw)
    assert (len(message.added), len(message.dropped)) == (400, 400)
    assert len(compact_peers(v4, 4)) == 200


@pytest.mark.parametrize(("size", "taken"), [(0, False), (1, True), (131_072, True), (131_073, False)])
def test_a_block_has_at_most_128_kib(size: int, taken: bool) -> None:
    assert is_taken(lambda payload: read_message(7, payload), bytes(8 + size)) is taken


def test_hashes_are_asked_for_by_the_two_to_8192() -> None:
    def asked(length: int) -> bool:
        return is_answerable(HashRequest(bytes(32), 0, 0, length, 0), 20)

    assert [asked(length) for length in (1, 2, 3, 8192, 16_384)] == [False, True, False, True, False]


def test_a_layer_is_asked_for_in_parts_of_512_hashes() -> None:
    leaf = {b"length": 16_384 * 1025, b"pieces root": bytes([1]) * 32}
    info = {b"file tree": {b"n": {b"": leaf}}, b"meta version": 2, b"name": b"n", b"piece length": 16_384}
    asked = LayerFetch(read_info(bencode.encode(info))).next_requests("peer", 0.0)
    assert [(request.first, request.length) for request in asked] == [(0, 512), (512, 512), (1024, 512)]


def test_a_message_has_131081_bytes_at_most_where_no_other_number_is_told() -> None:
    hello = Handshake(b"h" * 20, b"p" * 20).encode()
    whole = hello + (131_081).to_bytes(4) + b"\7" + bytes(131_080)
    (piece,) = MessageReader().feed(whole)
    assert isinstance(piece, Piece)
    assert len(piece.block) == 131_072
    assert MessageReader().feed(whole[:-1]) == []
    assert [is_taken(MessageReader().feed, hello + size.to_bytes(4)) for size in (131_081, 131_082)] == [True, False]
    longer = MessageReader(max_message=1 << 20)
    assert not is_taken(longer.feed, hello + (131_082).to_bytes(4) + b"\7" + bytes(131_081))


def test_so_many_requests_for_hashes_of_blocks_wait() -> None:
    torrent = torrent_of(40_000, version="v2")
    server = BlockServer(torrent, LayerServer(torrent))
    assert [server.admit("peer") for _ in range(5)] == [True, True, True, True, False]
    waiting = 4
    while server.admit(waiting):
        waiting += 1
    assert waiting == 32
    server.release("peer")
    assert server.admit("last")


# Names


def test_a_name_has_240_bytes_and_is_cut_before_its_ending() -> None:
    assert [len(clean_name(b"n" * size)) for size in (240, 241)] == [240, 240]
    short, long = b"e" * 16, b"e" * 17
    assert clean_name(b"n" * 300 + b"." + short) == "n" * 223 + "." + "e" * 16
    assert clean_name(b"n" * 300 + b"." + long) == "n" * 240


def test_a_path_that_is_too_long_keeps_16_letters_of_its_ending() -> None:
    deep = (*[b"d" * 200] * 40, b"f." + b"e" * 20)
    folder, name = SafePaths().place(deep)
    assert (folder, len(name), name[32:]) == ("d" * 200, 49, "." + "e" * 16)


# Magnet links


def test_a_magnet_link_has_so_many_characters_and_fields() -> None:
    assert [is_taken(parse_magnet, (LINK + "&x=").ljust(length, "x")) for length in (65_536, 65_537)] == [True, False]
    assert [is_taken(parse_magnet, LINK + "&x=1" * count) for count in (1023, 1024)] == [True, False]


def test_of_a_magnet_link_so_much_is_taken_over() -> None:
    peers = "".join(f"&x.pe=192.0.2.1:{port}" for port in range(1, 258))
    trackers = "".join(f"&tr=http://t/{number}&ws=http://w/{number}" for number in range(257))
    assert len(parse_magnet(LINK + peers).peers) == 256
    read = parse_magnet(LINK + trackers + "&dn=" + "n" * 1025)
    assert (len(read.trackers), len(read.web_seeds), len(read.name)) == (256, 256, 1024)


def test_files_are_chosen_up_to_a_number_and_a_count() -> None:
    last = 1 << 20
    assert parse_magnet(f"{LINK}&so={last}").files == (last,)
    assert len(parse_magnet(f"{LINK}&so=1-100000").files or ()) == 100_000
    assert not is_taken(parse_magnet, f"{LINK}&so={last + 1}")
    assert not is_taken(parse_magnet, f"{LINK}&so=1-100001")


# Trackers


def test_an_answer_of_a_tracker_has_a_depth_and_a_number_of_tokens() -> None:
    deep = [is_taken(read_announce_reply, b"d" + nested(depth) + b"e") for depth in (7, 8)]
    many = [is_taken(read_announce_reply, b"d1:zl" + b"i1e" * count + b"ee") for count in (19_997, 19_998)]
    assert deep == many == [True, False]


def test_an_answer_of_a_tracker_has_a_mebibyte_at_most() -> None:
    size = (1 << 20) - len(b"d1:z1000000:e")
    whole = b"d1:z%d:" % size + bytes(size) + b"e"
    whole += bytes((1 << 20) - len(whole))
    assert [is_taken(read_announce_reply, raw) for raw in (whole, whole + b"\0")] == [True, False]


def test_of_an_answer_of_a_tracker_so_much_is_taken_over() -> None:
    v4 = b"".join(bytes([192, 0, 2, 1]) + (1 + number).to_bytes(2) for number in range(2001))
    v6 = b"".join(bytes(15) + b"\1" + (1 + number).to_bytes(2) for number in range(2001))
    fields: dict[bytes, Any] = {
        **{b"peers": v4, b"peers6": v6, b"interval": 86_401, b"min interval": 86_401},
        **{b"complete": 2**31, b"incomplete": 2**31},
        **{b"warning message": b"w" * 513, b"tracker id": b"t" * 513},
    }
    reply = read_announce_reply(bencode.encode(fields))
    assert (len(reply.peers), reply.interval, reply.min_interval) == (4000, 86_400, 86_400)
    assert (reply.seeds, reply.leechers) == (2**31 - 1, 2**31 - 1)
    assert (len(reply.warning), len(reply.tracker_id)) == (512, 512)


def test_peers_that_a_tracker_names_have_hosts_and_ports_that_can_be() -> None:
    named = [(b"h" * 253, 65_535), (b"h" * 254, 1), (b"", 1), (b"h", 0), (b"h", 65_536)]
    told = [{b"ip": host, b"port": port} for host, port in named]
    reply = read_announce_reply(bencode.encode({b"peers": told}))
    assert [(len(peer.host), peer.port) for peer in reply.peers] == [(253, 65_535)]
    told = [{b"ip": b"h%d" % number, b"port": 1} for number in range(2001)]
    assert len(read_announce_reply(bencode.encode({b"peers": told})).peers) == 2000
