"""From what the caller names to a session: addresses, attempts in parallel, and an account of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, zip_longest

from librats.config import RatsConfig
from librats.errors import ConnectError, HandshakeError, PeerDenied, PeerLimitReached, RatsError, UsageError
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.services.relays import Relays
from librats.services.session import Link
from librats.session.exchange import KnownPeer
from librats.types import Address, ConnectionAttempt, ConnectionMethod, Encryption

__all__ = ["Connector", "Target", "check_peer_id", "describe", "settled"]

logger = logging.getLogger("librats.connector")

MAX_ADDRESSES = 16
UDP_FIRST_DELAY = 1.2
"""Seconds until TCP is tried where UDP is tried first, as in librats 2 (LIBRATS2 wire, section 9.5)."""
RELAY_DELAY = 1.0
"""Seconds that direct ways have at the most before a relay is tried, too."""
MAX_RELAYED = 4
"""Addresses that are tried through a relay."""
AFTER_REFUSAL = 0.1
"""Seconds that a host which has refused TCP gets to answer over UDP, beyond a few round trips."""
PEER_ID = re.compile(r"[0-9a-f]{64}")


def check_peer_id(peer_id: object) -> None:
    """Check that something is a peer id by its form.

    Raises:
        UsageError: It is not.
    """
    if not (isinstance(peer_id, str) and PEER_ID.fullmatch(peer_id)):
        raise UsageError(f"not a peer id: {peer_id!r}; it has 64 lower-case hex digits")


@dataclass(frozen=True, slots=True)
class Target:
    """What a caller wants to reach."""

    text: str
    """As the caller wrote it."""

    addresses: tuple[Address, ...]
    """Where it may be; empty where only the id is known."""

    peer_id: str | None
    """Who it must be, or None."""

    @classmethod
    def parse(cls, target: str | Address | tuple[str, int], expect_id: str | None = None) -> Target:
        """Read a peer id, an address, or ``peer-id@address``.

        Raises:
            UsageError: It is none of these.
        """
        if expect_id is not None:
            check_peer_id(expect_id)
        if not isinstance(target, str):
            try:
                host, port = target
                address = Address(str(host), int(port))
            except (TypeError, ValueError):
                raise UsageError(f"not an address: {target!r}; give HOST:PORT or (host, port)") from None
            if not 0 < address.port < 1 << 16:
                raise UsageError(f"not an address: {address}; a port is 1 to 65535")
            return cls(str(address), (address,), expect_id)
        named, at, rest = target.strip().rpartition("@")
        if PEER_ID.fullmatch(rest) and not at:
            if expect_id not in (None, rest):
                raise UsageError("the target is another peer id than expect_id")
            return cls(target, (), rest)
        if at:
            check_peer_id(named)
        address = Address.parse(rest)
        if address.port == 0:
            raise UsageError(f"not an address: {target!r}; a port is 1 to 65535")
        if named and expect_id not in (None, named):
            raise UsageError("the target names another peer id than expect_id")
        return cls(target, (address,), named or expect_id)


class Connector:
    """Dials.

    Args:
        manager: Where links become peers.
        network: The network to dial on.
        config: Timing and limits.
        udp: The port from which to dial over UDP; None where that is not done.
        relays: Where relayed addresses come from; None where there are none.
    """

    def __init__(
        self,
        manager: PeerManager,
        network: Network,
        config: RatsConfig,
        udp: RudpPort | None = None,
        relays: Relays | None = None,
    ) -> None:
        self._manager = manager
        self._network = network
        self._config = config
        self._udp = udp
        self._relays = relays
        self.direct_methods = tuple(
            ConnectionMethod(name) for name in config.transports if udp is not None or name != ConnectionMethod.UDP
        )
        """How direct connections are made, the one that is tried first first."""
        self._under_way: dict[asyncio.Timeout, asyncio.Future[None]] = {}
        self._closed = False

    async def close(self) -> None:
        """End every attempt that is under way, and wait until nothing of it is left."""
        self._closed = True
        for deadline in self._under_way:
            with contextlib.suppress(RuntimeError):  # its time is up already
                deadline.reschedule(asyncio.get_running_loop().time())
        if self._under_way:
            await asyncio.wait(self._under_way.values())

    async def dial(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        address: Address,
        method: ConnectionMethod,
        *,
        timeout: float | None = None,
    ) -> None:
        """Connect to one address, and give the connection to a protocol.

        Raises:
            OSError: The connection was refused or did not come about; a TimeoutError where the time was up.
            RatsError: There is no relay to be had, or it forbids the address.
        """
        if method is ConnectionMethod.RELAY and self._relays is not None:
            async with asyncio.timeout(timeout):
                await self._relays.dial(factory, address)
        elif method is ConnectionMethod.UDP and self._udp is not None:
            async with asyncio.timeout(timeout):
                await self._udp.dial(factory, address)
        else:
            await self._network.dial_tcp(factory, address, timeout=timeout)

    async def connect(
        self,
        target: str,
        addresses: list[Address],
        *,
        expect_id: str | None = None,
        timeout: float | None = None,
    ) -> Peer:
        """Reach a peer at one of several addresses, racing them as RFC 8305, section 5 says.

        Args:
            target: What the caller dialled, for error messages.
            addresses: Where the peer may be, best first; host names are resolved.
            expect_id: The only peer id that is accepted, or None for any.
            timeout: Seconds for everything; None for the configured ``connect_timeout``.

        Returns:
            The peer; one that is connected already where this side dialled that address before.

        Raises:
            ConnectError: Nothing worked; it tells every attempt.
            PeerLimitReached: We have as many peers as ``max_peers`` allows.
            PeerDenied: The allow or deny list does not let us talk to it.
        """
        self._check_access(expect_id)
        known = self._already_there(addresses, expect_id)
        if known is not None:
            return known
        self._check_place(expect_id)
        race = _Race(self, self._manager, self._config, expect_id)
        seconds = self._config.connect_timeout if timeout is None else timeout
        deadline = asyncio.timeout(seconds)
        done = self._under_way[deadline] = asyncio.get_running_loop().create_future()
        try:
            async with deadline:
                link = await race.run(await self._resolve(target, addresses))
        except TimeoutError:
            if self._closed:
                race.give_up("the client was stopped")
                raise ConnectError(target, race.attempts, "the client was stopped") from None
            race.give_up(f"no answer within {seconds:g} s")
            reason = "" if race.attempts else f"its name was not resolved within {seconds:g} s"
            raise ConnectError(target, race.attempts, reason) from None
        finally:
            del self._under_way[deadline]
            done.set_result(None)
        if link is None:
            if isinstance(race.last_error, PeerLimitReached | PeerDenied) and race.refused_here:
                raise race.last_error
            raise ConnectError(target, race.attempts) from race.last_error
        peer = self._manager.peers.get(link.peer_id)
        if peer is None:
            raise ConnectError(target, race.attempts, f"the session ended at once: {link.reason[1]}")
        peer.attempts = tuple(race.attempts)
        return peer

    def check_limits(self, peer_id: str) -> None:
        """Check that a peer may be connected to.

        Raises:
            PeerLimitReached: We have as many peers as ``max_peers`` allows.
            PeerDenied: The allow or deny list does not let us talk to it.
        """
        self._check_access(peer_id)
        self._check_place(peer_id)

    def _check_access(self, peer_id: str | None) -> None:
        denied = None if peer_id is None else self._manager.admission.access.check_id(peer_id)
        if denied is not None:
            self._manager.admission.refusals[denied.limit] += 1
            raise denied

    def _check_place(self, peer_id: str | None) -> None:
        if not self._manager.admission.has_place_for(peer_id or ""):
            self._manager.admission.refusals["max_peers"] += 1
            raise self._manager.admission.limit_reached()

    async def dial_known(self, known: KnownPeer) -> None:
        """Connect to somebody of whom a peer told, and who has to be that where encryption lets it be proven.

        Raises:
            ConnectError: It does not work; likewise :class:`~librats.PeerLimitReached`.
        """
        expect_id = known.peer_id if self._config.encryption is Encryption.REQUIRED else None
        await self.connect(f"{known.peer_id}@{known.address}", [known.address], expect_id=expect_id)

    def _already_there(self, addresses: list[Address], expect_id: str | None) -> Peer | None:
        for peer in self._manager.peers.values():
            if peer.is_connected and peer.outgoing and peer.address in addresses and expect_id in (None, peer.id):
                return peer
        return None

    async def _resolve(self, target: str, addresses: list[Address]) -> list[Address]:
        if len(addresses) == 1 and addresses[0].is_literal:
            return addresses
        found: list[Address] = []
        problem = ""
        for address in addresses:
            try:
                found += await self._network.resolve(address)
            except OSError as error:
                problem = f"{address.host} has no address: {error.strerror or error}"
            except ValueError:  # also a UnicodeError
                problem = f"{address.host!r} is not a host name"
        if not found:
            raise ConnectError(target, reason=problem or "it has no address")
        return _interleaved(list(dict.fromkeys(found)))[:MAX_ADDRESSES]


def _interleaved(addresses: list[Address]) -> list[Address]:
    """Take the families in turn, beginning with that of the first address (RFC 8305, section 4)."""
    first = [a for a in addresses if (":" in a.host) == (":" in addresses[0].host)]
    second = [a for a in addresses if a not in first]
    return [a for a in chain.from_iterable(zip_longest(first, second)) if a is not None]


@dataclass(frozen=True, slots=True, eq=False)
class _Try:
    """One attempt of a race."""

    start: float
    """Seconds after the race's beginning, where nothing that runs has failed until then."""

    address: Address
    method: ConnectionMethod


