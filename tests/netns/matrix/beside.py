"""ICE agents alone in the same laboratory, aioice's and ours: what they have to tell each other costs no time.

Each tells it as soon as its library lets it.

By way of the server that takes as long again as a round trip between the two, and no session is begun yet.
"""

from __future__ import annotations

import asyncio
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.netns.lab import SERVER, Lab
from tests.netns.matrix.results import Try

from librats import IceAgent, IceCandidate, NatTraversalConfig, RatsError

__all__ = ["AGENTS", "meet"]

PORT = 3478
LINGER = 0.5
"""Seconds that an agent answers the other one's checks when it has found a way itself."""


class Agent:
    """One side of a meeting.

    Args:
        leads: Whether it decides.
        user: Name and password for TURN; None for without.
    """

    def __init__(self, leads: bool, user: tuple[str, str] | None) -> None:
        self.leads, self.user = leads, user

    @abstractmethod
    async def meet(self, tell: Callable[[Any], object], heard: asyncio.Queue[Any]) -> bool:
        """Find a way, and tell whether there is a relay on it.

        Args:
            tell: Tells the other side something.
            heard: What the other side has told.
        """

    @abstractmethod
    async def close(self) -> None:
        """End it."""


class OurAgent(Agent):
    """Tells what it has found as soon as it has (trickle, RFC 8838)."""

    async def meet(self, tell: Callable[[Any], object], heard: asyncio.Queue[Any]) -> bool:
        turn = () if self.user is None else (f"turn:{self.user[0]}:{self.user[1]}@{SERVER[0]}:{PORT}",)
        config = NatTraversalConfig(stun_servers=(f"{SERVER[0]}:{PORT}",), turn_servers=turn)
        ahead: list[IceCandidate | None] = []
        is_described = False

        def candidate_found(candidate: IceCandidate | None) -> None:
            (tell if is_described else ahead.append)(candidate)

        role = "controlling" if self.leads else "controlled"
        agent = self._agent = IceAgent(role, config, on_candidate=candidate_found)
        await agent.start()
        tell({**agent.local_description, "candidates": []})
        for candidate in ahead:
            tell(candidate)
        is_described = True
        agent.set_remote_description(await heard.get())
        listening = asyncio.create_task(self._listen(heard))
        try:
            await agent.connect()
        finally:
            listening.cancel()
        remote = agent.remote_address
        return agent.uses_relay or (remote is not None and remote.host == SERVER[0])

    async def _listen(self, heard: asyncio.Queue[Any]) -> None:
        while True:
            self._agent.add_remote_candidate(await heard.get())

    async def close(self) -> None:
        await self._agent.close()


class TheirAgent(Agent):
    """Tells what it has found once there is nothing more to find: it does not trickle."""

    async def meet(self, tell: Callable[[Any], object], heard: asyncio.Queue[Any]) -> bool:
        import aioice  # noqa: PLC0415 - only where it is asked for

        turn: dict[str, Any] = {}
        if self.user is not None:
            turn = {"turn_server": (SERVER[0], PORT), "turn_username": self.user[0], "turn_password": self.user[1]}
        agent = self._agent = aioice.Connection(ice_controlling=self.leads, stun_server=(SERVER[0], PORT), **turn)
        await agent.gather_candidates()
        tell((agent.local_candidates, agent.local_username, agent.local_password))
        candidates, agent.remote_username, agent.remote_password = await heard.get()
        for candidate in [*candidates, None]:
            await agent.add_remote_candidate(candidate)
        await agent.connect()
        pair = next(iter(agent._nominated.values()))
        return "relay" in (pair.local_candidate.type, pair.remote_candidate.type)

    async def close(self) -> None:
        await self._agent.close()


AGENTS: dict[str, type[Agent]] = {"aioice": TheirAgent, "agent": OurAgent}
"""Whose agents may be measured, by how that is asked for."""


class _Side(threading.Thread):
    """A thread in one of the boxes, in which an agent runs."""

    def __init__(self, lab: Lab, number: int, agent: Agent, timeout: float) -> None:
        super().__init__()
        self._lab, self._number, self._agent, self._timeout = lab, number, agent, timeout
        self._ears: Future[Callable[[Any], object]] = Future()
        self.other: _Side
        self.way = self.error = ""
        self.at = 0.0

    def run(self) -> None:
        with self._lab.enter(self._lab.host(self._number)):
            asyncio.run(self._meet())

    async def _meet(self) -> None:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._ears.set_result(lambda words: loop.call_soon_threadsafe(heard.put_nowait, words))
        try:
            async with asyncio.timeout(self._timeout):
                tell = await asyncio.wrap_future(self.other._ears)
                is_relayed = await self._agent.meet(tell, heard)
            self.way = "relay" if is_relayed else "udp"
        except (RatsError, OSError) as error:
            self.error = str(error) or "no way"
        self.at = time.monotonic()
        await asyncio.sleep(LINGER)
        await self._agent.close()


def meet(lab: Lab, whose: str, user: tuple[str, str] | None, timeout: float) -> Try:
    """Let two agents meet once.

    Args:
        lab: The laboratory, with a STUN server on "server".
        whose: One of :data:`AGENTS`.
        user: Name and password for TURN there; None for without.
        timeout: Seconds that it may take.
    """
    sides = [_Side(lab, number, AGENTS[whose](number == 0, user), timeout) for number in (0, 1)]
    sides[0].other, sides[1].other = sides[1], sides[0]
    began = time.monotonic()
    for side in sides:
        side.start()
    for side in sides:
        side.join()
    seconds = max(side.at for side in sides) - began
    errors = [side.error for side in sides if side.error]
    if errors:
        return Try(ok=False, seconds=seconds, error=errors[0])
    way = "relay" if any(side.way == "relay" for side in sides) else "udp"
    return Try(ok=True, seconds=seconds, introduced=seconds, way=way)
