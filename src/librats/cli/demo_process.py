"""The node processes of ``librats demo``, as the one who starts them sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from librats.errors import RatsError

__all__ = ["DemoFailed", "NodeProcess"]

FAREWELL = 3.0  # seconds that a node gets to close by itself


class DemoFailed(RatsError):
    """Something of the demonstration did not happen."""


class NodeProcess:
    """A node in a process of its own; ``async with`` starts it and makes sure that it ends."""

    def __init__(self, name: str, folder: Path, protocol: str, log_level: str) -> None:
        self.name = name
        self.peer_id = ""
        self.address = ""
        self._arguments = [name, str(folder / name.lower()), protocol, log_level]
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self._early: deque[dict[str, Any]] = deque()

    async def __aenter__(self) -> NodeProcess:
        """Start the process."""
        # A process group of its own: Ctrl-C is for us alone, and we end the nodes in good order.
        apart: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "librats.cli.demo_node", *self._arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder,
            **apart,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Ask the process to end, or else end it."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FAREWELL):
                    await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def tell(self, do: str, **members: Any) -> None:
        """Give the node a command."""
        if self._process is None or self._process.stdin is None:
            raise DemoFailed(f"{self.name} is not running")
        self._process.stdin.write(json.dumps({"do": do, **members}).encode() + b"\n")
        with contextlib.suppress(ConnectionError):  # it has ended; what it told before says why
            await self._process.stdin.drain()

    async def expect(self, *events: str, meanwhile: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """Wait until the node tells one of these events, and return it.

        Args:
            events: Their names. Others are kept until somebody expects them.
            meanwhile: Called with each ``progress``.

        Raises:
            DemoFailed: The node failed, or has ended.
        """
        for event in self._early:
            if event["event"] in events:
                self._early.remove(event)
                return event
        while True:
            event = await self._next_event()
            if event["event"] in events:
                return event
            if event["event"] == "failed":
                raise DemoFailed(f"{self.name}: {event['error']}")
            if event["event"] != "progress":
                self._early.append(event)
            elif meanwhile is not None:
                meanwhile(event)

    async def _next_event(self) -> dict[str, Any]:
        if self._process is None or self._process.stdout is None:
            raise DemoFailed(f"{self.name} is not running")
        while line := await self._process.stdout.readline():
            if line.startswith(b"{"):  # what else is there was said by the machinery that imports librats
                event: dict[str, Any] = json.loads(line)
                return event
        raise DemoFailed(f"{self.name} has ended early, with status {await self._process.wait()}")
