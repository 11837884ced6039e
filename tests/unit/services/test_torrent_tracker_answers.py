"""What one tracker answers: where it sends us, what it refuses, and what several answers come to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.unit.services.test_torrent_announcing import Lent, Named, describe

from librats._core import bencode
from librats.bittorrent.tracker_http import MAX_REPLY, AnnounceReply
from librats.errors import RemoteProtocolError
from librats.runtime.datagrams import Origin
from librats.services.torrenting.announcing import Announcer, _merged
from librats.types import Address

Answer = Callable[[str, dict[str, str]], bytes]
HERE = Address("127.0.0.1", 0)


def good(**fields: Any) -> bytes:
    body = bencode.encode({b"interval": 600, b"peers": b"", **{name.encode(): value for name, value in fields.items()}})
    return answer(200, body)


def answer(status: int, body: bytes = b"", *fields: str) -> bytes:
    head = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "\r\n".join([*head, "", ""]).encode() + body


@asynccontextmanager
async def tracker(answers: Answer) -> AsyncIterator[int]:
    """Answer as the test says, given the path and the fields that were asked with; yield the port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split()[1]
        writer.write(answers(urlsplit(line).path, dict(parse_qsl(urlsplit(line).query, encoding="latin-1"))))
        writer.close()

    async with await asyncio.start_server(serve, HERE.host, 0) as server:
        yield server.sockets[0].getsockname()[1]


def announcer(url: str) -> Announcer:
    pytest.importorskip("aiohttp")
    return Announcer(Named([HERE.host]), url, {False})


@pytest.mark.parametrize(("moves", "reaches"), [(3, True), (4, False)])
async def test_three_moves_of_a_tracker_are_followed_and_no_more(moves: int, reaches: bool) -> None:
    def answers(path: str, fields: dict[str, str]) -> bytes:
        number = int(path.removeprefix("/announce") or 0)
        return good() if number == moves else answer(302, b"", f"Location: /announce{number + 1}")

    async with tracker(answers) as port:
        asked = announcer(f"http://tracker.example:{port}/announce").announce(describe)
        if reaches:
            assert (await asked).interval == 600
        else:
            with pytest.raises(RemoteProtocolError, match="in circles"):
                await asked


@pytest.mark.parametrize("first", ["127.0.0.1", "localhost", "tracker.example"])
@pytest.mark.parametrize("target", ["http://127.0.0.1:{port}/secret", "http://localhost:{port}/secret"])
async def test_no_service_of_this_machine_is_asked_that_is_no_tracker(first: str, target: str) -> None:
    asked: list[str] = []

    def answers(path: str, fields: dict[str, str]) -> bytes:
        asked.append(path)
        return answer(302, b"", f"Location: {target.format(port=port)}")

    async with tracker(answers) as port:
        with pytest.raises(RemoteProtocolError, match="on this machine"):
            await announcer(f"http://{first}:{port}/announce").announce(describe)
        assert asked == ["/announce"]
        with pytest.raises(RemoteProtocolError, match="on this machine"):
            await announcer(target.format(port=port)).announce(describe)
        assert asked == ["/announce"]


async def test_a_tracker_of_this_machine_is_asked() -> None:
    async with tracker(lambda path, fields: good()) as port:
        assert (await announcer(f"http://127.0.0.1:{port}/announce.php").announce(describe)).interval == 600


async def test_why_a_tracker_refuses_is_told_whatever_its_status_and_an_error_without_a_word_is_one() -> None:
    async with tracker(lambda path, fields: answer(403, b"d14:failure reason4:who?e")) as port:
        with pytest.raises(RemoteProtocolError, match="refuses: who"):
            await announcer(f"http://tracker.example:{port}/announce").announce(describe)
    async with tracker(lambda path, fields: answer(503, b"<html>")) as port:
        with pytest.raises(RemoteProtocolError, match="answers 503"):
            await announcer(f"http://tracker.example:{port}/announce").announce(describe)


async def test_an_answer_without_an_end_is_not_read_to_the_end() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nd8:interval")
        try:
            while sent < 100 * MAX_REPLY:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536
        except ConnectionError:
            pass
        writer.close()

    async with await asyncio.start_server(serve, HERE.host, 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RemoteProtocolError):
            await announcer(f"http://tracker.example:{port}/announce").announce(describe)
    assert sent < 50 * MAX_REPLY


