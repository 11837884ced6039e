"""Messages, requests and iterators of two blocking clients."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import librats
from librats import RemoteError, UsageError, ValidationError
from librats.blocking import Peer

if TYPE_CHECKING:
    from tests.loopback.blocking.conftest import OnAThread, Pair

TIMEOUT = 20


def test_messages_bytes_texts_and_datagrams_arrive(pair: Pair) -> None:
    heard: SimpleQueue[tuple[str, Peer, Any]] = SimpleQueue()
    pair.b.on("chat", lambda peer, data: heard.put(("chat", peer, data)))
    pair.b.on_bytes(lambda peer, data: heard.put(("bytes", peer, data)), channel="raw")
    pair.b.on_text(lambda peer, data: heard.put(("text", peer, data)))
    pair.b.on_datagram(lambda peer, data: heard.put(("datagram", peer, data)))

    assert pair.a.send("chat", {"n": 1}) == 1
    assert heard.get(timeout=TIMEOUT) == ("chat", pair.a_seen_by_b, {"n": 1})
    assert pair.a.try_send("chat", [2], to=pair.b.peer_id) == 1
    assert heard.get(timeout=TIMEOUT) == ("chat", pair.a_seen_by_b, [2])
    assert pair.a.send_bytes(memoryview(b"\0\1"), to=pair.b_seen_by_a, channel="raw") == 1
    assert heard.get(timeout=TIMEOUT) == ("bytes", pair.a_seen_by_b, b"\0\1")
    assert pair.a.send_text("grüß dich") == 1
    assert heard.get(timeout=TIMEOUT) == ("text", pair.a_seen_by_b, "grüß dich")
    pair.a.send_datagram(b"maybe", to=pair.b_seen_by_a)
    assert heard.get(timeout=TIMEOUT) == ("datagram", pair.a_seen_by_b, b"maybe")


def test_a_handlers_return_value_answers_a_request_and_its_exception_too(pair: Pair) -> None:
    @pair.b.on("add")
    def add(peer: Peer, data: list[int]) -> int:
        return sum(data)

    @pair.b.on("fail")
    def fail(peer: Peer, data: Any) -> None:
        raise LookupError("not here")

    @pair.b.on("leave")
    def leave(peer: Peer, data: Any) -> None:
        sys.exit(3)

    assert pair.a.request(pair.b_seen_by_a, "add", [1, 2, 3]) == 6
    with pytest.raises(RemoteError, match="LookupError: not here"):
        pair.b_seen_by_a.request("fail")
    with pytest.raises(RemoteError, match="SystemExit"):
        pair.b_seen_by_a.request("leave")
    with pytest.raises(RemoteError, match="no handler"):
        pair.b_seen_by_a.request("nobody listens")
    assert pair.b_seen_by_a.request("add", [4]) == 4


def test_handlers_may_wait_for_the_very_peer_that_they_answer(pair: Pair) -> None:
    """Each request is answered only after three more have gone back and forth."""

    def count_down(peer: Peer, number: int) -> list[int]:
        return [number, *(peer.request(f"down {number - 1}", number - 1) if number else [])]

    for number in range(4):
        pair.a.on(f"down {number}", count_down)
        pair.b.on(f"down {number}", count_down)
    assert pair.a.request(pair.b_seen_by_a, "down 3", 3) == [3, 2, 1, 0]


def test_messages_of_one_type_from_one_peer_are_handled_one_at_a_time_in_order(pair: Pair) -> None:
    handled: list[int] = []
    busy = threading.Lock()
    finished = threading.Event()

    @pair.b.on("number")
    def number(peer: Peer, data: int) -> None:
        assert busy.acquire(blocking=False)
        peer.stats  # noqa: B018 - a round trip through the loop, in which others could overtake
        handled.append(data)
        busy.release()
        if data == 299:
            finished.set()

    for value in range(300):
        pair.a.send("number", value, to=pair.b_seen_by_a)
    assert finished.wait(TIMEOUT)
    assert handled == list(range(300))


def test_a_handler_that_outlives_its_request_still_keeps_the_next_one_waiting(
    pair: Pair, on_a_thread: OnAThread
) -> None:
    gate, begun = threading.Event(), threading.Event()
    order: list[str] = []

    @pair.b.on("work")
    def work(peer: Peer, data: str) -> None:
        order.append(f"{data} begins")
        begun.set()
        if data == "slow":
            gate.wait(TIMEOUT)
        order.append(f"{data} ends")

    slow = on_a_thread(lambda: pair.b_seen_by_a.request("work", "slow", timeout=0.2))
    assert begun.wait(TIMEOUT)
    with pytest.raises(librats.RequestTimeout):
        slow.result(TIMEOUT)
    quick = on_a_thread(lambda: pair.b_seen_by_a.request("work", "quick"))
    assert pair.b_seen_by_a.ping() > 0
    gate.set()
    quick.result(TIMEOUT)
    assert order == ["slow begins", "slow ends", "quick begins", "quick ends"]


def test_a_handler_that_waits_holds_up_neither_other_types_nor_the_client(pair: Pair, on_a_thread: OnAThread) -> None:
    gate = threading.Event()
    pair.b.on("slow", lambda peer, data: gate.wait(TIMEOUT))
    pair.b.on("quick", lambda peer, data: data)
    slow = on_a_thread(lambda: pair.b_seen_by_a.request("slow"))
    assert [pair.b_seen_by_a.request("quick", n) for n in range(5)] == list(range(5))
    assert not slow.done()
    gate.set()
    assert slow.result(TIMEOUT) is True


def test_concurrent_handlers_of_one_peer_run_at_once(pair: Pair, on_a_thread: OnAThread) -> None:
    together = threading.Barrier(4)
    pair.b.on("meet", lambda peer, data: together.wait(TIMEOUT), concurrent=True)
    waiting = [on_a_thread(lambda: pair.b_seen_by_a.request("meet")) for _ in range(4)]
    assert sorted(future.result(TIMEOUT) for future in waiting) == [0, 1, 2, 3]


def test_off_and_once_end_what_on_began(pair: Pair) -> None:
    def one(peer: Peer, data: Any) -> str:
        return "one"

    def two(peer: Peer, data: Any) -> str:
        return "two"

    assert pair.b.on("ask", one) is one
    assert pair.b.on("ask")(two) is two
    assert pair.b_seen_by_a.request("ask") == "one"
    assert pair.b.off("ask", one) == 1
    assert pair.b_seen_by_a.request("ask") == "two"
    assert pair.b.off("ask") == 1
    pair.b.once("ask", one)
    assert pair.b_seen_by_a.request("ask") == "one"
    with pytest.raises(RemoteError, match="no handler"):
        pair.b_seen_by_a.request("ask")


def test_a_function_that_returns_an_awaitable_is_an_error_and_no_warning(pair: Pair) -> None:
    pair.b.on("ask", lambda peer, data: asyncio.sleep(0))
    with pytest.raises(RemoteError, match="awaitable"):
        pair.b_seen_by_a.request("ask")


def test_messages_can_be_iterated_over_until_the_client_stops(pair: Pair, on_a_thread: OnAThread) -> None:
    messages = pair.b.messages("chat")
    for number in range(3):
        pair.a.send("chat", number)
    assert [next(messages) for _ in range(3)] == [(pair.a_seen_by_b, number) for number in range(3)]
    rest = on_a_thread(lambda: list(messages))
    pair.b.stop()
    assert rest.result(TIMEOUT) == []


def test_an_iterator_that_is_dropped_listens_no_more(pair: Pair) -> None:
    messages = pair.b.messages("chat")
    pair.a.send("chat", "first")
    for _, data in messages:
        assert data == "first"
        break
    del messages
    gc.collect()
    with pytest.raises(RemoteError, match="no handler"):
        pair.b_seen_by_a.request("chat")


class Chat(msgspec.Struct):
    text: str


@dataclass
class Count:
    words: int


def test_handlers_requests_and_iterators_take_models(pair: Pair) -> None:
    heard: SimpleQueue[Any] = SimpleQueue()

    @pair.b.on("count")
    def count(peer: Peer, data: Chat) -> Count:
        return Count(len(data.text.split()))

    @pair.b.once("chat", model=Chat)
    def chat(peer: Peer, data: Any) -> None:
        heard.put(data)

    assert pair.b_seen_by_a.request("count", Chat("a b"), model=Count) == Count(2)
    assert pair.a.request(pair.b.peer_id, "count", {"text": "a"}) == {"words": 1}
    with pytest.raises(RemoteError, match=r"Expected `str`, got `int` at \$\.text"):
        pair.b_seen_by_a.request("count", {"text": 5})
    with pytest.raises(ValidationError, match="missing required field `text`"):
        pair.b_seen_by_a.request("count", Chat("a"), model=Chat)

    messages = pair.b.messages("chat", model=Chat)
    pair.a.send("chat", ["no chat"])
    pair.a.send("chat", Chat("hi"))
    assert heard.get(timeout=TIMEOUT) == Chat("hi")
    assert next(messages) == (pair.a_seen_by_b, Chat("hi"))
    assert pair.b.statistics()["bad_payloads"] == 2
    with pytest.raises(UsageError, match="cannot be a model"):
        pair.b.on("chat", model=object)
    assert pair.b.off("count", count) == 1
