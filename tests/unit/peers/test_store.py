"""Saved files: readable whenever the writer was stopped, and what is told of those that are not."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.peers.stopping import STEPS, leftovers, stops

from librats.errors import StoreError
from librats.peers.keeping.private_files import remove_leftovers
from librats.peers.keeping.store import JsonFile, Saver, merged

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file modes, forks and signals")
HEAD = {"format": "test", "version": 3}


@pytest.fixture
def file(tmp_path: Path) -> JsonFile:
    return JsonFile(tmp_path / "kept" / "a.json", format="test", version=3, max_size=10_000)


def put(file: JsonFile, text: str | bytes) -> None:
    file.path.parent.mkdir(exist_ok=True)
    file.path.write_bytes(text.encode() if isinstance(text, str) else text)


class TestJsonFile:
    def test_there_is_nothing_before_the_first_write(self, file: JsonFile) -> None:
        assert file.read() is None

    def test_what_was_written_is_read(self, file: JsonFile) -> None:
        members = {"text": "ä", "list": [1, 2.5, None, True], "object": {"a": {}}}
        file.write(members)
        assert file.read() == {**HEAD, **members}
        file.write({"other": 1})
        assert file.read() == {**HEAD, "other": 1}
        assert leftovers(file.path.parent) == []

    def test_format_and_version_come_first_and_are_those_of_the_writer(self, file: JsonFile) -> None:
        file.write({"a": 1, "version": 1, "format": "else"})
        text = file.path.read_text()
        assert list(json.loads(text).items()) == [("format", "test"), ("version", 3), ("a", 1)]
        assert text.endswith("}\n")

    @POSIX
    def test_file_and_directory_are_for_the_owner_alone(self, file: JsonFile) -> None:
        before = os.umask(0)
        try:
            file.write({})
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("", "is damaged: "),
            ("{", "is damaged: "),
            (b"\0" * 100, "is damaged: "),
            (b'{"format": "test", "version": 3, "a": "\xff"}', "is damaged: "),
            ('{"format": "test", "version": 3, "a": NaN}', "is damaged: "),
            ('{"format": "test", "version": 3} {}', "is damaged: "),
            ("[" * 9_000, "nested deeper than 32"),
            (" " * 10_001, "is over 10000 bytes"),
            ("[]", "is not a file of the format 'test'"),
            ("7", "is not a file of the format 'test'"),
            ("{}", "is not a file of the format 'test'"),
            ('{"format": "other", "version": 3}', "is not a file of the format 'test'"),
            ('{"format": "test"}', "has no version, but None"),
            ('{"format": "test", "version": true}', "has no version, but True"),
            ('{"format": "test", "version": 0}', "has no version, but 0"),
            ('{"format": "test", "version": "3"}', "has no version, but '3'"),
            ('{"format": "test", "version": 4}', "is of version 4; this librats knows versions up to 3"),
        ],
    )
    def test_what_is_no_such_file_is_told_with_its_path(self, file: JsonFile, text: str | bytes, told: str) -> None:
        put(file, text)
        with pytest.raises(StoreError, match=r"a\.json: ") as caught:
            file.read()
        assert caught.value.path == file.path
        assert told in caught.value.problem
        assert caught.value.is_newer == ("version 4" in told)

    def test_older_versions_are_read(self, file: JsonFile) -> None:
        put(file, '{"format": "test", "version": 1, "a": 1}')
        assert file.read() == {"format": "test", "version": 1, "a": 1}

    @given(data=st.binary(max_size=200))
    def test_arbitrary_bytes_raise_nothing_else(self, data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
        file = JsonFile(tmp_path_factory.getbasetemp() / "any.json", format="test", version=3, max_size=10_000)
        file.path.write_bytes(data)
        with pytest.raises(StoreError):
            file.read()

    @POSIX
    def test_a_fifo_is_refused_without_waiting(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.json")
        with pytest.raises(StoreError, match="not a regular file"):
            JsonFile(tmp_path / "a.json", format="test", version=1, max_size=10).read()

    def test_what_would_not_be_read_again_is_not_written(self, file: JsonFile) -> None:
        file.write({"a": 1})
        for members in ({"a": "x" * 10_000}, {"a": object()}):
            with pytest.raises(StoreError, match="cannot be written: "):
                file.write(members)
        assert file.read() == {**HEAD, "a": 1}
        assert leftovers(file.path.parent) == []

    def test_a_directory_that_cannot_be_made_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="cannot be written: "):
            JsonFile(tmp_path / "file" / "a.json", format="test", version=1, max_size=100).write({})

    def test_damaged_files_are_set_aside_and_none_is_lost(self, file: JsonFile) -> None:
        for text in ("first", "second", "third"):
            put(file, text)
            assert file.set_aside() is not None
            assert file.read() is None
        kept = {path.name: path.read_text() for path in file.path.parent.iterdir()}
        assert kept == {"a.json.damaged": "first", "a.json.damaged-2": "second", "a.json.damaged-3": "third"}

    def test_what_cannot_be_set_aside_is_logged(self, file: JsonFile, caplog: pytest.LogCaptureFixture) -> None:
        assert file.set_aside() is None
        assert "cannot be set aside" in caplog.text

    def test_leftovers_of_killed_writers_are_removed_and_nothing_else(self, file: JsonFile) -> None:
        file.write({})
        (file.path.parent / "a.json.0123456789abcdef.tmp").write_text("half")
        (file.path.parent / "b.json.0123456789abcdef.tmp").write_text("another's")
        assert remove_leftovers(file.path) == 1
        assert sorted(path.name for path in file.path.parent.iterdir()) == ["a.json", "b.json.0123456789abcdef.tmp"]


@POSIX
class TestStops:
    PROGRAM = """
