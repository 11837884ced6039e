"""Which annotations of handlers are models, and which are for readers only."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar
from unittest.mock import Mock

import msgspec
import pytest

from librats.errors import UsageError
from librats.peers.handling.annotations import annotated_model, check_parameters

if TYPE_CHECKING:
    from librats import Peer

    Missing = Peer

T = TypeVar("T")


class Chat(msgspec.Struct):
    text: str


@dataclass
class Move:
    x: int


class Box(msgspec.Struct, Generic[T]):
    item: T


def struct(peer: Peer, data: Chat) -> None: ...
def in_quotes(peer: Peer, data: "Chat") -> None: ...  # noqa: UP037
def data_class(peer: Any, data: Move) -> None: ...
def generic(peer: Peer, data: Box[int]) -> None: ...
def with_more(peer: Any, data: Chat, note: str = "") -> None: ...
async def later(peer: Peer, data: Chat) -> None: ...


def positional(peer: Peer, data: Chat, /) -> None: ...


def a_dict(peer: Peer, data: dict[str, Any]) -> None: ...
def a_number(peer: Peer, data: int) -> None: ...
def a_union(peer: Peer, data: Optional[Chat]) -> None: ...  # noqa: UP045
def many(peer: Peer, data: list[Chat]) -> None: ...
def any_data(peer: Peer, data: Any) -> None: ...
def bare(peer, data): ...  # type: ignore[no-untyped-def]
def starred(peer: Peer, *data: Chat) -> None: ...
def by_name(peer: Peer, *, data: Chat) -> None: ...
def alone(data: Chat) -> None: ...


class Methods:
    def method(self, peer: Peer, data: Chat) -> None: ...

    @classmethod
    def of_class(cls, peer: Peer, data: Chat) -> None: ...

    @staticmethod
    def static(peer: Peer, data: Chat) -> None: ...

    def __call__(self, peer: Peer, data: Move) -> None: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return function(*args)

    return wrapper


@pytest.mark.parametrize("handler", [struct, in_quotes, with_more, later, positional])
def test_a_struct_is_the_model(handler: Callable[..., Any]) -> None:
    assert annotated_model(handler) is Chat


def test_a_dataclass_is_the_model_and_a_struct_of_something_too() -> None:
    assert annotated_model(data_class) is Move
    assert annotated_model(generic) == Box[int]


def test_methods_callable_objects_partial_and_wrapped_functions_are_looked_through() -> None:
    assert annotated_model(Methods().method) is Chat
    assert annotated_model(Methods.of_class) is Chat
    assert annotated_model(Methods.static) is Chat
    assert annotated_model(Methods()) is Move
    assert annotated_model(functools.partial(struct)) is Chat
    assert annotated_model(functools.partial(with_more, note="a")) is Chat
    assert annotated_model(wrapped(wrapped(struct))) is Chat
    assert annotated_model(functools.partial(wrapped(Methods().method))) is Chat


@pytest.mark.parametrize(
    "handler",
    [
        a_dict,
        a_number,
        a_union,
        many,
        any_data,
        bare,
        starred,
        by_name,
        alone,
        print,
        dict,
        Mock(),
        list.append,
    ],
)
def test_other_annotations_are_for_readers_only(handler: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    assert annotated_model(handler) is None
    assert caplog.records == []


def test_an_annotation_that_cannot_be_resolved_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def handler(peer: Peer, data: Missing) -> None: ...

    with caplog.at_level(logging.WARNING, "librats"):
        assert annotated_model(handler) is None
    [record] = caplog.records
    assert "test_an_annotation_that_cannot_be_resolved_is_told_of.<locals>.handler" in record.getMessage()
    assert "'Missing'" in record.getMessage()
    assert "give model=" in record.getMessage()


def changes_what_it_passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(peer: Any, data: Any) -> Any:
        return function(data)

    return wrapper


@pytest.mark.parametrize(
    "handler",
    [
        struct,
        with_more,
        starred,
        positional,
        Methods().method,
        Methods(),
        functools.partial(lambda first, peer, data: None, 1),
        functools.partial(with_more, note="a"),
        changes_what_it_passes_on(lambda data: None),
        lambda *arguments: None,
        Mock(),
        print,
    ],
)
def test_what_can_be_called_with_two_arguments_passes(handler: Callable[..., Any]) -> None:
    check_parameters(handler, "peer", "data")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (alone, r"called with \(peer, data\); alone\(data: 'Chat'\) -> 'None': too many positional arguments"),
        (by_name, r"by_name\(peer: 'Peer', \*, data: 'Chat'\)"),
        (Methods.method, "missing a required argument: 'data'"),
        (lambda peer, data, more: None, "missing a required argument: 'more'"),
        (lambda: None, "too many positional arguments"),
        ([].append, "too many positional arguments"),
    ],
)
def test_what_cannot_is_told_with_what_it_takes(handler: Callable[..., Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_parameters(handler, "peer", "data")
