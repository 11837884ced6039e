"""How long this host's NAT keeps mappings, measured in the background where it is not known."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from librats.errors import ConfigError
from librats.runtime.network import Network
from librats.runtime.tasks import TaskSet
from librats.services.stun import measure_lifetime
from librats.stun.mapping_habits import MappingHabits
from librats.types import NatType, NatTypeInfo

__all__ = ["MappingWatch"]

logger = logging.getLogger("librats.stun")

WAITS = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 120.0)
"""Seconds of silence that are tried: what lives longer is kept by what is sent anyway."""

SETTLE = 60.0
"""Seconds before it begins: who runs for a moment only need not know."""

AGAIN = 3600.0
"""Seconds from one measurement to the next at the least, however often mappings are gone."""


class MappingWatch:
    """Measures how long mappings live, where that is not known, or seems to be otherwise.

    Args:
        habits: What is known, and what is found.
        info: Returns what is known of the NAT, and which server has told.
        network: Where.
        tasks: Owner of the tasks.
    """

    def __init__(
        self, habits: MappingHabits, info: Callable[[], NatTypeInfo | None], network: Network, tasks: TaskSet
    ) -> None:
        self._habits = habits
        self._info = info
        self._network = network
        self._tasks = tasks
        self._began = -math.inf
        self._measuring: asyncio.Task[None] | None = None
        habits.keep(self)

    @property
    def _is_wanted(self) -> bool:
        times = self._habits.times
        return self._habits.is_doubted or (times.outlived is None and times.lost is None)

    def adjust(self, habits: MappingHabits) -> None:
        """Measure again where what is known seems to be wrong."""
        if habits.is_doubted:
            self.look()

    def look(self) -> None:
        """Measure some time from now, unless that is under way, or everything is known."""
        if self._is_wanted and (self._measuring is None or self._measuring.done()):
            self._measuring = self._tasks.create(self._measure(), name="librats measures how long mappings live")

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(SETTLE, self._began + AGAIN - loop.time()))
        info = self._info()
        if not self._is_wanted or info is None or info.server is None or info.type is NatType.BLOCKED:
            return
        self._began = loop.time()
        try:
            outlived, lost = await measure_lifetime(info.server, network=self._network, waits=WAITS)
        except ConfigError as error:
            logger.debug("how long mappings live is not measured: %s", error)
            return
        if self._info() is not info:
            return  # of another network by now
        logger.debug("mappings outlive %s s of silence, and not %s s", outlived, lost)
        self._habits.measured(outlived=outlived, lost=lost)