from pathlib import Path
from librats.errors import StoreError
from librats.peers.keeping.store import JsonFile
file = JsonFile(Path(sys.argv[1]) / "in" / "a.json", format="test", version=1, max_size=100_000)
found = set()
def before():
    if sys.argv[2] == "old":
        file.write({"text": "old"})
    else:
        file.path.unlink(missing_ok=True)
def act():
    file.write({"text": "new" * 1000})
def check():
    document = file.read()
    text = document["text"] if document else "none"
    assert text in (sys.argv[2], "new" * 1000), text
    found.add(text)
import atexit
"""

    @pytest.mark.parametrize("there", ["old", "none"])
    def test_a_writer_killed_at_any_step_leaves_the_old_file_or_the_new_one(self, tmp_path: Path, there: str) -> None:
        # Make a temporary file, set its mode, write, sync, close, give it its name; open, sync, close the directory.
        assert stops(self.PROGRAM, tmp_path, there) >= 2 * 9
        file = JsonFile(tmp_path / "in" / "a.json", format="test", version=1, max_size=100_000)
        assert file.read() == {"format": "test", "version": 1, "text": "new" * 1000}
        assert leftovers(file.path.parent)
        remove_leftovers(file.path)
        assert [path.name for path in file.path.parent.iterdir()] == ["a.json"]

    @pytest.mark.parametrize("there", ["old", "none"])
    def test_a_step_that_fails_is_told_and_leaves_the_old_file_or_the_new_one(
        self, tmp_path: Path, there: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = JsonFile(tmp_path / "a.json", format="test", version=1, max_size=1000)
        outcomes = []
        for step in range(1, 100):
            file.path.unlink(missing_ok=True)
            if there == "old":
                file.write({"text": "old"})
            count = 0
            with monkeypatch.context() as patch:
                for name in STEPS:
                    call = getattr(os, name)

                    def fail(*args: Any, call: Any = call, step: int = step, **kwargs: Any) -> Any:
                        nonlocal count
                        count += 1
                        if count == step:
                            raise OSError(errno.EIO, os.strerror(errno.EIO))
                        return call(*args, **kwargs)

                    patch.setattr(os, name, fail)
                try:
                    file.write({"text": "new"})
                except StoreError as error:
                    outcomes.append(error.problem)
            document = file.read()
            assert (document["text"] if document else "none") in ("new", there)
            if count < step:
                break
        assert count == 9
        assert set(outcomes) == {"cannot be written: Input/output error"}
        assert len(outcomes) >= 6


class TestMerging:
    def test_unknown_members_are_kept_at_every_level(self) -> None:
        kept = {"a": 1, "later": [1], "in": {"b": 1, "later": {"x": None}, "deep": {"c": 1, "later": 2}}}
        known = {"a": 2, "in": {"b": 3, "deep": {"c": 4}}, "new": {"d": 5}}
        assert merged(kept, known) == {
            "a": 2,
            "later": [1],
            "in": {"b": 3, "later": {"x": None}, "deep": {"c": 4, "later": 2}},
            "new": {"d": 5},
        }

    def test_other_kinds_of_values_are_replaced(self) -> None:
        assert merged({"a": {"x": 1}, "b": [1]}, {"a": 1, "b": {"y": 1}}) == {"a": 1, "b": {"y": 1}}


class TestSaver:
    async def test_many_changes_make_one_write_and_the_loop_goes_on(self) -> None:
        written: list[tuple[int, threading.Thread]] = []
        state = 0
        saver = Saver(lambda value: written.append((value, threading.current_thread())), lambda: state, delay=0.01)
        for state in range(1, 100):  # noqa: B007 - the snapshot reads it
            saver.changed()
        assert written == []
        while not written:  # noqa: ASYNC110 - the saver tells nobody
            await asyncio.sleep(0.001)
        await saver.close()
        assert [value for value, _ in written] == [99]
        assert written[0][1] is not threading.main_thread()

    async def test_closing_writes_what_is_left_and_nothing_is_written_without_a_change(self) -> None:
        written: list[int] = []
        saver = Saver(written.append, lambda: 7, delay=3600)
        await saver.close()
        assert written == []
        saver = Saver(written.append, lambda: 7, delay=3600)
        saver.changed()
        await saver.flush()
        assert written == [7]
        saver.changed()
        await saver.close()
        await saver.close()
        assert written == [7, 7]

    async def test_a_change_during_a_write_is_written_too(self) -> None:
        written: list[int] = []
        state = 1
        saver: Saver

        def write(value: int) -> None:
            nonlocal state
            written.append(value)
            if value == 1:
                state = 2
                saver._dirty = True

        saver = Saver(write, lambda: state, delay=0.001)
        saver.changed()
        while len(written) < 2:  # noqa: ASYNC110 - the saver tells nobody
            await asyncio.sleep(0.001)
        await saver.close()
        assert written == [1, 2]

    async def test_a_write_that_fails_is_logged_and_tried_with_the_next_change(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        full = True
        written: list[int] = []

        def write(value: int) -> None:
            if full:
                raise StoreError(Path("a.json"), "cannot be written: the disk is full")
            written.append(value)

        saver = Saver(write, lambda: 1, delay=3600)
        saver.changed()
        with caplog.at_level(logging.WARNING, "librats.peers"):
            await saver.flush()
        assert "a.json: cannot be written: the disk is full" in caplog.text
        full = False
        saver.changed()
        await saver.close()
        assert written == [1]

    async def test_cancelling_the_close_lets_the_write_come_to_its_end(self) -> None:
        begun, may_end = threading.Event(), threading.Event()
        written: list[int] = []

        def write(value: int) -> None:
            begun.set()
            assert may_end.wait(30)
            written.append(value)

        saver = Saver(write, lambda: 1, delay=3600)
        saver.changed()
        closing = asyncio.ensure_future(saver.close())
        while not begun.is_set():  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(0.001)
        closing.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert written == [1]
