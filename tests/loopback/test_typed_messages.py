"""Messages, requests and iterators with models, between two clients and with a librats 2 node."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.reference.librats2_node import Librats2Node, peer_id

from librats import DecodeError, MessageRefused, Peer, RemoteError, SessionConfig, UsageError, ValidationError

if TYPE_CHECKING:
    from tests.loopback.conftest import Connect, MakeClient, Pair, Until

KEY = bytes(range(1, 33))
WAIT = 20.0


class Chat(msgspec.Struct):
    text: str
    stamp: float = 0.0


class Reply(msgspec.Struct, frozen=True):
    words: int


@dataclass
class Move:
    x: int
    y: int = 0


async def test_structs_and_dataclasses_travel_both_ways(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.on("chat")
    def chat(peer: Peer, data: Chat) -> None:
        heard.put_nowait(data)

    @pair.b.on("move")
    async def move(peer: Peer, data: Move) -> None:
        heard.put_nowait(data)

    assert await pair.a.send("chat", Chat("hi", 1.5)) == 1
    assert await pair.a.send("chat", {"text": "a dict"}, to=pair.to_b) == 1
    await pair.to_b.send("move", Move(1, 2))
    assert pair.to_b.try_send("move", Move(3))
    async with asyncio.timeout(WAIT):
        assert [await heard.get() for _ in range(4)] == [
            Chat("hi", 1.5),
            Chat("a dict"),
            Move(1, 2),
            Move(3, 0),
        ]


async def test_what_does_not_fit_never_reaches_the_handler(pair: Pair, until: Until) -> None:
    called: list[Any] = []
    told: list[MessageRefused] = []
    pair.b.on_event(MessageRefused, told.append)

    @pair.b.on("chat")
    async def chat(peer: Peer, data: Chat) -> str:
        called.append(data)
        return data.text.upper()

    await pair.to_b.send("chat", {"text": ["no", "text"]})
    with pytest.raises(RemoteError, match=r"Expected `float`, got `str` at \$\.stamp") as caught:
        await pair.to_b.request("chat", {"text": "a", "stamp": "now"})
    assert caught.value.code == "bad_data"
    with pytest.raises(RemoteError, match="Expected JSON, got bytes"):
        await pair.to_b.request("chat", b"raw")
    assert await pair.to_b.request("chat", Chat("fits")) == "FITS"
    await until(lambda: len(told) == 3)
    assert called == [Chat("fits")]
    assert {event.peer for event in told} == {pair.to_a}
    assert pair.b.statistics()["bad_payloads"] == 3
    assert pair.b.statistics()["handler_errors"] == 0


async def test_a_reply_is_validated(pair: Pair) -> None:
    pair.b.on("count", lambda peer, data: Reply(len(data.split())))
    pair.b.on("bytes", lambda peer, data: b"raw")
    pair.b.on("echo", lambda peer, data: data)
    assert await pair.to_b.request("count", "a b c", model=Reply) == Reply(3)
    assert await pair.a.request(pair.b.peer_id, "echo", [{"words": 1}], model=list[Reply]) == [Reply(1)]
    whatever: Any = await pair.to_b.request("echo", 7, model=Any)
    assert whatever == 7
    with pytest.raises(ValidationError, match="Expected `int`, got `str`") as caught:
        await pair.to_b.request("echo", {"words": "many"}, model=Reply)
    assert caught.value.path == "$.words"
    assert isinstance(caught.value, DecodeError)
    with pytest.raises(ValidationError, match="Expected JSON, got bytes"):
        await pair.to_b.request("bytes", "", model=Reply)
    with pytest.raises(UsageError, match="cannot be a model"):
        await pair.to_b.request("count", "a", model=object)
    assert pair.to_b.is_connected


async def test_an_iterator_leaves_out_what_does_not_fit(pair: Pair) -> None:
    typed = pair.b.messages("chat", model=Chat)
    untyped = pair.b.messages("chat")
    for data in ({"text": "a"}, {"text": 1}, {}, Chat("b")):
        await pair.to_b.send("chat", data)
    async with asyncio.timeout(WAIT):
        assert [(await anext(typed))[1].text for _ in range(2)] == ["a", "b"]
        assert [(await anext(untyped))[1].get("text") for _ in range(4)] == ["a", 1, None, "b"]
    assert pair.b.statistics()["bad_payloads"] == 2


async def test_once_waits_for_the_first_message_that_fits(pair: Pair) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @pair.b.once("move")
    async def move(peer: Peer, data: Move) -> None:
        heard.put_nowait(data)

    for data in ({"x": "left"}, {"x": 1}, {"x": 2}):
        await pair.to_b.send("move", data)
    async with asyncio.timeout(WAIT):
        assert await heard.get() == Move(1)
    await pair.to_b.ping()
    assert heard.empty()


async def test_off_knows_a_typed_handler(pair: Pair) -> None:
    def chat(peer: Peer, data: Chat) -> None: ...

    pair.b.on("chat", chat)
    pair.b.on("chat", chat, model=Move)
    assert pair.b.off("chat", chat) == 2


async def test_limits_on_json_hold_for_models(make_client: MakeClient, connect: Connect) -> None:
    generous = await make_client(session=SessionConfig(max_json_size=100_000, max_json_depth=60))
    strict = await make_client(session=SessionConfig(max_json_size=1000, max_json_depth=8))
    strict.on("chat", lambda peer, data: data.text, model=Chat)
    pair = await connect(generous, strict)
    with pytest.raises(RemoteError, match="max_json_size") as caught:
        await pair.to_b.request("chat", Chat("a" * 1000))
    assert caught.value.code == "bad_data"
    deep: Any = []
    for _ in range(20):
        deep = [deep]
    with pytest.raises(RemoteError, match="max_json_depth"):
        await pair.to_b.request("chat", {"text": "a", "more": deep})
    assert await pair.to_b.request("chat", Chat("a")) == "a"


async def test_messages_of_a_librats_2_node_are_validated(
    make_client: MakeClient, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    client = await make_client()
    heard: asyncio.Queue[Any] = asyncio.Queue()

    @client.on("chat")
    def chat(peer: Peer, data: Chat) -> None:
        heard.put_nowait(data)

    node = await Librats2Node.dial(client.listen_port, KEY)
    await until(lambda: peer_id(KEY) in client.peers)
    with caplog.at_level(logging.DEBUG, "librats.peers"):
        await node.send_json(b"chat", b'{"text":5}')
        await node.send_json(b"chat", b'{"text":"hi"}')
        async with asyncio.timeout(WAIT):
            assert await heard.get() == Chat("hi")
    assert client.statistics()["bad_payloads"] == 1
    assert "Expected `str`, got `int` at $.text" in caplog.text
    await client.peers[peer_id(KEY)].send("chat", Chat("back"))
    async with asyncio.timeout(WAIT):
        while True:
            _, _, payload = await node.receive()
            if b'{"text":"back","stamp":0.0}' in payload:
                break
    await node.close()
