"""Models: what JSON is decoded into, what is told of what does not fit, and what cannot be a model."""

from __future__ import annotations

import datetime
import enum
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.runs import run_of

from librats.config import SessionConfig
from librats.errors import DecodeError, UsageError, ValidationError
from librats.session.frames import Kind
from librats.session.models import Model, model_of
from librats.session.payloads import encode_json

CONFIG = SessionConfig()


class Line(msgspec.Struct):
    text: str
    size: int = 1


class Page(msgspec.Struct):
    lines: list[Line]
    tags: dict[str, float] = {}


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class Circle(msgspec.Struct, tag="circle"):
    radius: float


class Square(msgspec.Struct, tag="square"):
    side: float


class Tree(msgspec.Struct):
    children: list[Tree] = []


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Order:
    count: int
    at: datetime.datetime | None = None
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("a count is not negative")
        if self.count == 13:
            raise KeyError("thirteen")


class Point(NamedTuple):
    x: int
    y: int


class Foreign:
    """A class that says nothing of its fields."""


@dataclass
class Holder:
    held: dict[str, list[Foreign]]


def decode(type: Any, payload: bytes, kind: int = Kind.JSON, config: SessionConfig = CONFIG) -> Any:
    return Model(type).decode(kind, payload, config)


@pytest.mark.parametrize(
    ("type", "payload", "value"),
    [
        (Line, b'{"text":"a","more":[1]}', Line("a")),
        (Page, b'{"lines":[{"text":"a","size":2}],"tags":{"x":1}}', Page([Line("a", 2)], {"x": 1.0})),
        (
            Order,
            b'{"count":1,"at":"2026-01-02T03:04:05Z"}',
            Order(1, datetime.datetime(2026, 1, 2, 3, 4, 5, 0, datetime.UTC)),
        ),
        (Circle | Square, b'{"type":"square","side":2}', Square(2.0)),
        (list[Point], b"[[1,2],[3,4]]", [Point(1, 2), Point(3, 4)]),
        (Colour, b'"red"', Colour.RED),
        (int, b"7", 7),
    ],
)
def test_json_becomes_a_value_of_the_type(type: Any, payload: bytes, value: Any) -> None:
    assert decode(type, payload) == value


