"""Files of torrents: written where they belong and nowhere else, read back, cut, and kept account of."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from librats._core import bencode
from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.metainfo import Torrent, read_info, read_torrent
from librats.errors import StoreError
from librats.services.torrenting.resume import Resume, ResumeFile
from librats.services.torrenting.storage import MAX_OPEN, TorrentFiles
from librats.types import Address

CONTENT = {("a.txt",): b"a" * 20_000, ("sub", "b.bin"): b"b" * 30_000, ("sub", "empty"): b"", ("z",): b"z" * 5}


def torrent_of(files: dict[tuple[str, ...], bytes], version: str = "v1") -> Torrent:
    builder = TorrentBuilder("top", [(path, len(data)) for path, data in files.items()], version=version)
    for path, _ in builder.files:
        builder.update(files[path])
    return read_torrent(builder.finish())


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0


def stream_of(torrent: Torrent, files: dict[tuple[str, ...], bytes]) -> bytes:
    return b"".join(bytes(file.size) if file.is_pad else files[file.path[1:]] for file in torrent.layout.files)


def pieces_of(torrent: Torrent, stream: bytes) -> list[bytes]:
    length = torrent.layout.piece_length
    return [stream[at : at + length] for at in range(0, len(stream), length)]


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
def test_pieces_are_written_to_their_files_and_read_back(tmp_path: Path, version: str) -> None:
    torrent = torrent_of(CONTENT, version)
    files = TorrentFiles(torrent, tmp_path / "here")
    files.prepare()
    pieces = pieces_of(torrent, stream_of(torrent, CONTENT))
    for number, piece in reversed([*enumerate(pieces)]):
        assert not files.check(number)
        assert files.check_and_write(number, bytearray(piece))
        assert files.check(number)
    assert not files.check_and_write(0, bytearray(len(pieces[0])))
    assert bytes(files.read(1, 5, 7000)) == pieces[1][5:7005]
    files.finish()
    files.close()
    there = {
        path.relative_to(tmp_path / "here" / "top").parts: path.read_bytes()
        for path in (tmp_path / "here").rglob("*")
        if path.is_file()
    }
    assert there == CONTENT


def test_a_file_that_was_longer_is_cut_when_all_is_there(tmp_path: Path) -> None:
    torrent = torrent_of({("a",): b"right"})
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "a").write_bytes(b"much longer than it is to be")
    files = TorrentFiles(torrent, tmp_path)
    assert files.check_and_write(0, bytearray(b"right"))
    files.finish()
    assert (tmp_path / "top" / "a").read_bytes() == b"right"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
@pytest.mark.parametrize("where", ["top", "top/sub", "top/sub/b.bin"])
def test_a_link_in_the_way_is_not_followed(tmp_path: Path, where: str) -> None:
    away = tmp_path / "away"
    away.mkdir()
    (away / "b.bin").write_bytes(b"precious")
    (away / "sub").mkdir()
    (away / "sub" / "b.bin").write_bytes(b"precious")
    place = tmp_path / "here" / where
    place.parent.mkdir(parents=True)
    place.symlink_to(away / "b.bin" if where.endswith("bin") else away)
    files = TorrentFiles(torrent_of({("sub", "b.bin"): b"other"}), tmp_path / "here")
    with pytest.raises(StoreError):
        files.write(0, b"other")
    with pytest.raises(StoreError):
        files.read(0, 0, 5)
    assert {path.read_bytes() for path in away.rglob("b.bin")} == {b"precious"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a pipe is made")
def test_a_pipe_or_a_folder_in_the_place_of_a_file_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    os.mkfifo(tmp_path / "top" / "a")
    (tmp_path / "top" / "b").mkdir()
    for name in ("a", "b"):
        files = TorrentFiles(torrent_of({(name,): b"x"}), tmp_path)
        with pytest.raises(StoreError):
            files.write(0, b"x")
        assert not files.check(0)


def test_what_is_missing_or_too_short_is_not_there(tmp_path: Path) -> None:
    torrent = torrent_of({("a",): b"a" * 40_000})
    files = TorrentFiles(torrent, tmp_path)
    assert not files.check(0)
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "a").write_bytes(b"a" * 20_000)
    assert [files.may_be_there(piece) for piece in range(3)] == [True, False, False]
    assert [files.check(piece) for piece in range(3)] == [True, False, False]
    assert files.sizes()[0][0] == 20_000


def test_no_more_files_are_open_than_a_limit(tmp_path: Path) -> None:
    content: dict[tuple[str, ...], bytes] = {
        (f"{number:03}",): bytes([number]) * 16_384 for number in range(MAX_OPEN + 20)
    }
    torrent = torrent_of(content)
    files = TorrentFiles(torrent, tmp_path)
    before = open_descriptors()
    for number, piece in enumerate(pieces_of(torrent, stream_of(torrent, content))):
        files.write(number, piece)
    assert open_descriptors() - before <= MAX_OPEN
    files.close()
    assert open_descriptors() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no modes there")
def test_what_may_be_run_is_marked(tmp_path: Path) -> None:
    fields: dict[bytes, Any] = bencode.decode(torrent_of({("run",): b"x"}).info)
    fields[b"files"][0][b"attr"] = b"x"
    torrent = read_info(bencode.encode(fields))
    files = TorrentFiles(torrent, tmp_path)
    files.write(0, b"x")
    files.finish()
    assert (tmp_path / "top" / "run").stat().st_mode & 0o100


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_what_is_kept_is_read_back_for_its_own_torrent_alone(tmp_path: Path, version: str) -> None:
    torrent = torrent_of(CONTENT, version)
    have = bytearray([1, 0] * 20)[: torrent.layout.piece_count]
    file = ResumeFile(tmp_path / ".librats" / "x.resume")
    assert file.load(torrent.info_hash) is None
    sizes = [(1, 2)] * len(torrent.layout.files)
    peers = (Address("192.0.2.1", 6881), Address("2001:db8::1", 6882))
    file.save(Resume(torrent=torrent, have=have, sizes=sizes, downloaded=5, uploaded=6, peers=peers))
    again = file.load(torrent.info_hash)
    assert again is not None
    assert (again.have, again.sizes, again.downloaded, again.uploaded) == (have, sizes, 5, 6)
    assert again.peers == peers
    assert (again.torrent.info, again.torrent.piece_layers) == (torrent.info, torrent.piece_layers)
    assert file.load(b"x" * 20) is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.resume"]
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_kept_before_peers_were_is_read(tmp_path: Path) -> None:
    torrent, path = torrent_of(CONTENT, "v1"), tmp_path / "x.resume"
    sizes = [(1, 2)] * len(torrent.layout.files)
    ResumeFile(path).save(Resume(torrent=torrent, have=bytearray(torrent.layout.piece_count), sizes=sizes))
    fields = bencode.decode(path.read_bytes())
    path.write_bytes(bencode.encode({key: value for key, value in fields.items() if not key.startswith(b"peers")}))
    again = ResumeFile(path).load(torrent.info_hash)
    assert again is not None
    assert again.peers == ()


@pytest.mark.parametrize("bits", [b"", b"\0\0", b"\xff"])
def test_a_file_with_bits_for_other_pieces_than_there_are_counts_as_none(tmp_path: Path, bits: bytes) -> None:
    torrent, path = torrent_of(CONTENT, "v1"), tmp_path / "x.resume"
    sizes = [(1, 2)] * len(torrent.layout.files)
    ResumeFile(path).save(Resume(torrent=torrent, have=bytearray(torrent.layout.piece_count), sizes=sizes))
    path.write_bytes(bencode.encode({**bencode.decode(path.read_bytes()), b"have": bits}))
    assert ResumeFile(path).load(torrent.info_hash) is None


@pytest.mark.parametrize("raw", [b"", b"d1:vi1ee", b"le", b"i1e", b"d4:havei1e1:vi1ee", b"\xff" * 100, b"d1:vi2ee"])
def test_a_file_that_is_damaged_counts_as_none(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.resume"
    path.write_bytes(raw)
    assert ResumeFile(path).load(b"x" * 20) is None
