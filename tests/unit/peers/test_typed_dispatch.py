"""Messages on their way to handlers that take a type: what fits is decoded into it, and nothing else gets there."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import pytest
from tests.reference.runs import run_of
from tests.unit.peers.inbox_bench import PEER, Bench, Note

from librats.errors import DecodeError, UsageError, ValidationError
from librats.peers.events import MessageRefused
from librats.session.frames import Kind
from librats.verbs.hearing import HearingVerbs


class Chat(msgspec.Struct):
    text: str


@dataclass
class Move:
    x: int


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


def refusals(bench: Bench) -> list[MessageRefused]:
    told: list[MessageRefused] = []
    bench.handlers.listen(MessageRefused, told.append)
    return told


def errors(bench: Bench) -> list[tuple[int, str, str]]:
    return bench.link.session.errors


async def test_an_annotated_plain_function_gets_a_value_of_its_type_at_once(bench: Bench) -> None:
    def chat(peer: Any, data: Chat) -> None:
        bench.called.append(data)

    bench.on(chat, model=Chat)
    bench.deliver({"text": "hi"})
    assert bench.called == [Chat("hi")]
    assert len(bench.tasks) == 0


async def test_an_explicit_model_wins_and_any_takes_whatever_comes(bench: Bench) -> None:
    bench.on(annotated, model=dict[str, str])
    bench.on(annotated, "y", model=Any)
    bench.on(annotated, "z")
    heard.clear()
    for name in "xyz":
        bench.deliver({"x": 1}, name=name)
    assert heard == [{"x": 1}, Move(1)]
    assert bench.dispatcher.bad_payloads == 1


heard: list[Any] = []


def annotated(peer: Any, data: Move) -> None:
    heard.append(data)


@pytest.mark.parametrize("is_async", [False, True])
async def test_what_does_not_fit_is_counted_told_answered_and_freed(
    bench: Bench, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    told = refusals(bench)

    async def later(peer: Any, data: Any) -> None:
        bench.called.append(data)

    bench.on(later if is_async else bench.heard, model=Chat)
    with caplog.at_level(logging.DEBUG, "librats"):
        bench.deliver({"text": 1}, request_id=7)
        bench.deliver({})
        bench.deliver("{", raw=True, request_id=8)
        await bench.idle()
    assert bench.called == []
    assert bench.dispatcher.bad_payloads == 3
    assert bench.dispatcher.handler_errors == 0
    assert bench.link.freed == 300
    assert errors(bench)[0] == (7, "bad_data", "Expected `str`, got `int` at $.text")
    assert errors(bench)[1][:2] == (8, "bad_data")
    assert [(event.peer, event.name) for event in told] == [(PEER, "x")] * 3
    assert isinstance(told[1].error, ValidationError)
    assert told[1].error.path == "$"
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}


async def test_a_request_that_carries_bytes_does_not_fit(bench: Bench) -> None:
    bench.on(bench.heard, model=Chat)
    bench.inbox.deliver(cast("Any", bench.link), cast("Any", Note(payload=b"raw", kind=Kind.BYTES, request_id=1)))
    assert errors(bench) == [(1, "bad_data", "Expected JSON, got bytes at $")]


async def test_a_handler_that_wants_one_message_waits_for_one_that_fits(bench: Bench) -> None:
    bench.on(bench.heard, model=Chat, once=True)
    for data in ({"text": 1}, {"text": "a"}, {"text": "b"}):
        bench.deliver(data)
    assert bench.called == [Chat("a")]
    assert (bench.dispatcher.bad_payloads, bench.dispatcher.unhandled) == (1, 1)


async def test_handlers_of_one_type_share_the_value(bench: Bench) -> None:
    bench.on(bench.heard, model=Chat)
    bench.on(bench.heard, model=Chat)
    bench.deliver({"text": "a"})
    first, second = bench.called
    assert first is second


async def test_handlers_of_different_types_get_a_value_of_their_own_each(bench: Bench) -> None:
    bench.on(lambda peer, data: bench.called.append(("any", data)))
    bench.on(lambda peer, data: bench.called.append(("chat", data)), model=Chat)
    bench.on(lambda peer, data: bench.called.append(("move", data)), model=Move)
    told = refusals(bench)
    bench.deliver({"text": "a", "x": 2})
    await bench.idle()
    assert bench.called == [("any", {"text": "a", "x": 2}), ("chat", Chat("a")), ("move", Move(2))]
    assert told == []
    bench.deliver({"x": 3})
    await bench.idle()
    assert bench.called[3:] == [("any", {"x": 3}), ("move", Move(3))]
    assert [str(event.error) for event in told] == ["Object missing required field `text` at $"]
    assert bench.dispatcher.bad_payloads == 1
    assert bench.link.freed == 200


async def test_a_request_is_answered_by_a_handler_that_can_take_it_and_else_refused(bench: Bench) -> None:
    bench.on(lambda peer, data: bench.called.append(data))
    bench.on(lambda peer, data: data.text, model=Chat)
    bench.on(lambda peer, data: data.x, model=Move)
    bench.deliver({"text": "a"}, request_id=1)
    bench.deliver({"x": 5}, request_id=2)
    bench.deliver({}, request_id=3)
    bench.deliver("{", raw=True, request_id=4)
    await bench.idle()
    assert bench.link.session.replies == [(1, Kind.JSON, b'"a"'), (2, Kind.JSON, b"5")]
    assert [error[:2] for error in errors(bench)] == [(3, "bad_data"), (4, "bad_data")]
    assert bench.called == [{"text": "a"}, {"x": 5}, {}]
    assert bench.link.freed == 400


async def test_an_exception_answers_before_a_refusal_does(bench: Bench) -> None:
    def fail(peer: Any, data: Any) -> None:
        raise ValueError("no good")

    bench.on(fail)
    bench.on(bench.heard, model=Chat)
    bench.deliver({}, request_id=1)
    await bench.idle()
    assert errors(bench) == [(1, "handler_error", "ValueError: no good")]


async def test_of_different_types_only_those_called_are_spent(bench: Bench) -> None:
    bench.on(lambda peer, data: bench.called.append(data), model=Chat, once=True)
    bench.on(lambda peer, data: bench.called.append(data), model=Move, once=True)
    bench.deliver({"x": 1})
    bench.deliver({"x": 2})
    bench.deliver({"text": "a"})
    bench.deliver({"text": "b"})
    await bench.idle()
    assert bench.called == [Move(1), Chat("a")]
    assert (bench.dispatcher.bad_payloads, bench.dispatcher.unhandled) == (2, 1)


async def test_a_struct_and_a_dataclass_answer_requests(bench: Bench) -> None:
    bench.on(lambda peer, data: Chat("a"))
    bench.on(lambda peer, data: Move(1), "y")
    bench.deliver(request_id=1)
    bench.deliver(request_id=2, name="y")
    assert bench.link.session.replies == [(1, Kind.JSON, b'{"text":"a"}'), (2, Kind.JSON, b'{"x":1}')]


async def test_only_plain_functions_hear_of_refusals() -> None:
    async def later(event: MessageRefused) -> None: ...

    verbs = HearingVerbs()
    with pytest.raises(UsageError, match="plain function"):
        verbs.on_event(MessageRefused, later)
    with pytest.raises(UsageError, match="plain function"):
        verbs.on_event(MessageRefused)(later)


async def test_an_event_is_a_class() -> None:
    verbs = HearingVerbs()
    for event in ("PeerConnected", None, MessageRefused(PEER, "x", DecodeError("bad"))):
        with pytest.raises(UsageError, match="named by their class"):
            verbs.on_event(cast("Any", event), print)


async def test_a_model_that_cannot_be_one_is_told_where_it_is_written() -> None:
    verbs = HearingVerbs()
    with pytest.raises(UsageError, match="object has no JSON form"):
        verbs.on("x", model=set[object])
    with pytest.raises(UsageError, match="object has no JSON form"):
        verbs.once("x", annotated, model=object)
    with pytest.raises(UsageError, match="object has no JSON form"):
        verbs.messages("x", model=object)
    assert verbs.off("x") == 0


async def test_a_run_of_messages_is_decoded_together_up_to_the_one_that_does_not_fit(bench: Bench) -> None:
    bench.on(bench.heard, model=Chat)
    told = refusals(bench)
    payloads = [b'{"text":"a"}', b'{"text":"b"}', b'{"text":3}', b"{", b'{"text":"c"}']
    run = run_of(Kind.JSON, "x", payloads)
    bench.inbox.deliver_run(cast("Any", bench.link), run)
    assert bench.called == [Chat("a"), Chat("b"), Chat("c")]
    assert [type(event.error) for event in told] == [ValidationError, DecodeError]
    assert bench.link.freed == run.cost


async def test_a_model_may_raise_anything_within_a_run(bench: Bench) -> None:
    @dataclass
    class Picky:
        x: int

        def __post_init__(self) -> None:
            if self.x == 2:
                raise KeyError("two")

    bench.on(bench.heard, model=Picky)
    run = run_of(Kind.JSON, "x", [b'{"x":1}', b'{"x":2}', b'{"x":3}'])
    bench.inbox.deliver_run(cast("Any", bench.link), run)
    assert [value.x for value in bench.called] == [1, 3]
    assert bench.dispatcher.bad_payloads == 1


async def test_a_run_for_handlers_of_different_types_reaches_each(bench: Bench) -> None:
    bench.on(bench.heard, model=Chat)
    bench.on(bench.heard, model=Move)
    run = run_of(Kind.JSON, "x", [b'{"text":"a"}', b'{"x":1}'])
    bench.inbox.deliver_run(cast("Any", bench.link), run)
    await bench.idle()
    assert bench.called == [Chat("a"), Move(1)]
    assert bench.link.freed == run.cost
