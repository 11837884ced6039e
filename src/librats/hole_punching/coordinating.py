"""Punching a hole at a time on which the two applications have agreed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from librats.attempts.accounts import describe
from librats.attempts.dialling import session_over
from librats.config import RatsConfig
from librats.connector import Connector
from librats.errors import PeerDenied, RatsError, UsageError
from librats.peers.manager import PeerManager
from librats.punch.appointments import Appointment, opener, target
from librats.runtime.listening import Listening
from librats.runtime.network import Network, current_network
from librats.runtime.rudp import RudpPort
from librats.runtime.tasks import TaskSet
from librats.services.session import Link
from librats.types import Address, Encryption, Entropy, PathPolicy

__all__ = ["CoordinatingVerbs", "Coordination"]

MAX_AFTER = 60.0

LASTING = 8.0
"""Seconds from the agreed time on for which is sent."""

INTERVAL = 0.1


class CoordinatingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _connector: Connector | None
        _listener: Listening | None
        _network: Network | None
        _tasks: TaskSet

        def _running(self) -> PeerManager:
            """See the client."""

    async def coordinate_hole_punching(
        self, ip: str, port: int, data: Mapping[str, Any] | None = None, *, after: float = 2.0
    ) -> dict[str, Any]:
        """Punch a hole to a peer at a time on which the applications of both have agreed.

        One side calls this without ``data``, and its application carries what is returned to the other one, which calls
        it with that. From the agreed time on the first one has its NAT let the peer in, for 8 seconds, and the second
        one dials. No server takes part; each side has to know at which address the other one's UDP port is seen. For
        NATs for which that does not do, and where there is an introducer, :meth:`connect` finds out everything itself.

        Args:
            ip: IP address at which the peer is seen.
            port: Its UDP port, as it is seen.
            data: What the peer's application has been given; None to make the appointment.
            after: Seconds until it, from 0 to 60: as long as the application needs to carry it.

        Returns:
            Without ``data`` the appointment: a dictionary that JSON can hold. :meth:`on_connect` tells when the peer is
            there. With it what has come of it, 8 seconds later at the latest: ``success``, ``duration`` in seconds,
            ``address``, and either ``peer_id`` or ``error``.

        Raises:
            UsageError: The client is not running, has no UDP port, or hides behind a relay; or that is no address, or
                no time.
            DecodeError: ``data`` is no appointment, or one of more than 2 minutes away by this side's clock.
            PeerLimitReached: ``max_peers`` are connected.
            PeerDenied: The allow or deny list does not let this client talk to the peer, or its address.

        Example:
            .. code-block:: python

                data = await alice.coordinate_hole_punching("198.51.100.7", 8080)
                ...  # Bob's program is told, and calls
                outcome = await bob.coordinate_hole_punching("203.0.113.9", 8080, data)
        """
        manager = self._running()
        if self._config.encryption is Encryption.OFF:
            raise UsageError("encryption is off")
        if not isinstance(after, int | float) or not 0 <= after <= MAX_AFTER:
            raise UsageError(f"after is 0 to {MAX_AFTER:g} seconds, not {after!r}")
        listener = self._listener
        entropy = (self._network or current_network()).entropy
        coordination = Coordination(manager, self._tasks, None if listener is None else listener.udp, entropy)
        if data is None:
            return coordination.propose(ip, port, after)
        if self._connector is not None:
            self._connector.check_limits("")
        return await coordination.keep(ip, port, data)


class Coordination:
    """One side of a hole that is punched at an agreed time, on the port of the client's sessions over UDP.

    Who makes the appointment opens its NAT, over and over, and the other side dials.

    Args:
        manager: Where links become peers.
        tasks: Owner of the tasks.
        udp: The port.
        entropy: Random values.
        wall: Seconds since 1970.
    """

    def __init__(
        self,
        manager: PeerManager,
        tasks: TaskSet,
        udp: RudpPort | None,
        entropy: Entropy,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        if udp is None:
            raise UsageError("the client has no UDP port")
        if manager.paths.policy is PathPolicy.RELAY_ONLY:
            raise UsageError("path_policy is relay_only")
        self._manager = manager
        self._tasks = tasks
        self._udp = udp
        self._entropy = entropy
        self._wall = wall

    def _allowed(self, ip: str, port: int) -> Address:
        address = target(ip, port)
        denied = self._manager.admission.access.check_dial(address.host)
        if denied is not None:
            raise denied
        return address

    def propose(self, ip: str, port: int, after: float) -> dict[str, Any]:
        """Make an appointment, and keep it in the background.

        Args:
            ip: IP address at which the peer is seen.
            port: Its port.
            after: In how many seconds.

        Raises:
            UsageError: That is no address.
            PeerDenied: This client does not talk to that address.
        """
        address = self._allowed(ip, port)
        self._tasks.create(self._open(address, after), name=f"librats opens its NAT for {address}")
        return Appointment(peer_id=self._manager.identity.peer_id, start=self._wall() + after).to_json()

    async def _open(self, address: Address, after: float) -> None:
        await asyncio.sleep(after)
        endpoint: Any = self._udp.endpoint
        for _ in range(round(LASTING / INTERVAL)):
            if endpoint.is_closed or any(
                link.address == address for peer in self._manager.peers.values() for link in peer.links
            ):
                return
            endpoint.send(opener(self._entropy), address)
            await asyncio.sleep(INTERVAL)

    async def keep(self, ip: str, port: int, data: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an appointment that the peer has made, and tell what has come of it.

        Args:
            ip: IP address at which the peer is seen.
            port: Its port.
            data: The appointment.

        Raises:
            DecodeError: It is none, or one of another time.
            UsageError: That is no address.
            PeerDenied: This client does not talk to that address, or that peer.
        """
        address, made = self._allowed(ip, port), Appointment.from_json(data)
        denied: PeerDenied | None = self._manager.admission.access.check_id(made.peer_id)
        if denied is not None:
            raise denied
        await asyncio.sleep(made.wait(self._wall()))
        loop = asyncio.get_running_loop()
        began, problem = loop.time(), "nobody has answered"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LASTING):
                while True:
                    try:
                        link = await self._dial(address, made.peer_id)
                    except (RatsError, OSError) as error:
                        problem = describe(error)
                    else:
                        return self._told(True, loop.time() - began, link.address, peer_id=link.peer_id)
                    await asyncio.sleep(INTERVAL)
        return self._told(False, loop.time() - began, address, error=problem)

    async def _dial(self, address: Address, peer_id: str) -> Link:
        return await session_over(
            self._manager, lambda new_link: self._udp.dial(new_link, address, punch=True), expect_id=peer_id
        )

    @staticmethod
    def _told(success: bool, duration: float, address: Address, **further: str) -> dict[str, Any]:
        return {"success": success, "duration": round(duration, 6), "address": str(address), **further}
