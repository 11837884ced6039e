"""ICE agents for peers to which somebody introduces us, on the client's own socket."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Awaitable, Callable
from typing import cast

from msgspec import structs

from librats.attempts.dialling import session_over
from librats.attempts.strategies import Ways, policy_of
from librats.config import NatTraversalConfig
from librats.errors import DecodeError, HandshakeError, IntroductionError, RatsError
from librats.ice.candidates import IceCandidate
from librats.ice.descriptions import IceDescription
from librats.ice.events import IceRole
from librats.introduce.guard import OfferGuard, OfferHosts
from librats.introduce.letters import Letter
from librats.introduce.notices import Refusal
from librats.peers.manager import PeerManager
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.runtime.udp import DatagramEndpoint
from librats.services.ice.agent import IceAgent
from librats.services.ice.ports import SharedSocket
from librats.services.introduction.ends import Sealing
from librats.services.relays import Relays
from librats.services.session import Link
from librats.types import Address

__all__ = ["LINGER", "UPGRADE_TIME", "IceAgents"]

logger = logging.getLogger("librats.introducer")

LINGER = 3.0
"""Seconds for which an agent still answers checks when the session is there: the other side may not know yet."""

UPGRADE_TIME = 30.0
"""The same, where the session goes through a relay, and a direct way may be found yet."""

MAX_HOSTS = 64


class IceAgents:
    """The ICE agents of one client: made, told of the peer, dialled over, and let go.

    Args:
        manager: Where links become peers.
        settings: Servers, times, and what is allowed.
        tasks: Owner of the tasks.
        udp: The port for sessions over UDP; None where there is none.
        relays: Relayed addresses.
        sealing: What letters are sealed and opened with.
    """

    def __init__(
        self,
        manager: PeerManager,
        settings: NatTraversalConfig,
        tasks: TaskSet,
        *,
        udp: RudpPort | None,
        relays: Relays,
        sealing: Sealing,
    ) -> None:
        self._manager = manager
        self._settings = settings
        self._tasks = tasks
        self._udp = udp
        self._relays = relays
        self._sealing = sealing
        self._loop = asyncio.get_running_loop()
        # What a client's port opens is an endpoint of datagrams, whatever it asks of it.
        self.shared = None if udp is None else SharedSocket(cast("DatagramEndpoint", udp.endpoint))
        """The socket of sessions over UDP, as ICE agents use it."""
        self.nearer_stun: Callable[[], tuple[str, ...]] = tuple
        """Returns STUN servers that are asked instead of those of the configuration: introducers that are one, too."""
        self.guard = OfferGuard(per_minute=settings.introductions_per_minute)
        """What is made of offers."""

    @property
    def sealing(self) -> Sealing:
        """What letters are sealed and opened with."""
        return self._sealing

    @property
    def manager(self) -> PeerManager:
        """Where links become peers."""
        return self._manager

    @property
    def tasks(self) -> TaskSet:
        """Owner of the tasks."""
        return self._tasks

    @property
    def relay_hosts(self) -> set[str]:
        """Hosts of the relays that are known: what comes from there may be relayed, though nobody has said so yet."""
        return {server.host for server in self._relays.servers}

    @property
    def _has_ways(self) -> bool:
        return self._udp is not None or bool(self._relays.servers)

    # Agents

    async def new_agent(
        self,
        role: IceRole,
        *,
        ways: Ways = Ways.ALL,
        on_candidate: Callable[[IceCandidate | None], object] | None = None,
        on_path: Callable[[Address], object] | None = None,
    ) -> IceAgent:
        """Return an agent on the client's socket, which has begun to gather.

        Raises:
            RatsError: There is nothing to gather on.
        """
        if not self._has_ways:
            raise IntroductionError(Refusal.FAILED, "this client has no UDP port and no relay")
        agent = IceAgent(
            role,
            dataclasses.replace(
                self._settings,
                path_policy=policy_of(ways, self._manager.paths.policy),
                ice_tcp=False,
                stun_servers=self.nearer_stun() or self._settings.stun_servers,
                turn_servers=self._relays.servers,
            ),
            shared=self.shared,
            local_hosts=None if self.shared is not None else [],
            strangers=True,
            on_candidate=on_candidate,
        )
        agent.relays, agent.on_path = self._relays, on_path
        await agent.start()
        return agent

    def describe_peer(self, agent: IceAgent, description: IceDescription, *, hosts: OfferHosts | None) -> None:
        """Give an agent what the peer has told, without the addresses that this client does not talk to.

        Args:
            agent: The agent.
            description: What the peer has told.
            hosts: Those of an offer, which others have us send to; None for an answer.
        """
        named = [candidate.address.host for candidate in description.candidates if not candidate.is_name]
        access = self._manager.admission.access
        allowed = {host for host in named if access.check_dial(host) is None}
        if hosts is not None:
            allowed &= hosts.within(sorted(allowed)[:MAX_HOSTS], now=self._loop.time())
        kept = tuple(one for one in description.candidates if one.is_name or one.address.host in allowed)
        agent.set_remote_description(structs.replace(description, candidates=kept).to_json())

    def add_further(self, agent: IceAgent, letter: Letter, *, hosts: OfferHosts | None) -> None:
        """Take a further letter; ``hosts`` are those of an offer."""
        lines = [*letter.candidates[:MAX_HOSTS]]
        access = self._manager.admission.access
        try:
            parsed = IceDescription.from_json(
                {"ufrag": "none", "pwd": "n" * 22, "candidates": lines, "end_of_candidates": letter.end_of_candidates}
            )
            for one in parsed.candidates:
                host = "" if one.is_name else one.address.host
                if host and access.check_dial(host) is not None:
                    continue
                if hosts is not None and host and not hosts.within([host], now=self._loop.time()):
                    continue
                agent.add_remote_candidate(one)
            if letter.end_of_candidates:
                agent.add_remote_candidate(None)
        except (DecodeError, RatsError) as error:
            logger.debug("a further letter: %s", error)

    async def dial(self, agent: IceAgent, peer_id: str) -> Link:
        """Begin a session over the way that an agent has found.

        Raises:
            RatsError: It did not come about.
            OSError: Nobody answered.
        """
        dial, _ = self.dialler(agent)
        return await session_over(self._manager, dial, expect_id=peer_id)

    def dialler(
        self, agent: IceAgent
    ) -> tuple[Callable[[Callable[[], asyncio.BaseProtocol]], Awaitable[None]], Address]:
        """Return what makes a connection over the way that an agent has found, and where that leads.

        Raises:
            HandshakeError: The way is gone.
        """
        address = agent.remote_address
        if address is None:
            raise HandshakeError("the way to the peer is gone")
        udp = None if agent.uses_relay else self._udp

        async def dial(factory: Callable[[], asyncio.BaseProtocol]) -> None:
            if udp is None:
                await self._relays.dial(factory, address)
            else:
                await udp.dial(factory, address, punch=True)

        return dial, address

    def let_go(self, agent: IceAgent, peer_id: str, *, is_relayed: bool) -> None:
        """Close an agent whose session is there, when the other side has had its time."""
        seconds = UPGRADE_TIME if is_relayed else LINGER
        self._tasks.create(self._close_later(agent, seconds), name=f"librats ICE {peer_id[:8]}")

    @staticmethod
    async def _close_later(agent: IceAgent, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            await agent.close()
