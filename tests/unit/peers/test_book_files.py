"""The peer book on the disk: everything comes back, unknown members stay, damage is set aside."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.peers.stopping import leftovers

from librats import Address, KnownPeer, PeerBook
from librats.peers.keeping.book_files import BookFiles

A, B = "a" * 64, "b" * 64
HERE = Address("192.0.2.1", 8081)
HEAD = {"format": "librats-peers", "version": 1}


def loaded(folder: Path) -> PeerBook:
    book = PeerBook()
    BookFiles(book, folder).load()
    return book


async def save(folder: Path) -> PeerBook:
    """Save a book with two peers."""
    book = PeerBook(clock=lambda: 1000.25)
    files = BookFiles(book, folder)
    files.load()
    files.start()
    book.connected(A, HERE, outgoing=True, listen=["[2001:db8::1]:1", "nonsense"], agent="test/1")
    book.failed(A, [HERE])
    book.connected(B, HERE, outgoing=False)
    book.set_favourite(B)
    await files.close()
    return book


async def test_a_saved_book_is_the_same_when_it_is_loaded(tmp_path: Path) -> None:
    book = await save(tmp_path)
    again = loaded(tmp_path)
    assert dict(again) == dict(book)
    assert list(again) == list(book)
    assert dict(again.ever) == dict(book.ever)
    assert again[A].addresses[str(HERE)].failures == 1
    assert again[B].favourite
    document = json.loads((tmp_path / "peers.json").read_text())
    assert document["peers"][A] == {
        "first_seen": 1000.25,
        "last_seen": 1000.25,
        "met": "dialled",
        "sessions": 1,
        "addresses": {"192.0.2.1:8081": {"last_success": 1000.25, "last_failure": 1000.25, "failures": 1}},
        "listen": ["[2001:db8::1]:1", "nonsense"],
        "agent": "test/1",
    }
    assert json.loads((tmp_path / "peers_ever.json").read_text())["peers"][A] == {
        "first_seen": 1000.25,
        "last_seen": 1000.25,
        "address": "192.0.2.1:8081",
    }


async def test_members_of_another_version_stay_at_every_level(tmp_path: Path) -> None:
    await save(tmp_path)
    path, ever = tmp_path / "peers.json", tmp_path / "peers_ever.json"
    document = json.loads(path.read_text())
    document["later"] = {"x": 1}
    document["peers"][A]["later"] = [2]
    document["peers"][A]["unknown"] = {"met": "by chance"}
    document["peers"][A]["addresses"][str(HERE)]["later"] = 3
    path.write_text(json.dumps(document))
    lines = json.loads(ever.read_text())
    lines["peers"][B]["later"] = 4
    ever.write_text(json.dumps(lines))
    await save(tmp_path)
    document, lines = json.loads(path.read_text()), json.loads(ever.read_text())
    assert document["later"] == {"x": 1}
    assert document["peers"][A]["later"] == [2]
    assert document["peers"][A]["unknown"] == {"met": "by chance"}
    assert document["peers"][A]["addresses"][str(HERE)]["later"] == 3
    assert document["peers"][A]["sessions"] == 2
    assert document["peers"][A]["met"] == "dialled"
    assert lines["peers"][B]["later"] == 4


async def test_a_damaged_file_is_set_aside_and_the_book_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await save(tmp_path)
    whole = (tmp_path / "peers.json").read_text()
    (tmp_path / "peers.json").write_text(whole[:-10])
    with caplog.at_level(logging.WARNING, "librats.peers"):
        book = loaded(tmp_path)
    assert "peers.json: is damaged" in caplog.text
    assert "peers.json.damaged" in caplog.text
    assert len(book) == 0
    assert set(book.ever) == {A, B}
    assert (tmp_path / "peers.json.damaged").read_text() == whole[:-10]
    await save(tmp_path)
    assert set(loaded(tmp_path)) == {A, B}


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {},
        {"first_seen": 1},
        {"first_seen": 1, "last_seen": "x"},
        {"first_seen": 1, "last_seen": 1, "addresses": {"nowhere": {}}},
        {"first_seen": 1, "last_seen": 1, "addresses": {"h:1": 7}},
        {"first_seen": 1, "last_seen": 1, "addresses": {"h:1": {"failures": -1}}},
        {"first_seen": 1, "last_seen": 1, "addresses": {f"h:{port}": {} for port in range(1, 100)}},
        {"first_seen": 1, "last_seen": 1, "listen": ["x" * 1000 + ":1"]},
    ],
)
async def test_a_damaged_entry_is_set_aside_with_the_file_and_the_others_are_used(
    tmp_path: Path, entry: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await save(tmp_path)
    path = tmp_path / "peers.json"
    document = json.loads(path.read_text())
    document["peers"]["c" * 64] = entry
    document["peers"]["no id"] = document["peers"][A]
    path.write_text(json.dumps(document))
    with caplog.at_level(logging.WARNING, "librats.peers"):
        assert set(loaded(tmp_path)) == {A, B}
    assert "2 entries are damaged" in caplog.text
    assert json.loads((tmp_path / "peers.json.damaged").read_text()) == document


@pytest.mark.parametrize("name", ["peers.json", "peers_ever.json"])
async def test_a_newer_file_and_one_that_cannot_be_read_are_left_alone(tmp_path: Path, name: str) -> None:
    await save(tmp_path)
    newer = (tmp_path / name).read_text().replace('"version": 1', '"version": 2')
    (tmp_path / name).write_text(newer)
    book = await save(tmp_path)
    assert (tmp_path / name).read_text() == newer
    assert set(book) == {A, B}
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    await save(tmp_path)
    assert (tmp_path / name).is_dir()


@given(
    members=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["peers", A, "addresses", "h:1", "last_seen", "unknown"]), inner)
        ),
        max_leaves=10,
    )
)
def test_arbitrary_files_never_raise(members: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "peers.json").write_text(json.dumps({**HEAD, "peers": members}))
    for peer in loaded(folder).values():
        assert isinstance(peer, KnownPeer)


async def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "peers.json.0123456789abcdef.tmp").write_text("half")
    loaded(tmp_path)
    assert leftovers(tmp_path) == []


async def test_changes_are_written_after_a_while_without_a_stop(tmp_path: Path) -> None:
    book = PeerBook()
    files = BookFiles(book, tmp_path)
    files.start()
    book.connected(A, HERE, outgoing=True)
    assert not (tmp_path / "peers.json").exists()
    await files.flush()
    assert set(loaded(tmp_path)) == {A}
    await files.close()
    book.connected(B, HERE, outgoing=True)
    await asyncio.sleep(0)
    assert set(loaded(tmp_path)) == {A}


async def test_a_full_book_is_written_within_a_second_and_within_its_limit(tmp_path: Path) -> None:
    book = PeerBook()
    files = BookFiles(book, tmp_path)
    files.start()
    addresses = [Address(f"2001:db8:1234:5678:9abc:def0:1234:{index:x}", 50000 + index) for index in range(32)]
    for number in range(5000):
        book.add(f"{number:064x}", addresses)
    await files.close()
    again = loaded(tmp_path)
    assert len(again) == 4096
    assert all(len(peer.addresses) == 32 for peer in again.values())
