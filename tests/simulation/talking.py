"""Two sides that talk all the time, in every way there is, and notice what is lost, repeated or out of order."""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections import Counter
from collections.abc import Coroutine
from typing import Any

from librats import (
    NatTraversalConfig,
    PathChanged,
    Peer,
    PeerConnected,
    PeerDisconnected,
    RatsClient,
    RatsConfig,
    ReconnectConfig,
    SessionConfig,
    Stream,
)
from librats.errors import RatsError
from librats.testing import SimHost, SimNetwork, SimRouter

logger = logging.getLogger("tests.endurance")

PORT = 8080
RELAY = "203.0.113.10"
FILLER = random.Random(0).randbytes(1 << 20)  # noqa: S311 - nothing here is a secret


class Record:
    """What both sides have in common: chance, and what is found out.

    Args:
        net: The network.
        seed: Decides everything.
        counts: What it is counted in.
    """

    def __init__(self, net: SimNetwork, seed: int, counts: Counter[str]) -> None:
        self.net = net
        self.chance = random.Random(seed)  # noqa: S311 - nothing here is a secret
        self.counts = counts
        self.problems: list[str] = []
        self._last = 0

    def number(self) -> int:
        """Return a number that nobody was given before."""
        self._last += 1
        return self._last

    def note(self, what: str) -> None:
        """Tell what happens, where somebody wants to know."""
        logger.debug("%.3f s: %s", self.net.time, what)

    def complain(self, problem: str) -> None:
        """Take note that something is not as it should be."""
        self.problems.append(f"after {self.net.time:.3f} s: {problem}")


class Talk:
    """One session, as one side sees it."""

    def __init__(self, name: str, peer: Peer) -> None:
        self.name = name
        self.peer = peer
        self.sent = 0
        self.heard = 0
        self.other = ""
        """What the other side calls it."""
        self.answered: set[int] = set()
        self.datagrams: set[int] = set()
        self.is_over = False

    def __repr__(self) -> str:
        return f"{self.name}(sent {self.sent}, heard {self.heard} of {self.other}, {'over' if self.is_over else 'up'})"


