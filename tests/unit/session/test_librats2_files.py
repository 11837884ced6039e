"""FileChunk messages in a librats 2 session: handed on, counted, and held back by what waits."""

from __future__ import annotations

from tests.unit.session.librats2_node import Link, app, inner, only

from librats.config import SessionConfig
from librats.session.events import FileChunkReceived
from librats.session.librats2_wire import InnerType

CHUNK = b"\3" + bytes(20) + b"x" * 100_000


def test_word_about_files_is_handed_on_as_it_came() -> None:
    [event] = only(FileChunkReceived, Link().hear(inner(InnerType.FILE_CHUNK, CHUNK)))
    assert event.payload == CHUNK


def test_words_count_as_unhandled_until_they_are_handled() -> None:
    link = Link()
    window = SessionConfig().message_window
    events = []
    while not link.session.wants_pause:
        events += only(FileChunkReceived, link.hear(inner(InnerType.FILE_CHUNK, CHUNK)))
    assert window <= sum(event.cost for event in events) == link.session.unhandled < window + 200_000
    for event in events:
        link.session.consumed(event.cost)
    assert link.session.unhandled == 0
    assert not link.session.wants_pause


def test_word_that_goes_ahead_overtakes_messages_and_the_others_do_not() -> None:
    link = Link()
    link.said()
    link.session.send_file_chunk(b"\3first", ahead=False)
    link.session.send_file_chunk(b"\4behind it", ahead=False)
    link.session.send_file_chunk(b"\5answer", ahead=True)
    assert link.said() == [inner(InnerType.FILE_CHUNK, word) for word in (b"\5answer", b"\3first", b"\4behind it")]


def test_words_that_wait_count_as_queued() -> None:
    link = Link()
    before = link.session.queued
    link.session.send_file_chunk(CHUNK, ahead=False)
    assert link.session.queued - before >= len(CHUNK)


def test_session_that_has_ended_takes_no_word() -> None:
    link = Link()
    link.session.go_away("closed")
    assert not link.session.send_file_chunk(b"\7", ahead=True)


def test_messages_beside_words_about_files_keep_their_runs() -> None:
    link = Link()
    events = link.hear(app("data", b"one"), inner(InnerType.FILE_CHUNK, CHUNK), app("data", b"two"))
    assert [type(event).__name__ for event in events] == ["MessageRun", "FileChunkReceived", "MessageRun"]
