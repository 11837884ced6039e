"""A SOCKS 5 proxy that makes connections (RFC 1928, RFC 1929), and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress

from tests.reference.http_proxy import HttpProxy, both_ways

__all__ = ["SocksProxy"]


class SocksProxy(HttpProxy):
    """A proxy on the loopback, with the arguments of the other one; what it answers it says to the request."""

    scheme = "socks5h"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                if await self._lets_in(reader, writer):
                    await self._connect(reader, writer)
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _lets_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        version, count = await reader.readexactly(2)
        assert version == 5
        methods = await reader.readexactly(count)
        method = 2 if self.credentials else 0
        if method not in methods:
            writer.write(b"\x05\xff")
            return False
        writer.write(bytes([5, method]))
        if method == 0:
            return True
        assert await reader.readexactly(1) == b"\x01"
        username = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        is_right = f"{username.decode()}:{password.decode()}" == self.credentials
        writer.write(b"\x01\x00" if is_right else b"\x01\x01")
        return is_right

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, command, _, kind = await reader.readexactly(4)
        assert (version, command) == (5, 1)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ipaddress.ip_address(await reader.readexactly(4 if kind == 1 else 16)))
        port = int.from_bytes(await reader.readexactly(2))
        self.asked.append(f"{host}:{port}")
        if self._answer is not None:
            writer.write(self._answer)
            return
        if self._ports and port not in self._ports:
            writer.write(b"\x05\x02\x00\x01" + bytes(6))
            return
        try:
            there, thither = await asyncio.open_connection(self._hosts.get(host, host), port)
        except OSError:
            writer.write(b"\x05\x05\x00\x01" + bytes(6))
            return
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await both_ways(reader, writer, there, thither)
