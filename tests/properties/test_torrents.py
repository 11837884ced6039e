"""Torrents, magnet links and names that nobody made with care: refused, or safe."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.magnet import parse_magnet
from librats.bittorrent.metainfo import read_info, read_torrent
from librats.bittorrent.names import SafePaths, clean_name
from librats.errors import DecodeError
from librats.transfer.names import NameSet, check_parts

VECTORS = Path(__file__).parents[1] / "vectors" / "torrent"
TORRENTS = [
    bytes.fromhex(case["torrent"])
    for name in ("created", "corner_cases")
    for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]
    if len(case["torrent"]) < 3000
]
SPICE = [b"..", b"/", b"\\", b"4:path", b"i-1e", b"le", b"de", b"0:", b"e", b"6:lengthi0e", b"i99999999999999e", b"1:p"]

damaged = st.tuples(
    st.sampled_from(TORRENTS),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.sampled_from(SPICE)), min_size=1, max_size=4),
)


def with_damage(raw: bytes, places: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(raw)
    for at, piece in places:
        begin = at % len(raw)
        changed[begin : begin + (at >> 8) % 8] = piece
    return bytes(changed)


@given(damaged)
def test_a_damaged_torrent_is_refused_or_its_files_are_safe(case: tuple[bytes, list[tuple[int, bytes]]]) -> None:
    raw = with_damage(*case)
    with contextlib.suppress(DecodeError):
        torrent = read_torrent(raw)
        names = NameSet()
        for file in torrent.layout.files:
            if not file.is_pad:
                check_parts(file.path)
                names.add_file(file.path)
        covered = sum(span.size for span in torrent.layout.spans(0, torrent.layout.total_size))
        assert covered == torrent.layout.total_size
        layout = torrent.layout
        assert sum(map(layout.content_size, range(layout.piece_count))) == torrent.size == layout.content_total


@given(st.binary(max_size=300))
def test_bytes_are_no_torrent_and_no_info(raw: bytes) -> None:
    for read in (read_torrent, read_info):
        with contextlib.suppress(DecodeError):
            read(raw)


@given(st.one_of(st.text(max_size=200), st.text("0123456789abcdef:=&?%.xtdnrpeso-,", max_size=200)))
def test_text_behind_the_scheme_is_no_link_or_one_that_is_written_back(text: str) -> None:
    for link in (text, "magnet:?" + text, f"magnet:?xt=urn:btih:{'a' * 40}&" + text):
        with contextlib.suppress(DecodeError):
            magnet = parse_magnet(link)
            assert parse_magnet(str(magnet)) == magnet


@given(st.one_of(st.binary(max_size=400), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
def test_a_name_is_made_safe_and_stays_as_it_is_then(raw: bytes) -> None:
    name = clean_name(raw)
    if name:
        check_parts((name,))
    assert clean_name(name.encode()) == name


pieces_of_paths = st.sampled_from(
    [b"a", b"A", b"b.txt", b"B.TXT", b"..", b"", b"con", b"x" * 300, b"a.1", b"\xc3\x9f", b"ss"]
)


@given(st.lists(st.lists(pieces_of_paths, min_size=1, max_size=40), max_size=12))
def test_no_two_files_are_the_same_on_any_system(raw: list[list[bytes]]) -> None:
    paths, names = SafePaths(), NameSet()
    for path in raw:
        placed = paths.place((b"top", *path))
        check_parts(placed)
        names.add_file(placed)


@given(
    st.lists(st.integers(0, 40_000), min_size=1, max_size=5).filter(any),
    st.sampled_from(["v1", "v2", "hybrid"]),
    st.sampled_from([16_384, 32_768]),
)
def test_what_is_made_is_read_and_its_pieces_are_right(sizes: list[int], version: str, piece_length: int) -> None:
    files = [((f"f{number}",), size) for number, size in enumerate(sizes)]
    builder = TorrentBuilder("n", files, version=version, piece_length=piece_length)
    stream = bytearray()
    for number, (_, size) in enumerate(builder.files):
        builder.update(bytes([number + 1]) * size)
    torrent = read_torrent(builder.finish())
    number = 0
    for file in torrent.layout.files:
        number += not file.is_pad
        stream += bytes([0 if file.is_pad else number]) * file.size
    for piece in range(torrent.layout.piece_count):
        begin = piece * piece_length
        assert torrent.piece_is_right(piece, stream[begin : begin + torrent.layout.piece_size(piece)])