@pytest.mark.parametrize(
    ("type", "payload", "words", "path"),
    [
        (Line, b'{"text":1}', "Expected `str`, got `int`", "$.text"),
        (Line, b'{"size":1}', "Object missing required field `text`", "$"),
        (Line, b"null", "Expected `object`, got `null`", "$"),
        (Page, b'{"lines":[{"text":"a"},{"text":"b","size":"c"}]}', "Expected `int`, got `str`", "$.lines[1].size"),
        (Page, b'{"lines":[],"tags":{"a":"b"}}', "Expected `float`, got `str`", "$.tags[...]"),
        (Strict, b'{"text":"a","more":1}', "Object contains unknown field `more`", "$"),
        (Circle | Square, b'{"type":"line"}', "Invalid value 'line'", "$.type"),
        (Order, b'{"count":-1}', "a count is not negative", "$"),
        (Order, b'{"count":13}', "KeyError: 'thirteen'", "$"),
        (list[Order], b'[{"count":1},{"count":-1}]', "a count is not negative", "$[1]"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason_and_the_path(
    type: Any, payload: bytes, words: str, path: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        decode(type, payload)
    assert (caught.value.what, caught.value.path) == (words, path)
    assert str(caught.value) == f"{words} at {path}"
    assert caught.value.__cause__ is not None


def test_the_reason_stays_short_whatever_it_quotes() -> None:
    with pytest.raises(ValidationError) as caught:
        decode(Colour, json.dumps("\x1b[31m" * 1000).encode())
    assert len(caught.value.what) < 400
    assert "\x1b" not in caught.value.what


@pytest.mark.parametrize("payload", [b"", b"{", b'{"text":"a"}x', b'{"text":"\xff"}', b"NaN"])
def test_what_is_no_json_is_told_as_such(payload: bytes) -> None:
    with pytest.raises(DecodeError, match=r"^not JSON: ") as caught:
        decode(Line, payload)
    assert not isinstance(caught.value, ValidationError)


@pytest.mark.parametrize(("kind", "words"), [(Kind.BYTES, "bytes"), (Kind.TEXT, "text"), (3, "something else")])
def test_bytes_and_text_are_no_json(kind: int, words: str) -> None:
    with pytest.raises(ValidationError, match=f"^Expected JSON, got {words} at "):
        decode(Line, b'{"text":"a"}', kind)


def test_limits_on_size_and_depth_hold() -> None:
    config = SessionConfig(max_json_size=30, max_json_depth=4)
    assert decode(Tree, b'{"children":[{}]}', config=config) == Tree([Tree()])
    with pytest.raises(DecodeError, match="max_json_size"):
        decode(Line, json.dumps({"text": "a" * 30}).encode(), config=config)
    deep = SessionConfig(max_json_depth=4)
    with pytest.raises(DecodeError, match="max_json_depth"):
        decode(Tree, b'{"children":[{"children":[{}]}]}', config=deep)
    with pytest.raises(DecodeError, match="max_json_depth"):  # what the type would leave out counts as well
        decode(Line, b'{"text":"a","more":[[[[]]]]}', config=deep)


@pytest.mark.parametrize(
    ("type", "words"),
    [
        (Foreign, "Foreign cannot be a model: Foreign has no JSON form"),
        (Holder, "Holder cannot be a model: Foreign has no JSON form"),
        (tuple[Foreign, ...], "Foreign has no JSON form"),
        (Line | Order, "cannot be a model: .*more than one dict-like"),
        ("Line", "Line cannot be a model"),
        (Line("a"), "cannot be a model"),
        (lambda: Line, "cannot be a model"),
    ],
)
def test_a_type_that_no_json_can_be_of_is_refused_at_once(type: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        model_of(type)


def test_a_recursive_type_is_a_model() -> None:
    assert decode(Tree, b'{"children":[{"children":[]}]}') == Tree([Tree()])


def test_models_are_made_once() -> None:
    assert model_of(Line) is model_of(Line)
    assert model_of(list[Line]) is model_of(list[Line])
    assert model_of(Line) is not model_of(Order)


def test_none_and_any_take_whatever_comes() -> None:
    assert model_of(None) is None
    assert model_of(Any) is None


def test_a_type_without_a_hash_is_a_model_too() -> None:
    annotated = Annotated[int, msgspec.Meta(ge=0), ["a note"]]
    with pytest.raises(TypeError):
        hash(annotated)
    model = model_of(annotated)
    assert model is not None
    assert model.decode(Kind.JSON, b"1", CONFIG) == 1
    with pytest.raises(ValidationError, match="Expected `int` >= 0"):
        model.decode(Kind.JSON, b"-1", CONFIG)


texts = st.text(st.characters(exclude_categories=["Cs"]))
lines = st.builds(Line, texts, st.integers(-(2**63), 2**63 - 1))
pages = st.builds(
    Page, st.lists(lines, max_size=4), st.dictionaries(texts, st.floats(allow_nan=False, allow_infinity=False))
)


def decoded_or_error(payload: bytes) -> Any:
    try:
        return decode(Page, payload)
    except DecodeError as error:
        return error


@given(pages)
def test_what_is_sent_arrives_equal(page: Page) -> None:
    assert decode(Page, encode_json(page, CONFIG)) == page


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["lines", "text", "size", "tags", "a"]), inner)
    ),
)


@given(values)
def test_whatever_json_comes_is_a_value_or_a_documented_error(value: Any) -> None:
    decoded = decoded_or_error(encode_json(value, CONFIG))
    if isinstance(decoded, Page):
        assert all(isinstance(line.text, str) and isinstance(line.size, int) for line in decoded.lines)
    else:
        assert isinstance(decoded, ValidationError)
        assert decoded.path.startswith("$")


@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: b'{"lines":[{"text":' + tail))
def test_whatever_bytes_come_only_a_decode_error_escapes(payload: bytes) -> None:
    assert isinstance(decoded_or_error(payload), Page | DecodeError)


def test_messages_are_decoded_together_into_values_of_the_type() -> None:
    run = run_of(Kind.JSON, "x", [b'{"text":"a"}', b'{"text":"b","size":2}'])
    assert Model(Line).decode_run(run, 0, 64, CONFIG) == [Line("a"), Line("b", 2)]
    assert Model(Line).decode_run(run, 1, 64, CONFIG) == [Line("b", 2)]


def test_messages_that_fit_only_together_are_looked_at_apart() -> None:
    run = run_of(Kind.JSON, "x", [b"[1", b"2]", b"[3],[4]"])
    assert Model(list[int]).decode_run(run, 0, 64, CONFIG) is None
    assert Model(list[int]).decode_run(run_of(Kind.JSON, "x", [b"[3],[4]"]), 0, 64, CONFIG) is None


def test_a_raw_value_does_not_keep_the_messages_beside_it() -> None:
    class Kept(msgspec.Struct):
        part: msgspec.Raw

    run = run_of(Kind.JSON, "x", [b'{"part":1}', b'{"part":2}'])
    assert Model(Kept).decode_run(run, 0, 64, CONFIG) is None
    assert Model(list[Kept]).decode_run(run, 0, 64, CONFIG) is None
