"""The verbs of an ICE agent that try what the NATs between two peers let through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from librats.config import NatTraversalConfig
from librats.errors import ClosedError, UsageError
from librats.ice.agent import IceMachine
from librats.ice.candidates import IceCandidate, candidate_at
from librats.ice.events import IceState
from librats.punch.appointments import opener, target
from librats.runtime.network import Network, current_network
from librats.services.ice.gathering import IceSupply
from librats.services.stun import measure_behaviour
from librats.types import NatTypeInfo

__all__ = ["ProbingVerbs"]

OPEN_EVERY = 0.1
"""Seconds between two datagrams that open NATs on this side."""


class ProbingVerbs:
    """Mixed into :class:`~librats.IceAgent`."""

    if TYPE_CHECKING:
        _config: NatTraversalConfig
        _changed: asyncio.Event
        _loop: asyncio.AbstractEventLoop
        _network: Network
        _supply: IceSupply | None

        @property
        def is_connected(self) -> bool:
            """See the agent."""

        def _started(self) -> IceMachine:
            """See the agent."""

        def add_remote_candidate(self, candidate: IceCandidate | Mapping[str, Any] | str | None) -> None:
            """See the agent."""

        def start_connectivity_checks(self) -> None:
            """See the agent."""

    async def perform_hole_punching(self, ip: str, port: int, *, timeout: float = 5.0) -> bool:
        """Send towards an address of the peer's from every socket, over and over: the peer does so at the same time.

        NATs on this side take what comes from there for answers then. Where the peer's description is there, the
        address is checked as one of its candidates, and the agent connects where one of its pairs works.

        Args:
            ip: IP address at which the peer is seen.
            port: Its port, as it is seen.
            timeout: Seconds for which is sent, above 0.

        Returns:
            Whether there is a way to the peer: at once where there is, else when the time is up.

        Raises:
            UsageError: The agent is not started, or that is no address or no time.
            ClosedError: It is closed.

        Example:
            .. code-block:: python

                agent.set_remote_description(json.loads(await receive_from_peer()))
                if await agent.perform_hole_punching("198.51.100.7", 40000):
                    agent.send(b"hello")
        """
        machine, address = self._started(), target(ip, port)
        if not isinstance(timeout, int | float) or not timeout > 0:
            raise UsageError(f"timeout is above 0 seconds, not {timeout!r}")
        until, is_told = self._loop.time() + timeout, False
        while not self.is_connected and (left := until - self._loop.time()) > 0:
            if machine.state is IceState.CLOSED or self._supply is None:
                raise ClosedError("the ICE agent is closed")
            self._supply.open_towards(address, opener(self._network.entropy))
            if machine.has_remote and not is_told:
                self.add_remote_candidate(candidate_at(address))
                self.start_connectivity_checks()
                is_told = True
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, OPEN_EVERY)):
                    await self._changed.wait()
        return self.is_connected

    async def detect_nat_type(self) -> NatTypeInfo:
        """Find out what NAT or firewall stands in front of this host; see :meth:`~librats.NatHandle.detect`."""
        config = self._config
        return await measure_behaviour(
            config.stun_addresses,
            network=current_network(),
            first_answer=config.stun_first_answer,
            timeout=config.stun_timeout,
            prefer_ipv6=config.prefer_ipv6,
        )
