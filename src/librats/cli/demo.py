"""``librats demo``: two nodes meet, talk, and send a file, step by step."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats.cli.arguments import add_command, positive
from librats.cli.demo_process import DemoFailed, NodeProcess
from librats.cli.output import Output
from librats.cli.progress import progress_bar, readable_size
from librats.cli.running import run
from librats.errors import RatsError

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
Both nodes run on this machine and talk over its loopback interface; nothing leaves it, and nothing is left behind.

examples:
  librats demo
  librats demo --size 500
  librats demo --json 2>/dev/null
"""

MEGABYTE = 1_000_000
CHUNK = MEGABYTE
FIND_TIMEOUT = 4.0
STEP_TIMEOUT = 30.0
SLOWEST = 2 * MEGABYTE  # bytes a second; a file that takes longer is stuck
LINES = (
    ("Bob", "Hello Alice, this is Bob. No server is between us."),
    ("Alice", "Hi Bob! And nobody but the two of us can read this."),
    ("Bob", "Let me send you a file in a moment."),
)
NUMBERS = [17, 4, 21]


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "demo", _run, help="show two nodes meet, talk and send a file", epilog=EPILOG)
    parser.add_argument(
        "--size", type=positive, default=64, metavar="MB", help="size of the file in megabytes (default: %(default)s)"
    )
    parser.add_argument("--no-mdns", action="store_true", help="tell one node the other's address, without looking")
    parser.set_defaults(log_level="error")


def _run(args: argparse.Namespace, output: Output) -> int:
    return run(_demo(args, output), output)


async def _demo(args: argparse.Namespace, output: Output) -> int:
    size = max(1, round(args.size * MEGABYTE))
    # A protocol of its own, so that two demonstrations at once do not find each other's nodes.
    protocol = f"librats-demo-{secrets.token_hex(4)}"
    output.say("Two nodes on this machine find each other, talk, and send a file.")
    with tempfile.TemporaryDirectory(prefix="librats-demo-") as name:
        folder = Path(name)
        alice = NodeProcess("Alice", folder, protocol, args.log_level)
        bob = NodeProcess("Bob", folder, protocol, args.log_level)
        demo = _Demo(alice, bob, folder, output)
        try:
            async with alice, bob:
                await demo.run(size, mdns=not args.no_mdns)
        except (RatsError, OSError) as error:
            output.emit(event="done", success=False, error=str(error))
            raise
        demo.conclude()
    return 0


