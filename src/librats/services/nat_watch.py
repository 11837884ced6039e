"""What this host's NAT does, found out in the background: once in each network."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from librats.config import NatTraversalConfig
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.mapping_watch import MappingWatch
from librats.services.stun import measure_behaviour
from librats.stun.mapping_habits import MappingHabits
from librats.types import Address, NatType, NatTypeInfo

__all__ = ["NatWatch"]

logger = logging.getLogger("librats.stun")

SILENCE = 0.75
"""Seconds without any answer after which UDP counts as blocked, until one comes."""

MAX_NETWORKS = 16


class NatWatch:
    """Knows what this host's NAT does, as far as that was found out.

    Args:
        servers: Returns the STUN servers to ask.
        network: Where.
        tasks: Owner of the tasks.
        settings: For how long they are asked.
        seen_at: Returns at which IP addresses others see this host, as far as that is known: two networks may give it
            the same private one.
        habits: What is known of how long mappings live; where nothing is, that is measured, too.
    """

    def __init__(
        self,
        servers: Callable[[], Sequence[Address]],
        network: Network,
        tasks: TaskSet,
        settings: NatTraversalConfig,
        *,
        seen_at: Callable[[], Collection[str]] = tuple,
        habits: MappingHabits | None = None,
    ) -> None:
        self._servers = servers
        self._network = network
        self._tasks = tasks
        self._settings = settings
        self._seen_at = seen_at
        self._known: dict[tuple[str, ...], NatTypeInfo] = {}
        self._looking: asyncio.Task[None] | None = None
        self._learnt = asyncio.Event()
        self.info: NatTypeInfo | None = None
        """What is known of it in the network that the host was in when this was looked at last; None before that."""
        self.habits = MappingHabits() if habits is None else habits
        """How long it keeps mappings, as far as it is known."""
        self.mappings = MappingWatch(self.habits, lambda: self.info, network, tasks)
        """Measures that."""

    def look(self) -> None:
        """Find out in the background what is not known yet: of another network where the host's addresses are others.

        Does nothing while that goes on already, and where there is no server to ask.
        """
        if (self._looking is None or self._looking.done()) and self._servers():
            self._looking = self._tasks.create(self._look(), name="librats looks at the NAT")

    async def _look(self) -> None:
        here = (*sorted(await self._network.interface_addresses()), *sorted(set(self._seen_at())))
        self.info = self._known.get(here)
        if self.info is not None:
            self.mappings.look()
            return
        settings = self._settings
        timer = asyncio.get_running_loop().call_later(SILENCE, self._note_silence)
        try:
            info = await measure_behaviour(
                self._servers(),
                network=self._network,
                first_answer=settings.stun_first_answer,
                timeout=settings.stun_timeout,
                early=self._learn,
            )
        finally:
            timer.cancel()
        self._learn(info)
        if info.type is not NatType.BLOCKED:  # that may be an outage
            self._known[here] = info
            self.mappings.look()
            if len(self._known) > MAX_NETWORKS:
                del self._known[next(iter(self._known))]

    def _note_silence(self) -> None:
        if self.info is None:
            self._learn(NatTypeInfo(type=NatType.BLOCKED, problem="no STUN server has answered yet"))

    def _learn(self, info: NatTypeInfo) -> None:
        logger.debug("this host's NAT: %s", info.description)
        self.info = info
        self._learnt.set()

    async def learn(self) -> None:
        """Wait until more is known than there is now."""
        self._learnt.clear()
        await self._learnt.wait()