class Side:
    """One of the two, which may die and come back."""

    def __init__(self, run: Record, name: str, host: SimHost, router: SimRouter | None) -> None:
        self.run = run
        self.name = name
        self.host = host
        self.router = router
        self.talks: list[Talk] = []
        self._identity = host.new_identity()
        self._tasks: set[asyncio.Task[None]] = set()
        self.client: RatsClient | None = None

    @property
    def talk(self) -> Talk | None:
        """The session that is up."""
        return next((talk for talk in reversed(self.talks) if not talk.is_over), None)

    async def start(self) -> None:
        nat = NatTraversalConfig(stun_servers=(), turn_servers=(f"turn:ann:secret@{RELAY}",))
        chance = self.run.chance
        config = RatsConfig(
            nat=nat,
            reconnect=ReconnectConfig(enabled=False),
            session=SessionConfig(
                idle_timeout=20.0,
                ping_interval=5.0,
                rekey_messages=chance.choice((20, 65536)),
                max_unacknowledged=chance.choice((200_000, 32 << 20)),
            ),
            transports=chance.choice((("tcp", "udp"), ("udp", "tcp"), ("udp",), ("tcp", "udp"))),
        )
        with self.host:
            client = self.client = RatsClient(PORT, config=config, identity=self._identity)
            client.on_event(PeerConnected, self._connected)
            client.on_event(PeerDisconnected, self._disconnected)
            client.on_event(PathChanged, self._moved)
            client.on("n", self._hear)
            client.on("twice", self._answer)
            client.on_stream("bulk/1", self._take)
            client.on_datagram(self._hear_datagram)
            await client.start()
            self.spawn(self._talk())

    async def stop(self) -> None:
        client, self.client = self.client, None
        for talk in self.talks:
            talk.is_over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if client is not None:
            await client.stop()

    async def die(self, pause: float) -> None:
        """End without a word, and come back as somebody who remembers nothing."""
        self.host.down()
        await self.stop()
        await asyncio.sleep(pause)
        self.host.up()
        await self.start()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.host.spawn(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception:
            self.run.complain(f"{self.name}: {traceback.format_exc()}")

    # Sessions

    def _connected(self, event: PeerConnected) -> None:
        if self.talk is not None:
            self.run.complain(f"{self.name}: a second session beside {self.talk}")
        self.talks.append(Talk(f"{self.name}{self.run.number()}", event.peer))
        self.run.counts["sessions"] += 1
        self.run.note(f"{self.talks[-1]} begins over {event.peer.method}")

    def _moved(self, event: PathChanged) -> None:
        self.run.counts["moves"] += 1
        self.run.note(f"{self.talk} is at {event.new} over {event.method}, before at {event.old}")

    def _disconnected(self, event: PeerDisconnected) -> None:
        self.run.counts[f"ended: {event.code}"] += 1
        for talk in self.talks:
            if talk.peer is event.peer:
                talk.is_over = True
                self.run.note(f"{talk} has ended: {event.code}, {event.reason}")

    def _talk_with(self, peer: Peer, other: str) -> Talk | None:
        """Return the session, of which everything has to come from one and the same session of the other side."""
        talk = next((talk for talk in self.talks if talk.peer is peer), None)
        if talk is None:
            self.run.complain(f"{self.name}: heard of {other} before the session was told of")
        elif talk.other not in ("", other):
            self.run.complain(f"{talk} hears of {other}")
        else:
            talk.other = other
        return talk

    # What is said

    async def _talk(self) -> None:
        chance = self.run.chance
        while True:
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.1, 0.5)))
            talk = self.talk
            if talk is None:
                continue
            kind = chance.random()
            try:
                if kind < 0.9:
                    pad = "x" * (chance.randrange(30_000) if kind < 0.02 else chance.randrange(200))
                    await talk.peer.send("n", [talk.name, talk.sent, pad])
                    talk.sent += 1
                elif kind < 0.95:
                    number = self.run.number()
                    talk.peer.send_datagram(f"{talk.name} {number}".encode())
                elif kind < 0.98:
                    self.spawn(self._ask(talk))
                else:
                    self.spawn(self._give(talk))
            except RatsError:
                await asyncio.sleep(0.1)

    def _hear(self, peer: Peer, data: list[Any]) -> None:
        name, number, _ = data
        talk = self._talk_with(peer, name)
        if talk is None:
            return
        if number != talk.heard:
            self.run.complain(f"{talk} hears message {number}")
        talk.heard = number + 1
        self.run.counts["messages"] += 1

    def _hear_datagram(self, peer: Peer, data: bytes) -> None:
        name, number = data.decode().split()
        talk = self._talk_with(peer, name)
        if talk is not None and int(number) in talk.datagrams:
            self.run.complain(f"{talk} hears datagram {number} twice")
        elif talk is not None:
            talk.datagrams.add(int(number))
            self.run.counts["datagrams"] += 1

    async def _ask(self, talk: Talk) -> None:
        number = self.run.number()
        try:
            answer = await talk.peer.request("twice", [talk.name, number], timeout=20)
        except RatsError:
            return
        self.run.counts["requests"] += 1
        if answer != 2 * number:
            self.run.complain(f"{talk} is answered {answer} to {number}")

    def _answer(self, peer: Peer, data: list[Any]) -> int:
        name, number = data
        talk = self._talk_with(peer, name)
        if talk is not None and number in talk.answered:
            self.run.complain(f"{talk} is asked {number} twice")
        elif talk is not None:
            talk.answered.add(number)
        return 2 * int(number)

    async def _give(self, talk: Talk) -> None:
        """Send a stream, whose end says how much of it has come."""
        chance = self.run.chance
        size = chance.choice((100, 20_000, 200_000))
        start = chance.randrange(len(FILLER) - size)
        problem: RatsError | None = None
        try:
            stream = await talk.peer.open_stream("bulk/1")
            stream.write(start.to_bytes(4) + size.to_bytes(4))
            for at in range(start, start + size, 8192):
                stream.write(FILLER[at : min(at + 8192, start + size)])
                await stream.drain()
            stream.write_eof()
            heard = await stream.read()
            await stream.close()
        except RatsError as error:
            problem = error
        else:
            self.run.counts["streams"] += 1
            self.run.counts["stream bytes"] += size
            if heard != size.to_bytes(4):
                self.run.complain(f"{talk}: of {size} bytes {int.from_bytes(heard)} have come")
        if problem is not None:
            for _ in range(60):  # whoever says goodbye lingers, and another path may be looked for
                if talk.is_over:
                    return
                await asyncio.sleep(1)
            self.run.complain(f"{talk}: a stream has failed in a session that has not: {problem!r}")

    async def _take(self, stream: Stream) -> None:
        head = await stream.readexactly(8)
        at = int.from_bytes(head[:4])
        size, got = int.from_bytes(head[4:]), 0
        while data := await stream.read(50_000):
            if data != FILLER[at : at + len(data)]:
                self.run.complain(f"{self.name}: a stream has other bytes at {got} of {size}")
                break
            at += len(data)
            got += len(data)
        if got != size:
            self.run.complain(f"{self.name}: a stream ends after {got} of {size} bytes")
        stream.write(got.to_bytes(4))
