"""Getting a node into the DHT, and back in once it has lost everybody: names are looked up, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from librats.runtime.network import Network
from librats.runtime.tasks import end_all
from librats.types import Address

__all__ = ["Bootstrap"]

logger = logging.getLogger("librats.dht")

NAME_TIMEOUT = 5.0
"""Seconds that a name may take to resolve."""

ADDRESSES_OF_A_NAME = 8

ATTEMPT = 4.5
"""Seconds of each of the first attempts: a node that has not answered after four has failed."""

FIRST_ATTEMPTS = 2
"""Attempts until the DHT is told to be unreachable."""

PAUSE, LONGEST_PAUSE = 10.0, 60.0
"""Seconds of the next attempt, and of the longest one; each takes twice as long as the one before."""

REMEMBER = 60.0
"""Seconds between two looks at who is known, while all is well."""

NOBODY_KNOWN = "no bootstrap node is known"


class Bootstrap:
    """Asks nodes to begin with until one has answered, and again when none is left.

    Args:
        nodes: Host names or IP addresses, and ports.
        network: Where names are looked up.
        saved: How many nodes were saved by an earlier run; they are asked as well.
        ask: Called with addresses to begin with, also with none, where those that are known are to be asked again;
            returns those of them that it can reach.
        is_in: Tells whether a node is known that has answered.
        remember: Called now and then while all is well, and returns who is known.
        unreachable: Called with the reason where nobody answers, once until somebody has.
        place: Which address of this host it is that reaches nobody, for the log; empty where there is but one.
    """

    def __init__(
        self,
        nodes: Sequence[Address],
        network: Network,
        *,
        saved: int,
        ask: Callable[[Sequence[Address]], Sequence[Address]],
        is_in: Callable[[], bool],
        remember: Callable[[], Sequence[Address]],
        unreachable: Callable[[str], object],
        place: str = "",
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._nodes = tuple(dict.fromkeys(nodes))
        self._network = network
        self._saved = saved
        self._ask = ask
        self._is_in = is_in
        self._remember = remember
        self._unreachable = unreachable
        self._from = f" from {place}" if place else ""
        self._known: Sequence[Address] = ()
        self._asked: set[Address] = set()
        self._problems: dict[Address, str] = {}
        self._moved = asyncio.Event()
        self._was_in = False
        self._settled: asyncio.Future[None] = self._loop.create_future()
        self.reason = ""
        """Why nobody answers; empty while somebody does, and before that was found out."""

    def changed(self) -> None:
        """Take note that the node may have got in or out."""
        is_in = self._is_in()
        if is_in == self._was_in:
            return
        self._was_in = is_in
        self._moved.set()
        if is_in:
            if self.reason:
                logger.info("the DHT answers again%s", self._from)
            self.reason = ""
            self.settle()

    def settle(self) -> None:
        """Let nobody wait for the first answer any more. Idempotent."""
        if not self._settled.done():
            self._settled.set_result(None)

    async def first(self) -> bool:
        """Wait until somebody has answered, or has not for so long that this was told; return which of the two."""
        await asyncio.shield(self._settled)
        return self._is_in()

    async def run(self) -> None:
        """Do it, until cancelled."""
        attempts = 0
        while True:
            if self._is_in():
                attempts = 0
                self._known = self._remember() or self._known
                await self._until(False, self._loop.time() + REMEMBER)
                continue
            began = self._loop.time()
            attempts += 1
            self._asked.clear()
            if attempts > 1 or self._known:
                self._take(self._known)
            await self._look_up_all()
            if not self._asked and not self._saved:
                self._tell()
            await self._until(True, began + self._patience(attempts))
            if attempts >= FIRST_ATTEMPTS and not self._is_in():
                self._tell()

    @staticmethod
    def _patience(attempts: int) -> float:
        if attempts <= FIRST_ATTEMPTS:
            return ATTEMPT
        return min(PAUSE * 2.0 ** min(attempts - FIRST_ATTEMPTS - 1, 8), LONGEST_PAUSE)

    async def _until(self, is_in: bool, deadline: float) -> None:
        """Wait until the node has got in or out, or the time is up."""
        try:
            async with asyncio.timeout_at(deadline):
                while self._is_in() != is_in:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return

    def _take(self, addresses: Sequence[Address]) -> None:
        self._asked.update(self._ask(addresses))

    async def _look_up_all(self) -> None:
        """Look up all names at once; who is behind each is asked as soon as that is known."""
        self._problems.clear()
        tasks = [self._loop.create_task(self._look_up(node), name=f"librats looks up {node}") for node in self._nodes]
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            await end_all(tasks)

    async def _look_up(self, node: Address) -> None:
        try:
            async with asyncio.timeout(NAME_TIMEOUT):
                found = await self._network.resolve(node)
        except TimeoutError:
            self._problems[node] = f"{node.host} took longer than {NAME_TIMEOUT:g} s"
        except OSError as error:
            self._problems[node] = f"{node.host}: {error.strerror or error}"
        except ValueError:  # also a UnicodeError
            self._problems[node] = f"{node.host!r} is not a host name"
        else:
            self._take(found[:ADDRESSES_OF_A_NAME])

    def _tell(self) -> None:
        """Tell that nobody answers, unless that was told already."""
        was_told, self.reason = bool(self.reason), self._why()
        if not was_told:
            logger.warning("the DHT cannot be reached%s: %s", self._from, self.reason)
            self._unreachable(self.reason)
        self.settle()

    def _why(self) -> str:
        asked = len(self._asked) + self._saved
        unresolved = f"names do not resolve: {'; '.join(self._problems.values())}" if self._problems else ""
        if not asked:
            return unresolved or NOBODY_KNOWN
        silence = f"no answer from {asked} node{'' if asked == 1 else 's'}"
        return f"{silence}; {unresolved}" if unresolved else silence
