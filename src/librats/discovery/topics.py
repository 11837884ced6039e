"""What a client announces itself under in the DHT, and whom it meets there: drives a machine for each topic."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from librats.attempts.accounts import reason_of
from librats.config import RatsConfig
from librats.dht.topic import Deed, Dialled, ToDo, Topic, topic_hash
from librats.errors import ClosedError, ConnectError, DhtError, OperationTimeout, RatsError, UsageError
from librats.peers.book import PeerBook
from librats.peers.events import PeerDiscovered
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet, end_all
from librats.services.dht_handle import DhtHandle
from librats.session.dial_budget import DialBudget
from librats.types import Address, AttemptReason

__all__ = ["Topics", "checked_name"]

logger = logging.getLogger("librats.topics")

MOST_TOPICS = 16
MAX_NAME = 256
"""Bytes of a topic's name."""

AT_ONCE = 8
"""Dials that may be under way, of all topics together."""

STRANGE = frozenset({AttemptReason.HANDSHAKE_FAILED, AttemptReason.WRONG_IDENTITY})


class _Client(Protocol):
    @property
    def addresses(self) -> list[Address]:
        """Where it can be dialled."""

    @property
    def book(self) -> PeerBook:
        """Whom it knows."""

    async def connect(self, target: Address) -> Peer:
        """Connect to whoever is at an address."""


