"""Messages that have no handler of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from librats import Peer, RatsClient, RemoteError, UsageError

if TYPE_CHECKING:
    from tests.loopback.conftest import Pair


async def test_what_has_no_handler_is_told_in_order_and_decoded(pair: Pair) -> None:
    heard: list[tuple[str, str, Any]] = []
    pair.b.on("known", lambda peer, data: None)
    pair.b.on_unhandled(lambda peer, name, data: heard.append((peer.id, name, data)))
    await pair.to_b.send("known", 1)
    await pair.to_b.send("unknown", {"a": 1})
    await pair.to_b.send_bytes(b"raw", channel="c")
    await pair.to_b.send_text("words")
    await pair.to_b.ping()
    assert heard == [(pair.a.peer_id, *rest) for rest in (("unknown", {"a": 1}), ("c", b"raw"), ("", "words"))]


async def test_a_request_without_a_handler_is_told_and_still_refused(pair: Pair) -> None:
    heard: list[str] = []

    @pair.b.on_unhandled
    def told(peer: Peer, name: str, data: Any) -> str:
        heard.append(name)
        return "not an answer"

    with pytest.raises(RemoteError, match="no handler") as caught:
        await pair.to_b.request("riddle", None)
    assert caught.value.code == "no_handler"
    assert heard == ["riddle"]


async def test_a_catch_all_that_raises_does_not_harm_the_session(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    @pair.b.on_unhandled
    def broken(peer: Peer, name: str, data: Any) -> None:
        raise RuntimeError("boom")

    await pair.to_b.send("unknown", 1)
    await pair.to_b.ping()
    assert "boom" in caplog.text
    assert pair.b.statistics()["messages_unhandled"] == 1


async def test_an_async_catch_all_is_refused() -> None:
    async def slow(peer: Peer, name: str, data: Any) -> None:
        raise AssertionError("never called")

    with pytest.raises(UsageError, match="plain function"):
        RatsClient(0).on_unhandled(slow)
