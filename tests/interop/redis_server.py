"""Starting Redis, or Valkey, on the loopback."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from pathlib import Path

from tests.interop.listening import until_it_listens

__all__ = ["REDIS", "RedisServer"]

REDIS = shutil.which("redis-server") or shutil.which("valkey-server")
SECONDS = 20.0


class RedisServer:
    """A process with an empty database that is kept nowhere.

    Args:
        folder: Where it runs.
    """

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            self.port: int = sock.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> RedisServer:
        """Start it, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(REDIS or "redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", str(self._folder)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(SECONDS):
            await until_it_listens(self._process, "127.0.0.1", self.port)
        return self

    async def kill(self) -> None:
        """End it, and what it holds with it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
