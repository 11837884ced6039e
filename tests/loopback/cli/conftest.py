"""The command line as its users run it: a process of its own, with its own data directory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

WAIT = 20.0
LISTEN = ("--listen", "127.0.0.1:0")


class Finished(NamedTuple):
    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stdout.splitlines()]


class Command:
    """A running `librats` process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.stdin = process.stdin
        self.stdout = process.stdout

    async def event(self, *, within: float = WAIT) -> dict[str, Any]:
        """Return the next JSON line of standard output."""
        async with asyncio.timeout(within):
            event: dict[str, Any] = json.loads(await self.stdout.readline())
            return event

    async def event_named(self, name: str, *, within: float = WAIT) -> dict[str, Any]:
        """Return the next event of that name, and drop those before it."""
        while True:
            event = await self.event(within=within)
            if event["event"] == name:
                return event

    async def type(self, text: str) -> None:
        self.stdin.write(text.encode())
        await self.stdin.drain()

    async def finish(self) -> Finished:
        """Close standard input and wait until the command has ended."""
        async with asyncio.timeout(WAIT):
            stdout, stderr = await self.process.communicate(b"")
        assert self.process.returncode is not None
        return Finished(self.process.returncode, stdout.decode(), stderr.decode())

    async def end(self) -> None:
        """Let it end as it does when its machine goes down, and end it where it does not."""
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(WAIT):
                    await self.process.communicate()
            except TimeoutError:
                self.process.kill()
                await self.process.communicate()

    async def stop(self, number: int = signal.SIGINT) -> Finished:
        self.process.send_signal(number)
        return await self.finish()


class Start(Protocol):
    def __call__(self, *arguments: str, home: str = ...) -> Awaitable[Command]: ...


class Run(Protocol):
    def __call__(self, *arguments: str, home: str = ...) -> Awaitable[Finished]: ...


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts a command whose data are in a folder of the test's own."""
    started: list[Command] = []

    async def begin(*arguments: str, home: str = "default") -> Command:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "librats", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={
                **os.environ,
                "LIBRATS_DATA_DIR": str(tmp_path / home),
                "TMPDIR": str(tmp_path),
                "SKBUILD_EDITABLE_VERBOSE": "0",  # a rebuild on import says so on standard output
            },
        )
        started.append(Command(process))
        return started[-1]

    yield begin
    for command in reversed(started):  # a relay that ends waits for its clients
        await command.end()


@pytest.fixture
def run(start: Start) -> Run:
    """Return a function that runs a command to its end."""

    async def whole(*arguments: str, home: str = "default") -> Finished:
        return await (await start(*arguments, home=home)).finish()

    return whole


class Node(NamedTuple):
    command: Command
    peer_id: str
    address: str


@pytest.fixture
async def node(start: Start) -> Node:
    """Run a node on the loopback that echoes and tells events as JSON."""
    command = await start("node", *LISTEN, "--echo", "--json", home="node")
    ready = await command.event()
    assert ready["event"] == "ready"
    return Node(command, ready["peer_id"], ready["addresses"][0])
