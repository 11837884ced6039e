"""The table of handlers: who hears of what, in which order, and for how long."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from librats.errors import UsageError
from librats.peers.handling.handlers import NOBODY, HandlerTable
from librats.session.frames import Kind
from librats.session.librats2_wire import channel_id


def one(peer: Any, data: Any) -> None:
    """Do nothing."""


def two(peer: Any, data: Any) -> None:
    """Do nothing."""


async def later(peer: Any, data: Any) -> None:
    """Do nothing."""


class Callable:
    async def __call__(self, peer: Any, data: Any) -> None:
        """Do nothing."""


def names(table: HandlerTable, name: str = "x", kind: Kind = Kind.JSON) -> list[Any]:
    return [registration.handler for registration in table.get(kind, name).registrations]


def test_handlers_are_kept_in_the_order_they_came() -> None:
    table = HandlerTable()
    for handler in (two, one, later, one):
        assert table.add(Kind.JSON, "x", handler) is handler
    assert names(table) == [two, one, later, one]
    assert table.get(Kind.JSON, "y") is NOBODY


def test_kinds_of_one_name_keep_apart() -> None:
    table = HandlerTable()
    table.add(Kind.BYTES, "x", one)
    table.add(Kind.TEXT, "x", two)
    assert names(table) == []
    assert names(table, kind=Kind.BYTES) == [one]
    assert names(table, kind=Kind.TEXT) == [two]


def test_removing_one_removes_every_time_it_was_added() -> None:
    table = HandlerTable()
    for handler in (one, two, one):
        table.add(Kind.JSON, "x", handler)
    assert table.remove(Kind.JSON, "x", one) == 2
    assert names(table) == [two]
    assert table.remove(Kind.JSON, "x", one) == 0
    assert table.remove(Kind.JSON, "x") == 1
    assert table.remove(Kind.JSON, "x") == 0
    assert table.get(Kind.JSON, "x") is NOBODY


def test_a_method_can_be_removed_by_naming_it_again() -> None:
    class Owner:
        def handle(self, peer: Any, data: Any) -> None:
            """Do nothing."""

    owner, other = Owner(), Owner()
    table = HandlerTable()
    table.add(Kind.JSON, "x", owner.handle)
    assert table.remove(Kind.JSON, "x", other.handle) == 0
    assert table.remove(Kind.JSON, "x", owner.handle) == 1


def test_taking_drops_those_that_wanted_one_message() -> None:
    table = HandlerTable()
    table.add(Kind.JSON, "x", one, once=True)
    table.add(Kind.JSON, "x", two)
    assert table.get(Kind.JSON, "x").any_once
    assert [r.handler for r in table.take(Kind.JSON, "x").registrations] == [one, two]
    assert [r.handler for r in table.take(Kind.JSON, "x").registrations] == [two]
    table.add(Kind.JSON, "y", one, once=True)
    table.take(Kind.JSON, "y")
    assert table.take(Kind.JSON, "y") is NOBODY


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [(one, False), (later, True), (Callable(), True), (partial(later), True), (partial(one), False), (print, False)],
)
def test_async_functions_are_told_from_plain_ones(handler: Any, is_async: bool) -> None:
    table = HandlerTable()
    table.add(Kind.JSON, "x", handler)
    assert table.get(Kind.JSON, "x").plain is not is_async


def test_messages_go_side_by_side_only_where_all_handlers_allow_it() -> None:
    table = HandlerTable()
    table.add(Kind.JSON, "x", later, concurrent=True)
    assert table.get(Kind.JSON, "x").side_by_side
    table.add(Kind.JSON, "x", later)
    assert not table.get(Kind.JSON, "x").side_by_side


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "\ud800", 7, None])
def test_a_name_that_cannot_be_sent_is_refused(name: Any) -> None:
    table = HandlerTable()
    with pytest.raises(UsageError):
        table.add(Kind.JSON, name, one)
    with pytest.raises(UsageError):
        table.set_stream(name, print)


@pytest.mark.parametrize("handler", [None, 7, "one"])
def test_what_cannot_be_called_is_refused(handler: Any) -> None:
    table = HandlerTable()
    for add in (partial(table.add, Kind.JSON, "x"), partial(table.set_stream, "x"), partial(table.listen, "connect")):
        with pytest.raises(UsageError, match="a handler is a function"):
            add(handler)


def test_a_stream_protocol_has_one_handler_until_it_is_removed() -> None:
    table = HandlerTable()
    table.set_stream("x/1", print)
    with pytest.raises(UsageError, match="already"):
        table.set_stream("x/1", print)
    assert table.stream("x/1") is print
    table.remove_stream("x/1")
    table.remove_stream("x/1")
    assert table.stream("x/1") is None
    table.set_stream("x/1", print)


def test_listeners_of_words_and_classes_come_and_go() -> None:
    table = HandlerTable()
    table.listen("connect", one)
    table.listen("connect", two)
    table.listen(int, one)
    assert [r.handler for r in table.listeners("connect")] == [one, two]
    table.unlisten("connect", one)
    assert [r.handler for r in table.listeners("connect")] == [two]
    assert [r.handler for r in table.listeners(int)] == [one]
    assert list(table.listeners("disconnect")) == []


def test_who_adds_a_handler_while_others_are_called_does_not_disturb_them() -> None:
    table = HandlerTable()
    table.add(Kind.JSON, "x", one)
    group = table.get(Kind.JSON, "x")
    table.add(Kind.JSON, "x", two)
    assert [r.handler for r in group.registrations] == [one]


def test_channels_are_found_by_their_librats_2_number_while_they_have_a_handler() -> None:
    table = HandlerTable()
    number = channel_id("chat")
    assert table.channel(number) is None
    text = table.add(Kind.TEXT, "chat", print)
    assert table.channel(number) == (Kind.TEXT, "chat")
    table.add(Kind.BYTES, "chat", print)
    assert table.channel(number) == (Kind.BYTES, "chat")
    table.add(Kind.JSON, "chat", print)
    table.remove(Kind.BYTES, "chat")
    assert table.channel(number) == (Kind.TEXT, "chat")
    table.remove(Kind.TEXT, "chat", text)
    assert table.channel(number) is None


def test_handlers_that_cannot_be_called_with_what_comes_are_refused_at_once() -> None:
    table = HandlerTable()
    with pytest.raises(UsageError, match=r"a handler is called with \(peer, data\)"):
        table.add(Kind.BYTES, "x", lambda data: None)
    with pytest.raises(UsageError, match=r"a handler is called with \(stream\)"):
        table.set_stream("x", lambda peer, stream: None)  # type: ignore[arg-type, misc]
    assert table.get(Kind.BYTES, "x") is NOBODY
    assert table.stream("x") is None