class Topics:
    """The topics that one client is on, each with a task while the DHT runs.

    Args:
        client: Dials.
        dht: Where to announce, and to look for others.
        config: How many peers are wanted, and how often to look for them.
        manager: Knows who is connected.
        network: Clock and random values.
        tasks: Owner of the tasks.
    """

    def __init__(
        self,
        client: _Client,
        dht: DhtHandle,
        config: RatsConfig,
        manager: PeerManager,
        network: Network,
        tasks: TaskSet,
    ) -> None:
        self._client = client
        self._dht = dht
        self._config = config
        self._manager = manager
        self._network = network
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._budget = DialBudget(at_once=AT_ONCE, per_minute=config.peer_dials_per_minute)
        self._running: dict[str, _Meeting] = {}

    @property
    def names(self) -> frozenset[str]:
        """The topics; the empty one is everybody of the protocol."""
        return frozenset(self._running)

    def join(self, name: str, *, connect: bool) -> None:
        """Be on a topic from now on. One that the client is on already is begun anew where it is to connect or not to.

        Args:
            name: The topic; empty for everybody of the protocol.
            connect: Whether to connect to whoever is found.

        Raises:
            UsageError: It has no such name, or there are too many.
        """
        there = self._running.get(name)
        if there is not None and there.connects == connect and not there.is_over:
            return
        if there is None and len(self._running) >= MOST_TOPICS:
            raise UsageError(f"a client is on at most {MOST_TOPICS} topics")
        if there is not None:
            there.stop()
        meeting = self._running[name] = _Meeting(
            self._client,
            self._dht,
            self._config,
            self._manager,
            self._network,
            name=name,
            budget=self._budget,
            connect=connect,
        )
        meeting.start(self._tasks, self._wake)

    def _wake(self) -> None:
        """Have every topic look what there is to do: a dial that has ended makes room for others."""
        for meeting in self._running.values():
            meeting.changed.set()

    async def leave(self, name: str) -> None:
        """Be on a topic no more. Idempotent."""
        meeting = self._running.pop(name, None)
        if meeting is not None:
            await end_all(meeting.stop())

    async def close(self) -> None:
        """Leave all of them."""
        running, self._running = self._running, {}
        await end_all([task for meeting in running.values() for task in meeting.stop()])

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return numbers of each topic."""
        return {name: meeting.statistics() for name, meeting in self._running.items()}


class _Meeting:
    """One topic: its machine, and the tasks that do what that wants."""

    def __init__(
        self,
        client: _Client,
        dht: DhtHandle,
        config: RatsConfig,
        manager: PeerManager,
        network: Network,
        *,
        name: str,
        budget: DialBudget,
        connect: bool,
    ) -> None:
        self._client = client
        self._dht = dht
        self._manager = manager
        self._network = network
        self._name = name
        self.connects = connect
        self._hash = topic_hash(config.protocol, name)
        self._loop = asyncio.get_running_loop()
        self._topic = Topic(
            network.entropy,
            self._hash,
            now=self._loop.time(),
            budget=budget,
            announce_interval=config.dht.announce_interval,
            search_interval=config.dht.search_interval,
            peer_target=min(config.peer_target, config.max_peers),
            dials=connect,
        )
        self._working: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._wake: Callable[[], object] = lambda: None
        self.changed = asyncio.Event()
        """Set when there may be something to do before the machine's time has come."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is done any more."""
        return self._keeper is None or self._keeper.done()

    def start(self, tasks: TaskSet, wake: Callable[[], object]) -> None:
        """Begin.

        Args:
            tasks: Owner of the task.
            wake: Called when a dial has come to its end.
        """
        self._wake = wake
        self._keeper = tasks.create(self._run(tasks), name=f"librats is on topic {self._name!r}")

    def stop(self) -> list[asyncio.Task[Any]]:
        """End; return the tasks that are to be waited for."""
        ending: list[asyncio.Task[Any]] = [*self._working, *([] if self._keeper is None else [self._keeper])]
        for task in ending:
            task.cancel()
        return ending

    async def _run(self, tasks: TaskSet) -> None:
        while True:
            self.changed.clear()
            now, peers = self._loop.time(), self._manager.peers
            self._topic.handle_timer(now=now, connected=peers.keys(), met=None if self._name else len(peers))
            while (todo := self._topic.next_event()) is not None:
                self._begin(tasks, todo)
            try:
                async with asyncio.timeout_at(self._topic.next_timer()):
                    await self.changed.wait()
            except TimeoutError:
                continue

    def _begin(self, tasks: TaskSet, todo: ToDo) -> None:
        name = f"librats, topic {self._name!r}: {todo.deed}"
        task: asyncio.Task[Any]
        if todo.address is not None:
            dialling = tasks.create(self._dial(todo.address), name=name)
            dialling.add_done_callback(partial(self._dialled, todo.address))
            task = dialling
        else:
            work = self._announce() if todo.deed is Deed.ANNOUNCE else self._search()
            task = tasks.create(work, name=name)
            task.add_done_callback(lambda _: self.changed.set())
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _announce(self) -> None:
        nodes = 0
        try:
            nodes = await self._dht.announce(self._hash)
        except (DhtError, OperationTimeout) as error:
            logger.debug("not announced on topic %r: %s", self._name, error)
        except (ClosedError, UsageError):
            return  # the DHT was stopped
        self._topic.announced(nodes, now=self._loop.time())

    async def _search(self) -> None:
        try:
            found = await self._dht.find_peers(self._hash)
        except (DhtError, OperationTimeout) as error:
            logger.debug("nobody is found on topic %r: %s", self._name, error)
            self._topic.search_failed(now=self._loop.time())
            return
        except (ClosedError, UsageError):
            return  # the DHT was stopped
        own = set(self._client.addresses)
        others = [address for address in found if address not in own]
        for address in self._topic.found(others, now=self._loop.time(), known=self._known()):
            self._manager.dispatcher.announce(PeerDiscovered("", (address,), "", "dht"))

    def _known(self) -> set[Address]:
        """Return where peers were dialled with success, in earlier runs too."""
        return {
            Address.parse(text)
            for peer in self._client.book.values()
            for text, known in peer.addresses.items()
            if known.last_success is not None
        }

    async def _dial(self, address: Address) -> tuple[Dialled, str]:
        try:
            peer = await self._client.connect(address)
        except RatsError as error:
            logger.debug("found %s on topic %r, but: %s", address, self._name, error)
            return _outcome(error), ""
        return Dialled.MET, peer.id

    def _dialled(self, address: Address, task: asyncio.Task[tuple[Dialled, str]]) -> None:
        is_whole = not task.cancelled() and task.exception() is None
        what, peer_id = task.result() if is_whole else (Dialled.FAILED, "")
        now, wall = self._loop.time(), self._network.wall_time()
        self._topic.dialled(address, what, now=now, wall=wall, peer_id=peer_id)
        self._wake()

    def statistics(self) -> dict[str, int]:
        """Return numbers."""
        return {"connected": self._topic.met(self._manager.peers.keys()), **self._topic.statistics()}


def _outcome(error: RatsError) -> Dialled:
    """Tell what has come of a dial that has failed."""
    attempts = error.attempts if isinstance(error, ConnectError) else []
    reasons = {reason_of(error), *(one.reason for one in attempts)}
    if AttemptReason.OWN_ADDRESS in reasons:
        return Dialled.OURSELVES
    return Dialled.STRANGE if reasons & STRANGE else Dialled.FAILED


def checked_name(name: object) -> str:
    """Return the name of a topic.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(name, str) or not 0 < len(name.encode(errors="surrogatepass")) <= MAX_NAME:
        raise UsageError(f"a topic is a text of 1 to {MAX_NAME} bytes, not {name!r}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a topic is a text that UTF-8 can write, not {name!r}") from None
    return name