async def test_what_a_tracker_calls_us_is_told_it_the_next_time_also_where_it_does_not_say_it_again() -> None:
    told: list[str | None] = []

    def answers(path: str, fields: dict[str, str]) -> bytes:
        told.append(fields.get("trackerid"))
        return good(**{"tracker id": b"number seven"}) if len(told) == 1 else good()

    async with tracker(answers) as port:
        asked = announcer(f"http://tracker.example:{port}/announce")
        for _ in range(3):
            await asked.announce(describe)
    assert told == [None, "number seven", "number seven"]


async def test_of_several_addresses_of_a_family_the_first_is_asked() -> None:
    network = Lent()
    network.resolve = lambda address: found(address.port)  # type: ignore[method-assign]

    async def found(port: int) -> list[Address]:
        return [Address(host, port) for host in ("192.0.2.1", "192.0.2.2")]

    task = asyncio.create_task(Announcer(network, "udp://tracker.example:6969", {False}).announce(describe))
    await network.sent.wait()
    assert network.sent_to == [Address("192.0.2.1", 6969)]
    task.cancel()


@pytest.mark.parametrize(
    ("path", "told"),
    [("", b""), ("/", b""), ("/announce", b"\x02\x09/announce\0"), ("/a?key=7", b"\x02\x08/a?key=7\0")],
)
async def test_the_rest_of_the_url_is_told_to_a_tracker_over_udp(path: str, told: bytes) -> None:
    network, here = Lent(), Origin("192.0.2.1", 6969)
    task = asyncio.create_task(Announcer(network, f"udp://192.0.2.1:6969{path}", {False}).announce(describe))
    await network.sent.wait()
    network.sent.clear()
    network.receive([(bytes(4) + network.packets[0][12:16] + bytes(8), here)])
    await network.sent.wait()
    assert network.packets[1][98:] == told
    task.cancel()


async def test_what_somebody_else_answers_in_the_place_of_a_tracker_over_udp_does_not_count() -> None:
    network = Lent()
    task = asyncio.create_task(Announcer(network, "udp://192.0.2.1:6969", {False}).announce(describe))
    await network.sent.wait()
    reply = bytes(4) + network.packets[0][12:16] + bytes(8)
    for other in (Origin("192.0.2.2", 6969), Origin("192.0.2.1", 6968)):
        network.receive([(reply, other)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(network.packets) == 1
    task.cancel()


async def test_the_port_that_was_answered_from_is_forgotten_where_the_tracker_has_moved() -> None:
    network = Lent()
    where = ["192.0.2.1"]

    async def found(address: Address) -> list[Address]:
        return [Address(where[0], address.port)]

    network.resolve = found  # type: ignore[method-assign]
    asked = Announcer(network, "udp://tracker.example:6969", {False})
    for host in ("192.0.2.1", "192.0.2.2"):
        where[0] = host
        network.packets.clear()
        task = asyncio.create_task(asked.announce(describe))
        for action, body in ((0, bytes(8)), (1, (600).to_bytes(4) + bytes(8))):
            await network.sent.wait()
            network.sent.clear()
            head = action.to_bytes(4) + network.packets[-1][12:16]
            network.receive([(head + body, Origin(host, 6969))])
        await task
        assert [len(packet) for packet in network.packets] == [16, 98]  # it is asked for a connection first


async def test_of_a_tracker_that_did_not_answer_another_connection_is_asked_for() -> None:
    network, here = Lent(), Origin("192.0.2.1", 6969)
    asked = Announcer(network, "udp://192.0.2.1:6969", {False})
    for _ in range(2):
        network.packets.clear()
        task = asyncio.create_task(asked.announce(describe))
        await network.sent.wait()
        network.sent.clear()
        network.receive([(bytes(4) + network.packets[0][12:16] + bytes(8), here)])
        await network.sent.wait()
        network.sent.clear()
        assert [len(packet) for packet in network.packets] == [16, 98]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_several_answers_come_to_the_longest_pauses_the_most_peers_and_the_first_words() -> None:
    one, other = Address("192.0.2.1", 1), Address("2001:db8::1", 2)
    replies = [
        AnnounceReply(peers=(one,), interval=600, min_interval=60, seeds=5, leechers=1),
        AnnounceReply(peers=(other, one), interval=900, min_interval=30, seeds=3, leechers=4, warning="soon"),
        AnnounceReply(peers=(), interval=700, min_interval=90, seeds=0, leechers=0, warning="late", external_ip="::7"),
    ]
    assert _merged(replies) == AnnounceReply(
        peers=(one, other), interval=900, min_interval=90, seeds=5, leechers=4, warning="soon", external_ip="::7"
    )