class _Race:
    """Attempts to reach one peer, of which the first to finish its handshake wins."""

    def __init__(self, connector: Connector, manager: PeerManager, config: RatsConfig, expect_id: str | None) -> None:
        self._connector = connector
        self._manager = manager
        self._config = config
        self._expect_id = expect_id
        self._loop = asyncio.get_running_loop()
        self._running: dict[asyncio.Task[Link], _Try] = {}
        self._begun: dict[_Try, float] = {}
        self._refused: dict[str, float] = {}
        self._reached: set[Address] = set()
        self.attempts: list[ConnectionAttempt] = []
        self.last_error: BaseException | None = None
        self.refused_here = False

    def _plan(self, addresses: list[Address]) -> list[_Try]:
        """Lay the attempts out in time: addresses as in RFC 8305, section 5, at each one way after the other."""
        methods = self._manager.paths.methods
        if len(addresses) == 1 == len(methods):
            return [_Try(0.0, addresses[0], methods[0])]
        direct = [method for method in methods if method is not ConnectionMethod.RELAY]
        step = self._config.attempt_delay
        pause = UDP_FIRST_DELAY if direct and direct[0] is ConnectionMethod.UDP else step
        tries = [
            _Try(place * step + turn * pause, address, method)
            for place, address in enumerate(addresses)
            for turn, method in enumerate(direct)
        ]
        if ConnectionMethod.RELAY in methods:
            start = min(RELAY_DELAY, max(one.start for one in tries) + step) if tries else 0.0
            tries += [
                _Try(start + place * step, address, ConnectionMethod.RELAY)
                for place, address in enumerate(addresses[:MAX_RELAYED])
            ]
        return sorted(tries, key=lambda one: one.start)

    async def run(self, addresses: list[Address]) -> Link | None:
        """Start the attempts one after the other, and return the first link that is ready, or None."""
        first, *others = self._plan(addresses)
        return await self._run_first(first, others)

    async def _run_first(self, first: _Try, others: list[_Try]) -> Link | None:
        """Make the first attempt in the task at hand, since another one would take turns of the loop to be heard of.

        The others have a task of their own from when on their time has come.
        """
        rest: asyncio.Task[Link | None] | None = None
        me = asyncio.current_task()
        has_lost = False

        def begin_others() -> None:
            nonlocal rest
            rest = self._loop.create_task(self._run_others(others), name="librats dial race")
            rest.add_done_callback(others_done)

        def others_done(task: asyncio.Task[Link | None]) -> None:
            nonlocal has_lost
            if me is not None and first in self._begun and not task.cancelled() and task.exception() is None:
                has_lost = task.result() is not None
                if has_lost:
                    me.cancel()

        self._begun[first] = self._loop.time()
        timer = self._loop.call_later(others[0].start - first.start, begin_others) if others else None
        try:
            link = await self._attempt(first)
        except asyncio.CancelledError:
            if rest is None or not has_lost or me is None or me.uncancel() > 0:
                await self._stop(rest)
                raise
            self._note(first, "another way was quicker")
            return rest.result()
        except Exception as error:
            self._note(first, describe(error))
            self.last_error = error
        else:
            self._note(first)
            await self._stop(rest)
            return link
        finally:
            if timer is not None:
                timer.cancel()
        try:
            return await (rest if rest is not None else self._run_others(others))
        except asyncio.CancelledError:
            await self._stop(rest)
            raise

    @staticmethod
    async def _stop(task: asyncio.Task[Link | None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run_others(self, tries: list[_Try]) -> Link | None:
        waiting = list(reversed(tries))
        try:
            while True:
                at_hand = None
                # Whoever was reached in one way and did not become a peer would not in another.
                waiting = [one for one in waiting if one.address not in self._reached]
                if not (waiting or self._running):
                    return None
                if waiting:
                    at_hand = waiting.pop()
                    self._begun[at_hand] = self._loop.time()
                    task = self._loop.create_task(self._attempt(at_hand), name=f"librats dial {at_hand.address}")
                    self._running[task] = at_hand
                pause = waiting[-1].start - at_hand.start if waiting and at_hand is not None else None
                link = await self._first_done(pause)
                if link is not None:
                    return link
        finally:
            tasks = list(self._running)
            for task, one in list(self._running.items()):
                task.cancel()
                if one in self._begun:
                    self._note(one, "another way was quicker")
            if tasks:
                await asyncio.wait(tasks)

    async def _first_done(self, timeout: float | None) -> Link | None:
        done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        winner = None
        for task in [task for task in self._running if task in done]:
            one = self._running.pop(task)
            error = task.exception()
            self._note(one, "" if error is None else describe(error))
            if error is None:
                winner = winner or task.result()
            else:
                self.last_error = error
        return winner

    def give_up(self, why: str) -> None:
        """Note every attempt that is still running as given up."""
        for one in list(self._begun):
            self._note(one, why)

    def _note(self, one: _Try, error: str = "") -> None:
        duration = self._loop.time() - self._begun.pop(one)
        self.attempts.append(ConnectionAttempt(address=one.address, method=one.method, duration=duration, error=error))

    async def _attempt(self, one: _Try) -> Link:
        denied = self._manager.admission.access.check_dial(one.address.host)
        if denied is not None:
            self._manager.admission.refusals[denied.limit] += 1
            self.refused_here = True
            self._reached.add(one.address)
            raise denied
        made: list[Link] = []

        def new_link() -> Link:
            # Called once the connection is there: the peer gets it ready meanwhile.
            made.append(self._manager.new_link(expect_id=self._expect_id))
            return made[-1]

        seconds = self._patience(one)
        try:
            await self._connector.dial(new_link, one.address, one.method, timeout=seconds)
        except TimeoutError:
            raise HandshakeError(f"no connection within {seconds:g} s") from None
        except ConnectionRefusedError:
            self._refused[one.address.host] = self._loop.time() - self._begun[one]
            raise
        link = made[-1]
        try:
            return await settled(self._manager, link)
        except RatsError:
            self.refused_here = link.refused_here
            self._reached.add(one.address)
            raise

    def _patience(self, one: _Try) -> float:
        """Return how long a connection may take; not long over UDP where the host has refused TCP already."""
        refusal = self._refused.get(one.address.host)
        if refusal is None or one.method is not ConnectionMethod.UDP:
            return self._config.dial_timeout
        return min(self._config.dial_timeout, AFTER_REFUSAL + 4 * refusal)


async def settled(manager: PeerManager, link: Link) -> Link:
    """Wait until both sides of a link have let each other in.

    Raises:
        HandshakeError: One of them has not; likewise another :class:`~librats.RatsError`.
    """
    try:
        await link.settled
    except asyncio.CancelledError:
        if not manager.spare(link):
            link.abort()
        raise
    if link.error is not None or not link.ready:
        raise link.error or HandshakeError(link.reason[1])
    return link


def describe(error: BaseException) -> str:
    """Return what went wrong in words for people."""
    if isinstance(error, RatsError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
