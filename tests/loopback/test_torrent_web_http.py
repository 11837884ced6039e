"""HTTP of web seeds by itself: what is asked for, what is followed, what is taken, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web

from librats.bittorrent.web_seeds import WebPart
from librats.errors import RemoteProtocolError
from librats.runtime.network import current_network
from librats.services.torrenting import http as module
from librats.services.torrenting.http import HttpFiles, HttpRefusal, _Resolver
from librats.types import Address

HERE = "127.0.0.1"
MIB = 1 << 20
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names:
    """A network that knows some names, and nothing else."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def resolve(self, address: Address) -> list[Address]:
        self.asked.append(address.host)
        if not self.addresses:
            raise OSError("nobody knows that name")
        return [Address(host, address.port) for host in self.addresses]


UNTIL_CANCELLED = {"handler_cancellation": True, "shutdown_timeout": 0.1}
"""Lets requests that hang go at the end."""


@asynccontextmanager
async def serving(answer: Answer, **options: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    await web.TCPSite(runner, HERE, 0).start()
    try:
        yield f"http://{HERE}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def asking(network: Any = None, trusted: tuple[str, ...] = (HERE,)) -> AsyncIterator[HttpFiles]:
    http = HttpFiles(current_network() if network is None else network, trusted)
    try:
        yield http
    finally:
        await http.close()


async def fetched(answer: Answer, path: str = "/file", *, offset: int = 3, size: int = 10) -> bytes:
    into = bytearray(size)
    async with serving(answer) as url, asking() as http:
        await http.fetch(WebPart(url + path, 0, offset, size, 0), memoryview(into))
    return bytes(into)


async def refused(answer: Answer, *, offset: int = 3, size: int = 10) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        await fetched(answer, offset=offset, size=size)
    return caught.value


def part(body: bytes = b"3456789012", at: int = 3, **options: Any) -> web.Response:
    headers = {"Content-Range": f"bytes {at}-{at + len(body) - 1}/100"} | options.pop("headers", {})
    return web.Response(status=206, body=body, headers=headers, **options)


# What is asked for


async def test_the_part_is_asked_for_as_it_is_and_by_nobody_in_particular() -> None:
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return part()

    assert await fetched(answer, "/a%2Cb/%E2%82%AC%20x?q=%2B") == b"3456789012"
    (request,) = seen
    assert request.raw_path == "/a%2Cb/%E2%82%AC%20x?q=%2B"  # as the torrent has it
    assert request.headers["Range"] == "bytes=3-12"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"] == "librats"


async def test_no_server_knows_us_again_by_a_cookie() -> None:
    cookies: list[dict[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        cookies.append(dict(request.cookies))
        response = part()
        response.set_cookie("who", "you")
        return response

    async with serving(answer) as url, asking(Names(HERE), ("web.example",)) as http:
        named = url.replace(HERE, "web.example")  # cookies are kept for names alone, by default
        for _ in range(2):
            await http.fetch(WebPart(f"{named}/file", 0, 3, 10, 0), memoryview(bytearray(10)))
    assert cookies == [{}, {}]


async def test_no_more_than_four_requests_of_a_server_are_under_way() -> None:
    now, most = 0, 0
    four, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_request: web.Request) -> web.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        if now == 4:
            four.set()
        await go_on.wait()
        now -= 1
        return part()

    async with serving(answer) as url, asking() as http, asyncio.timeout(60):
        wanted = WebPart(f"{url}/file", 0, 3, 10, 0)
        fetches = [asyncio.ensure_future(http.fetch(wanted, memoryview(bytearray(10)))) for _ in range(9)]
        await four.wait()
        go_on.set()
        await asyncio.gather(*fetches)
    assert most == 4


async def test_what_is_closed_keeps_no_connection() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return part()

    async with serving(answer) as url:
        http = HttpFiles(current_network(), (HERE,))
        await http.fetch(WebPart(f"{url}/file", 0, 3, 10, 0), memoryview(bytearray(10)))
        await http.close()
        with pytest.raises(RuntimeError, match="closed"):
            await http.fetch(WebPart(f"{url}/file", 0, 3, 10, 0), memoryview(bytearray(10)))


# What is taken


async def test_what_is_packed_is_not_unpacked() -> None:
    packed = gzip.compress(bytes(MIB))  # a few bytes that would become a mebibyte

    async def answer(_request: web.Request) -> web.Response:
        return part(packed[:10], headers={"Content-Encoding": "gzip"})

    assert await fetched(answer) == packed[:10]


@pytest.mark.parametrize("cuts", [[], [1], [2], [3], [4], [12], [13], [14], [1, 2, 3, 4, 5], [3, 13], [2, 5, 14, 19]])
async def test_a_server_without_ranges_gives_the_part_however_its_answer_is_cut(cuts: list[int]) -> None:
    whole = bytes(range(40))

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            await response.write(whole[begin:end])
            await asyncio.sleep(0.002)  # so that they arrive one by one, mostly
        return response

    assert await fetched(answer) == whole[3:13]


@pytest.mark.parametrize("size", [0, 1, 2])
async def test_a_mebibyte_of_a_server_without_ranges_is_passed_over_and_no_more(size: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(MIB - 8) + b"01234567" + b"89")

    wanted = 8 + size
    if size == 0:
        assert await fetched(answer, offset=MIB - 8, size=wanted) == b"01234567"
    else:
        error = await refused(answer, offset=MIB - 8, size=wanted)
        assert isinstance(error, HttpRefusal)
        assert error.status == 200


async def test_a_part_that_begins_elsewhere_is_refused_though_its_number_begins_alike() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return part(at=30)

    assert "another part" in str(await refused(answer))


async def test_an_answer_that_ends_before_its_end_is_refused() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206, headers={"Content-Range": "bytes 3-12/100", "Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"345")
        if request.transport is not None:
            request.transport.close()
        return response

    assert "not reached" in str(await refused(answer))


async def test_one_byte_less_is_less() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return part(b"345678901")

    assert "less" in str(await refused(answer))


@pytest.mark.parametrize("limit", ["TIMEOUT", "READ_TIMEOUT"])
async def test_a_server_that_keeps_us_waiting_is_let_go(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(module, limit, 0.05)

    async def answer(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        return part()

    async with serving(answer, **UNTIL_CANCELLED) as url, asking() as http, asyncio.timeout(60):
        with pytest.raises(RemoteProtocolError, match="not reached"):
            await http.fetch(WebPart(f"{url}/file", 0, 3, 10, 0), memoryview(bytearray(10)))


async def test_a_port_that_nobody_listens_at_is_not_reached() -> None:
    with socket.socket() as held:
        held.bind((HERE, 0))  # and does not listen
        async with asking() as http:
            url = f"http://{HERE}:{held.getsockname()[1]}/file"
            with pytest.raises(RemoteProtocolError, match="not reached"):
                await http.fetch(WebPart(url, 0, 3, 10, 0), memoryview(bytearray(10)))


# What is refused for now, and for good


@pytest.mark.parametrize(
    ("status", "is_lasting"),
    [
        *[(status, True) for status in (400, 401, 403, 404, 410, 416, 451, 499)],
        *[(status, False) for status in (200, 304, 399, 408, 425, 429, 500, 503)],
    ],
)
def test_what_would_be_the_same_later_is_lasting(status: int, is_lasting: bool) -> None:
    assert HttpRefusal(status).is_lasting == is_lasting


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("0", 0), ("77", 77), ("3600", 3600), ("3601", 3600), ("9" * 30, 3600), ("soon", 0), ("-5", 0), ("1.5", 0)],
)
async def test_a_server_may_ask_for_an_hour_of_patience(told: str, seconds: int) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": told})

    error = await refused(answer)
    assert isinstance(error, HttpRefusal)
    assert (error.status, error.retry_after) == (503, seconds)


# Where it sends us


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_file_that_has_moved_is_followed_from_where_it_was(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        ways = {"/file": "/c/d", "/c/d": "e"}  # the second one is beside the first, not beside the torrent's
        if request.path in ways:
            return web.Response(status=status, headers={"Location": ways[request.path]})
        assert request.headers["Range"] == "bytes=3-12"
        return part() if request.path == "/c/e" else web.Response(status=404)

    assert await fetched(answer) == b"3456789012"


@pytest.mark.parametrize("status", [300, 304, 305])
async def test_what_is_no_move_is_not_followed(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return part() if request.path == "/there" else web.Response(status=status, headers={"Location": "/there"})

    error = await refused(answer)
    assert isinstance(error, HttpRefusal)
    assert error.status == status


async def test_a_part_with_a_location_is_no_move() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return part(headers={"Location": "/there"})

    assert await fetched(answer) == b"3456789012"


async def test_a_move_to_nowhere_is_refused() -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302)

    error = await refused(answer)
    assert isinstance(error, HttpRefusal)
    assert error.status == 302


@pytest.mark.parametrize("moves", [5, 6])
async def test_five_moves_are_followed_and_no_more(moves: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        number = 0 if request.path == "/file" else int(request.path[1:])
        return part() if number == moves else web.Response(status=302, headers={"Location": f"/{number + 1}"})

    if moves == 5:
        assert await fetched(answer) == b"3456789012"
    else:
        assert "circles" in str(await refused(answer))


@pytest.mark.parametrize("target", ["http://[::1", "http://h:99999/x", "http://h:port/x"])
async def test_a_location_that_is_no_url_is_refused(target: str) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": target})

    assert "reached" in str(await refused(answer))


@pytest.mark.parametrize("url", ["http:///x", "file:///etc/passwd", "gopher://web.example/x", "//web.example/x", ""])
async def test_what_is_not_http_is_not_asked(url: str) -> None:
    names = Names()
    async with asking(names, ()) as http:
        with pytest.raises(RemoteProtocolError, match="elsewhere"):
            await http.fetch(WebPart(url, 0, 0, 1, 0), memoryview(bytearray(1)))
    assert names.asked == []


@pytest.mark.parametrize(
    ("host", "is_asked"),
    [
        ("localhost", False),
        ("LOCALHOST", False),
        ("a.localhost", False),
        ("notlocalhost", True),
        ("localhost.example", True),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_names_of_this_machine_are_not_even_looked_up(host: str, is_asked: bool, scheme: str) -> None:
    names = Names()
    async with asking(names, ()) as http:
        with pytest.raises(RemoteProtocolError, match="not reached" if is_asked else "no business"):
            await http.fetch(WebPart(f"{scheme}://{host}/x", 0, 0, 1, 0), memoryview(bytearray(1)))
    assert bool(names.asked) == is_asked


@pytest.mark.parametrize(
    ("family", "trusted", "hosts"),
    [
        (socket.AF_UNSPEC, (), ["203.0.113.7", "2001:db8::7"]),
        (socket.AF_INET, (), ["203.0.113.7"]),
        (socket.AF_INET6, (), ["2001:db8::7"]),
        (socket.AF_INET, ("web.example",), ["203.0.113.7", "192.168.1.1", "127.0.0.1"]),
    ],
)
async def test_of_the_addresses_of_a_name_those_are_dialled_that_may_be(
    family: socket.AddressFamily, trusted: tuple[str, ...], hosts: list[str]
) -> None:
    names: Any = Names("203.0.113.7", "192.168.1.1", "2001:db8::7", "127.0.0.1", "::1", "fe80::1")
    found = await _Resolver(names, trusted).resolve("web.example", 80, family)
    assert [result["host"] for result in found] == hosts
    assert {(result["hostname"], result["port"]) for result in found} == {("web.example", 80)}


async def test_a_name_that_leads_to_private_networks_alone_is_not_reached() -> None:
    async with asking(Names("192.168.1.1", "127.0.0.1"), ()) as http:
        with pytest.raises(RemoteProtocolError, match="no business"):
            await http.fetch(WebPart("http://web.example/x", 0, 0, 1, 0), memoryview(bytearray(1)))
