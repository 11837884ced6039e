"""Handshakes that are begun and left: what they cost the others, and how long each of their stages may take."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from librats import IncomingRefused, RatsClient, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.loopback.conftest import MakeClient, Until

WAIT = 20.0
LOOPBACK = "127.0.0.1"
FIRST_MESSAGE = b"\0\0\0\x20" + b"\x09" + bytes(31)
pytestmark = pytest.mark.timeout(120)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT):
        return await what


@contextlib.asynccontextmanager
async def half_open(client: RatsClient, count: int, first: bytes, host: str = LOOPBACK) -> AsyncIterator[None]:
    """Hold connections to a client that say one thing and then nothing, from one address."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            connection.setblocking(False)
            connection.bind((host, 0))
            await loop.sock_connect(connection, (LOOPBACK, client.listen_port))
            with contextlib.suppress(OSError):  # it had to make room already
                connection.send(first)
        yield


async def connects_within(seconds: float, client: RatsClient, target: RatsClient) -> None:
    started = asyncio.get_running_loop().time()
    peer = await soon(client.connect((LOOPBACK, target.listen_port)))
    assert peer.id == target.peer_id
    assert asyncio.get_running_loop().time() - started < seconds


@pytest.mark.parametrize("first", [b"", FIRST_MESSAGE[:1], FIRST_MESSAGE], ids=["silent", "one byte", "first message"])
@pytest.mark.parametrize("host", [LOOPBACK, "127.0.0.2"], ids=["same address", "another address"])
@pytest.mark.parametrize("count", [400, pytest.param(5000, marks=pytest.mark.long)])
async def test_half_open_handshakes_keep_nobody_out(
    make_client: MakeClient, until: Until, first: bytes, host: str, count: int
) -> None:
    limits: dict[str, Any] = {} if count > 1000 else {"max_half_open": 64, "max_half_open_per_source": 32}
    client, honest = await make_client(**limits), await make_client()
    refused: list[IncomingRefused] = []
    client.on_event(IncomingRefused, refused.append)
    async with half_open(client, count, first, host):
        await connects_within(1.0, honest, client)
        await until(lambda: client.statistics()["links_in"] == count + 1)
        await until(lambda: client.peers)
        counted = client.statistics()["limits"]
        assert counted["max_half_open"]["current"] <= counted["max_half_open_per_source"]["limit"]
        assert counted["max_half_open_per_source"]["refused"] > 0
        assert len(refused) >= count - counted["max_half_open_per_source"]["limit"]
        assert {event.limit for event in refused} <= {"max_half_open_per_source", "max_handshake_rate_per_source"}


async def test_handshakes_beyond_the_rate_wait_and_beyond_that_are_refused(
    make_client: MakeClient, until: Until
) -> None:
    client, honest = await make_client(max_handshake_rate_per_source=20), await make_client()
    refused: list[IncomingRefused] = []
    client.on_event(IncomingRefused, refused.append)
    async with half_open(client, 40, FIRST_MESSAGE):
        # 20 at once, some while these came, and 10 that wait up to half a second.
        await until(lambda: refused)
        assert refused[0].limit == "max_handshake_rate_per_source"
        assert refused[0].reason == (
            "too many handshakes in a second, the limit is max_handshake_rate_per_source=20 (RatsConfig)"
        )
        await connects_within(1.0, honest, client)
    assert client.statistics()["limits"]["max_handshake_rate_per_source"]["refused"] == len(refused)


async def test_a_handshake_that_waits_for_its_turn_makes_no_room_for_others(make_client: MakeClient) -> None:
    client = await make_client(max_handshake_rate_per_source=5, max_half_open_per_source=8)
    async with half_open(client, 5, FIRST_MESSAGE):  # of which each may begin at once, and the next one may not
        reader, writer = await asyncio.open_connection(LOOPBACK, client.listen_port)
        writer.write(FIRST_MESSAGE)
        async with half_open(client, 12, b""):
            assert await soon(reader.read(1))
        writer.close()


STAGES = {
    "nothing": (b"", {"first_byte_timeout": 0.1}, "nothing was heard within 0.1 s"),
    "one byte": (b"\0", {"message_timeout": 0.1}, "handshake message 1 was not complete within 0.1 s"),
    "one message": (FIRST_MESSAGE, {"message_timeout": 0.1}, "handshake message 3 was not complete within 0.1 s"),
    "all too slow": (b"\0\0\0", {"handshake_timeout": 0.1}, "no handshake within 0.1 s"),
}


@pytest.mark.parametrize(("sent", "settings", "words"), STAGES.values(), ids=STAGES)
async def test_each_stage_has_its_deadline(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, sent: bytes, settings: dict[str, float], words: str
) -> None:
    client = await make_client(session=SessionConfig(**settings))  # type: ignore[arg-type]
    with caplog.at_level("DEBUG", logger="librats.session"):
        reader, writer = await asyncio.open_connection(LOOPBACK, client.listen_port)
        writer.write(sent)
        with contextlib.suppress(OSError):
            await soon(reader.read())
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    assert words in caplog.text
    assert client.statistics()["handshakes_failed"] == 1


async def test_who_is_let_in_by_nobody_is_told_that_it_took_too_long(make_client: MakeClient) -> None:
    hasty = await make_client(session=SessionConfig(hello_timeout=0.2))
    undecided = await make_client()
    waiting = asyncio.Event()

    @undecided.on_incoming
    async def decide(_who: object) -> bool:
        if not hasattr(_who, "port"):
            await waiting.wait()
        return True

    with pytest.raises(Exception, match=r"the peer did not say hello within 0\.2 s"):
        await soon(hasty.connect((LOOPBACK, undecided.listen_port)))
    waiting.set()


async def test_a_hook_that_takes_its_time_does_not_cost_the_peer_its_own(make_client: MakeClient) -> None:
    client = await make_client(session=SessionConfig(first_byte_timeout=0.2))

    @client.on_incoming
    async def decide(_who: object) -> bool:
        await asyncio.sleep(0.15)
        return True

    honest = await make_client()
    assert (await soon(honest.connect((LOOPBACK, client.listen_port)))).id == client.peer_id
