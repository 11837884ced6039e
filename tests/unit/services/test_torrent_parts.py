"""Files of a torrent of which some are not wanted: what of them is kept where, and what becomes of it later."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from librats.bittorrent.creating import TorrentBuilder
from librats.bittorrent.metainfo import Torrent, read_torrent
from librats.bittorrent.selection import Selection
from librats.errors import StoreError
from librats.services.torrenting.storage import TorrentFiles

PIECE = 16_384
CONTENT = {"a": b"a" * 20_000, "b": b"b" * 30_000, "c": b"", "d": b"d" * 5_000}
STREAM = b"".join(CONTENT.values())
PIECES = [STREAM[at : at + PIECE] for at in range(0, len(STREAM), PIECE)]


@pytest.fixture
def torrent() -> Torrent:
    files = [((name,), len(data)) for name, data in CONTENT.items()]
    builder = TorrentBuilder("top", files, version="v1", piece_length=PIECE)
    builder.update(STREAM)
    return read_torrent(builder.finish())


def opened(torrent: Torrent, folder: Path, *numbers: int) -> TorrentFiles:
    files = TorrentFiles(torrent, folder, Selection(torrent.layout, numbers))
    files.prepare()
    return files


def there(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "top").rglob("*") if path.is_file()}


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".librats").rglob("*") if path.is_file())


def store(files: TorrentFiles, *pieces: int) -> None:
    for piece in pieces:
        assert files.check_and_write(piece, bytearray(PIECES[piece]))


def test_a_piece_that_spans_a_file_that_is_not_wanted_does_not_make_that_file(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.finish()
    files.close()
    assert there(tmp_path) == {"a": CONTENT["a"]}
    assert kept(tmp_path) == ["1"]


def test_it_is_read_back_whole_and_counts_as_there_after_a_restart(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.close()
    again = opened(torrent, tmp_path, 0)
    assert [again.may_be_there(piece) and again.check(piece) for piece in range(4)] == [True, True, False, False]
    assert bytes(again.read(1, 3_000, 10_000)) == PIECES[1][3_000:13_000]


def test_a_file_that_is_wanted_later_gets_what_was_kept_of_it(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.choose(Selection(torrent.layout, [0, 1]))
    assert files.check(1)
    assert kept(tmp_path) == []
    store(files, 2, 3)
    files.finish()
    files.close()
    assert there(tmp_path) == {"a": CONTENT["a"], "b": CONTENT["b"]}
    assert kept(tmp_path) == ["3"]
    again = opened(torrent, tmp_path, 0, 1, 2, 3)
    assert all(again.check(piece) for piece in range(4))
    assert there(tmp_path) == CONTENT
    assert not (tmp_path / ".librats").exists()


def test_a_file_that_is_there_and_not_wanted_is_read_and_not_written(torrent: Torrent, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "b").write_bytes(b"mine")
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.finish()
    assert there(tmp_path) == {"a": CONTENT["a"], "b": b"mine"}
    assert files.check(1)
    (tmp_path / "top" / "b").write_bytes(CONTENT["b"])
    assert files.check(2)


def test_what_was_kept_and_is_not_right_any_more_is_let_go(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.close()
    folder = next((tmp_path / ".librats").iterdir())
    (folder / "1").write_bytes(bytes(PIECE))
    for name in ("0", "99", "999999999", "9999999999", "x", "٣"):
        (folder / name).write_bytes(PIECES[0][:100])
    again = opened(torrent, tmp_path, 0, 1)
    assert not again.check(1)
    assert there(tmp_path)["a"] == CONTENT["a"]
    assert kept(tmp_path) == sorted(["9999999999", "x", "٣"])


def test_a_file_that_has_its_part_already_is_not_changed(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.close()
    before = (tmp_path / "top" / "a").stat().st_mtime_ns
    opened(torrent, tmp_path, 0).close()
    assert (tmp_path / "top" / "a").stat().st_mtime_ns == before


def test_what_was_kept_goes_with_the_torrent(torrent: Torrent, tmp_path: Path) -> None:
    files = opened(torrent, tmp_path, 0)
    store(files, 0, 1)
    files.forget()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["top"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_in_the_place_of_the_folder_is_not_followed(torrent: Torrent, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    (here / ".librats").symlink_to(away)
    files = opened(torrent, here, 0)
    with pytest.raises(StoreError):
        files.write(1, PIECES[1])
    assert list(away.iterdir()) == []
