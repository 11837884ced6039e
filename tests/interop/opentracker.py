"""Starting opentracker on the loopback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.interop.coturn import free_port
from tests.interop.listening import until_it_listens

__all__ = ["OPENTRACKER", "OpenTracker"]

OPENTRACKER = shutil.which("opentracker")
SECONDS = 20.0


class OpenTracker:
    """A tracker over HTTP and UDP, for those torrents alone that it is told of, as Debian builds it.

    Args:
        folder: Where it runs; it is made.
        info_hashes: Of the torrents.
    """

    def __init__(self, folder: Path, info_hashes: Iterable[bytes]) -> None:
        folder.mkdir()
        folder.chmod(0o755)  # where it is started by root it becomes another user
        (folder / "whitelist").write_text("".join(f"{info_hash.hex()}\n" for info_hash in info_hashes))
        self.port = free_port()
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    def url(self, scheme: str) -> str:
        """Return its URL over ``"http"`` or ``"udp"``."""
        return f"{scheme}://127.0.0.1:{self.port}/announce"

    async def start(self) -> OpenTracker:
        """Start it, and wait until it listens."""
        self._process = await asyncio.create_subprocess_exec(
            *(OPENTRACKER or "opentracker", "-i", "127.0.0.1", "-p", str(self.port), "-P", str(self.port)),
            *("-d", ".", "-w", "whitelist"),
            cwd=self._folder,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        async with asyncio.timeout(SECONDS):
            await until_it_listens(self._process, "127.0.0.1", self.port)
        return self

    async def kill(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
