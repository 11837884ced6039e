"""An HTTP proxy that makes tunnels (CONNECT), and nothing else; also as a program: ``HOST:PORT [USER:PASSWORD]``."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
import sys
from pathlib import Path
from typing import Self

__all__ = ["HttpProxy"]


class HttpProxy:
    """A proxy on the loopback.

    Args:
        credentials: ``USER:PASSWORD`` that it asks for; empty for none.
        answer: What it says to every request instead of making a tunnel.
        ports: The only ports that it lets through to; empty for all.
        hosts: Where names lead that it knows.
        certificate: File with its certificate and key, where it speaks TLS; None where it does not.
    """

    scheme = "http"

    def __init__(
        self,
        credentials: str = "",
        *,
        answer: bytes | None = None,
        ports: tuple[int, ...] = (),
        hosts: dict[str, str] | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.credentials = credentials
        self._wanted = f"Basic {base64.b64encode(credentials.encode()).decode()}" if credentials else ""
        self._answer = answer
        self._ports = ports
        self._hosts = hosts or {}
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self.scheme = "https"
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._served: set[object] = set()
        self.asked: list[str] = []
        """What it was asked for, as ``HOST:PORT``."""

    @property
    def uri(self) -> str:
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{self.scheme}://{host}:{port}"

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, host, port, ssl=self._tls)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        await self._let_everybody_in()
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _let_everybody_in(self) -> None:
        """Wait until whoever is connected is served: asyncio forgets connections that it is about to take in."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        tls = None if self._tls is None else ssl._create_unverified_context()  # noqa: S323 - it is ours
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
        own = writer.get_extra_info("sockname")
        while own not in self._served:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        await _end(writer)

    def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._served.add(writer.get_extra_info("peername"))
        task = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                method, target, _ = head.split("\r\n", 1)[0].split(" ")
                assert method == "CONNECT"
                self.asked.append(target)
                await self._answer_with(self._refusal(target, head), target, reader, writer)
            finally:
                await _end(writer)

    def _refusal(self, target: str, head: str) -> bytes | None:
        if self._answer is not None:
            return self._answer
        if self._wanted and f"Proxy-Authorization: {self._wanted}\r\n" not in head:
            return b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n'
        if self._ports and int(target.rpartition(":")[2]) not in self._ports:
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        return None

    async def _answer_with(
        self, refusal: bytes | None, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if refusal is not None:
            writer.write(refusal)
            if not refusal:
                await reader.read()  # it says nothing, and waits
            return
        host, _, port = target.rpartition(":")
        host = host.strip("[]")
        try:
            there, thither = await asyncio.open_connection(self._hosts.get(host, host), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
        await both_ways(reader, writer, there, thither)


async def both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there: asyncio.StreamReader,
    thither: asyncio.StreamWriter,
) -> None:
    """Pass on what comes from either side, until both have ended."""
    try:
        await asyncio.gather(_pass_on(reader, thither), _pass_on(there, writer))
    finally:
        await _end(thither)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
        else:
            writer.close()


async def _main(where: str, credentials: str = "") -> None:
    host, _, port = where.rpartition(":")
    await HttpProxy(credentials).start(host, int(port))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