class _Demo:
    """The conductor: tells the nodes what to do, and the user what happened."""

    def __init__(self, alice: NodeProcess, bob: NodeProcess, folder: Path, output: Output) -> None:
        self._alice = alice
        self._bob = bob
        self._folder = folder
        self._output = output
        self._started = time.monotonic()
        self._number = 0
        self._summary: dict[str, Any] = {}

    async def run(self, size: int, *, mdns: bool) -> None:
        """Take every step.

        Raises:
            DemoFailed: Something did not happen.
        """
        if shutil.disk_usage(self._folder).free < 2 * size:
            needed = readable_size(2 * size)
            raise DemoFailed(f"the demo needs {needed} in {self._folder.parent}; choose a smaller --size")
        await self._start()
        found = mdns and await self._find()
        await self._connect(by_mdns=found, tried_mdns=mdns)
        await self._chat()
        await self._request()
        await self._send_file(size)

    @asynccontextmanager
    async def _step(self, name: str, title: str, timeout: float = STEP_TIMEOUT) -> AsyncIterator[dict[str, Any]]:
        """Announce a step, give its block so many seconds, and tell the members that the block sets."""
        self._number += 1
        self._output.say(f"\n{self._number}. {title}")
        started = time.monotonic()
        members: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout):
                yield members
        except TimeoutError:
            raise DemoFailed(f"step {self._number} ({name}) took longer than {timeout:g} s") from None
        seconds = {"seconds": round(time.monotonic() - started, 4)}
        self._output.emit(event="step", step=self._number, name=name, **(seconds | members))

    def _say(self, text: str) -> None:
        self._output.say(f"   {text}")

    async def _start(self) -> None:
        async with self._step("start", "Two nodes start, each a process of its own") as members:
            for node in (self._alice, self._bob):
                ready = await node.expect("ready")
                node.peer_id, node.address = ready["peer_id"], ready["address"]
                self._say(f"{node.name:5} has the peer id {node.peer_id[:16]}… and listens on {node.address}")
                members[node.name.lower()] = {"peer_id": node.peer_id, "address": node.address}
            self._say("Each has made a key pair of its own; the peer id is the hash of the public key.")

    async def _find(self) -> bool:
        title = "They look for each other on the local network, by multicast DNS"
        async with self._step("find", title) as members:
            await self._alice.tell("find", peer_id=self._bob.peer_id)
            await self._bob.tell("find", peer_id=self._alice.peer_id)
            seconds = await self._found()
            if seconds is None:
                self._say("Multicast does not work on this machine, so they do not find each other that way.")
            else:
                self._say(f"Found after {seconds:.2f} s: each knows the other's peer id and address.")
            members["found"] = seconds is not None
        return seconds is not None

    async def _found(self) -> float | None:
        try:
            async with asyncio.timeout(FIND_TIMEOUT):
                told = [await node.expect("found", "no multicast") for node in (self._alice, self._bob)]
        except TimeoutError:
            return None
        if any(event["event"] == "no multicast" for event in told):
            return None
        return max(float(event["seconds"]) for event in told)

    async def _connect(self, *, by_mdns: bool, tried_mdns: bool) -> None:
        how = "whom he has found by mDNS" if by_mdns else f"by address: {self._alice.address}"
        async with self._step("connect", f"Bob connects to Alice, {how}") as members:
            if not by_mdns:
                why = "since mDNS did not help" if tried_mdns else "since mDNS is switched off"
                self._say(f"Bob was told the address and the peer id of Alice, {why}.")
            target = self._alice.peer_id if by_mdns else self._alice.address
            await self._bob.tell("connect", target=target, expect_id=self._alice.peer_id)
            connected = await self._bob.expect("connected")
            if connected["peer_id"] != self._alice.peer_id:
                raise DemoFailed("Bob has reached somebody else than Alice")
            self._say(f"Connected in {connected['seconds'] * 1000:.1f} ms. In a Noise handshake both have proven")
            self._say("that they have the keys to their peer ids; everything from here on is encrypted.")
            members |= {"method": "tcp", "discovery": "mdns" if by_mdns else "address", "peer_id": connected["peer_id"]}
            self._summary["discovery"] = members["discovery"]

    async def _chat(self) -> None:
        async with self._step("chat", "They chat: messages, both ways") as members:
            nodes = {"Alice": self._alice, "Bob": self._bob}
            for speaker, line in LINES:
                listener = self._alice if speaker == "Bob" else self._bob
                await nodes[speaker].tell("chat", text=line)
                heard = await listener.expect("message")
                if (heard["text"], heard["peer_id"]) != (line, nodes[speaker].peer_id):
                    raise DemoFailed(f"{listener.name} has received another message than {speaker} has sent")
                self._say(f"{speaker + ':':6} {heard['text']}")
            members["messages"] = len(LINES)

    async def _request(self) -> None:
        async with self._step("request", "Bob makes a request, and waits for the reply") as members:
            await self._bob.tell("request", to=self._alice.peer_id, numbers=NUMBERS)
            reply = await self._bob.expect("reply")
            if reply["value"] != sum(NUMBERS):
                raise DemoFailed(f"Alice has answered {reply['value']!r}")
            asked = " + ".join(map(str, NUMBERS))
            self._say(f"Bob:   how much is {asked}?")
            self._say(f"Alice: {reply['value']}      (after {reply['seconds'] * 1000:.1f} ms)")
            members |= {"reply": reply["value"], "rtt_ms": round(reply["seconds"] * 1000, 3)}

    async def _send_file(self, size: int) -> None:
        title = f"Bob sends Alice a file of {readable_size(size)}, through a stream"
        async with self._step("file", title, timeout=STEP_TIMEOUT + size / SLOWEST) as members:
            path = self._folder / "to-send"
            made = await _make_file(path, size)
            with progress_bar(size) as bar:
                await self._bob.tell("send file", to=self._alice.peer_id, path=str(path))
                sent = await self._bob.expect("sent", meanwhile=lambda event: bar.update(event["bytes"]))
                bar.update(size)
            received = await self._alice.expect("received")
            if not (sent["bytes"] == received["bytes"] == size and sent["hash"] == received["hash"] == made):
                raise DemoFailed("the file that arrived is not the file that was sent")
            rate = size / sent["seconds"]
            self._say(f"{readable_size(size)} in {sent['seconds']:.2f} s: {readable_size(rate)} a second, encrypted")
            self._say(f"SHA-256 when sent:     {sent['hash']}")
            self._say(f"SHA-256 when received: {received['hash']}  the same")
            told = {
                "bytes": size,
                "seconds": round(sent["seconds"], 4),
                "bytes_per_second": round(rate),
                "hash": made,
                "verified": True,
            }
            members.update(told)
            self._summary |= told

    def conclude(self) -> None:
        """Tell in the end that all of it happened."""
        seconds = time.monotonic() - self._started
        rate = readable_size(self._summary["bytes_per_second"])
        how = "by mDNS" if self._summary["discovery"] == "mdns" else "by address (not by mDNS)"
        self._output.say(
            f"\nIt all worked, in {seconds:.1f} s. Two nodes met {how}, proved who they are, exchanged\n"
            f"{len(LINES)} messages and a request, and moved {readable_size(self._summary['bytes'])} at {rate} a second"
            " with the hash verified.\n"
            "No server took part. The nodes have ended, and their files are gone.\n\n"
            "Next: `librats chat` in two terminals, or `librats --help`."
        )
        self._output.emit(event="done", success=True, total_seconds=round(seconds, 3), **self._summary)


async def _make_file(path: Path, size: int) -> str:
    """Fill a file with random bytes, and return their SHA-256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, CHUNK):
            data = os.urandom(min(CHUNK, size - start))
            digest.update(data)
            file.write(data)
            await asyncio.sleep(0)
    return digest.hexdigest()
