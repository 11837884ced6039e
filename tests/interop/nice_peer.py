"""libnice at the other end of ICE: a program of its own, `nice_peer.c`, compiled where libnice is installed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

__all__ = ["LIBNICE", "NicePeer", "running_peer"]

SOURCE = Path(__file__).with_name("nice_peer.c")
SECONDS = 30.0


COMPILER = shutil.which("cc")


def _flags() -> list[str] | None:
    pkg_config = shutil.which("pkg-config")
    if pkg_config is None or COMPILER is None:
        return None
    asked = subprocess.run([pkg_config, "--cflags", "--libs", "nice"], capture_output=True, text=True, check=False)
    return shlex.split(asked.stdout) if asked.returncode == 0 else None


LIBNICE = _flags()
"""What a compiler is told to build against libnice; None where it is not installed."""


def program() -> Path:
    """Return the program, compiled once for each version of its source."""
    known = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"librats-nice-peer-{os.getuid()}-{known}"
    if not path.exists():
        fresh = path.with_suffix(f".{os.getpid()}")
        subprocess.run([COMPILER or "cc", "-O1", "-o", fresh, SOURCE, *(LIBNICE or [])], check=True)
        fresh.replace(path)
    return path


class NicePeer:
    """The program, running.

    Args:
        process: It.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.ufrag = self.password = ""
        self.candidates: list[str] = []
        """What it has found so far, as candidate attributes."""
        self.on_candidate: Callable[[str | None], object] | None = None
        """Who hears of candidates from now on; of None when there are no more."""
        self.gathered = asyncio.Event()
        self.way: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
        """Types of the local and the remote candidate that it went for at first."""
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        """What came over it."""
        self.described = asyncio.Event()
        """Set when its credentials are known."""

    @property
    def attributes(self) -> list[str]:
        """Its description without candidates."""
        return [f"ice-ufrag:{self.ufrag}", f"ice-pwd:{self.password}"]

    async def read(self) -> None:
        """Take what it says until it ends."""
        stdout = self._process.stdout
        while stdout is not None and (line := (await stdout.readline()).decode().rstrip()):
            self._take(*line.partition(" ")[::2])

    def _take(self, what: str, rest: str) -> None:
        match what:
            case "ufrag":
                self.ufrag = rest
            case "pwd":
                self.password = rest
                self.described.set()
            case "candidate":
                self._found(f"candidate:{rest}")
            case "end":
                self.gathered.set()
                if self.on_candidate is not None:
                    self.on_candidate(None)
            case "ready":
                if not self.way.done():
                    local, remote = rest.split()
                    self.way.set_result((local, remote))
            case "data":
                self.heard.put_nowait(bytes.fromhex(rest))
            case _:
                if not self.way.done():
                    self.way.set_exception(AssertionError(f"libnice: {what} {rest}"))

    def _found(self, candidate: str) -> None:
        self.candidates.append(candidate)
        if self.on_candidate is not None:
            self.on_candidate(candidate)

    def tell(self, *lines: str) -> None:
        """Tell it something."""
        if self._process.stdin is not None:
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())

    def tell_credentials(self, description: dict[str, Any]) -> None:
        """Tell it those of our side."""
        self.tell(f"ufrag {description['ufrag']}", f"pwd {description['pwd']}")

    def tell_candidate(self, attribute: str | None) -> None:
        """Tell it a candidate of our side; None says that no more will come."""
        self.tell("end" if attribute is None else f"candidate {attribute.removeprefix('candidate:')}")

    def send(self, data: bytes) -> None:
        """Have it send a datagram."""
        self.tell(f"send {data.hex()}")


@asynccontextmanager
async def running_peer(
    role: str,
    *,
    nomination: str = "regular",
    transport: str = "udp",
    relayed: bool = False,
    server: tuple[str, int] | None = None,
    user: tuple[str, str] | None = None,
) -> AsyncIterator[NicePeer]:
    """Run the program for the length of a block.

    Args:
        role: ``"controlling"`` or ``"controlled"``.
        nomination: ``"regular"`` or ``"aggressive"``.
        transport: ``"udp"`` or ``"tcp"`` (RFC 6544).
        relayed: Whether it goes by its relayed candidate alone.
        server: A STUN server.
        user: Name and password for TURN there.
    """
    words = [role, nomination, transport, "relayed" if relayed else "any"]
    if server is not None:
        words += [server[0], str(server[1]), *(user or ())]
    started = await asyncio.to_thread(program)
    process = await asyncio.create_subprocess_exec(started, *words, stdin=PIPE, stdout=PIPE)
    peer = NicePeer(process)
    reading = asyncio.create_task(peer.read())
    try:
        await asyncio.wait_for(peer.described.wait(), SECONDS)
        yield peer
    finally:
        peer.tell("quit")
        try:
            await asyncio.wait_for(process.wait(), SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
        await reading
