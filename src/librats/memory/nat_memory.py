"""In which network this host is, and what is known from earlier of the NATs there."""

from __future__ import annotations

import logging

from librats.peers.keeping.known_mappings import KnownMappings
from librats.peers.keeping.what_worked import network_mark
from librats.runtime.network import Network
from librats.stun.mapping_habits import MappingHabits
from librats.types import NatTypeInfo

__all__ = ["NatMemory"]

logger = logging.getLogger("librats.stun")


class NatMemory:
    """Has a client begin with what is known of its network, and notes what it learns there.

    Args:
        known: What is known, by network.
    """

    def __init__(self, known: KnownMappings) -> None:
        self._known = known
        self.habits = MappingHabits()
        """What the client goes by."""
        self.here = ""
        """The mark of the network that this host is in; empty before that is known."""
        self.habits.changed = self._note

    async def look(self, network: Network) -> None:
        """Find out in which network this host is; what was learnt before that is of it as well."""
        gateways = [gateway.host for gateway in await network.gateways()]
        mark = network_mark(await network.interface_addresses(), gateways)
        if mark == self.here:
            return
        is_first, self.here = not self.here, mark
        times = self._known.get(mark)
        logger.debug("in the network %s: %s", mark, times)
        if times.outlived or times.lost or times.life or not is_first:
            self.habits.restore(times)

    def measured(self, info: NatTypeInfo) -> None:
        """Take what the application has had measured."""
        self.habits.measured(outlived=info.mapping_lifetime, lost=info.mapping_expired_after)

    def _note(self) -> None:
        if self.here:
            self._known.note(self.here, self.habits.times)
