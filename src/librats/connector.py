"""From what the caller names to a session: addresses, attempts in parallel, and an account of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from itertools import chain, zip_longest

from msgspec import Struct

from librats.attempts.accounts import OVERTAKEN
from librats.attempts.dialling import DialRace
from librats.config import RatsConfig
from librats.errors import ConnectError, PeerDenied, PeerLimitReached, UsageError
from librats.peer_ids import check_peer_id, is_peer_id
from librats.peers.manager import PeerManager
from librats.peers.peer import Peer
from librats.runtime.network import Network
from librats.runtime.rudp import RudpPort
from librats.services.relays import Relays
from librats.session.exchange import KnownPeer
from librats.tickets import Ticket
from librats.types import Address, AttemptReason, ConnectionAttempt, ConnectionMethod, Encryption

__all__ = ["Connector", "Target"]

logger = logging.getLogger("librats.connector")

MAX_ADDRESSES = 16


class Target(Struct, frozen=True):
    """What a caller wants to reach."""

    text: str
    """As the caller wrote it."""

    addresses: tuple[Address, ...]
    """Where it may be; empty where only the id is known."""

    peer_id: str | None
    """Who it must be, or None."""

    ticket: Ticket | None = None
    """The ticket that the caller has given; None where it was none."""

    @classmethod
    def parse(cls, target: str | Address | tuple[str, int] | Ticket, expect_id: str | None = None) -> Target:
        """Read a peer id, an address, ``peer-id@address``, or a ticket.

        Raises:
            UsageError: It is none of these.
        """
        if expect_id is not None:
            check_peer_id(expect_id)
        if isinstance(target, Ticket) or (isinstance(target, str) and Ticket.is_one(target)):
            return cls._of_ticket(target if isinstance(target, Ticket) else Ticket.parse(target), expect_id)
        if not isinstance(target, str):
            try:
                host, port = target
                address = Address(host, int(port))
            except (TypeError, ValueError, OverflowError):
                raise UsageError(f"not an address: {target!r}; give HOST:PORT or (host, port)") from None
            if not isinstance(host, str) or isinstance(port, bool | float):
                raise UsageError(f"not an address: {target!r}; a host is a text, and a port a whole number")
            if not 0 < address.port < 1 << 16:
                raise UsageError(f"not an address: {address}; a port is 1 to 65535")
            return cls(str(address), (address,), expect_id)
        named, at, rest = target.strip().rpartition("@")
        if is_peer_id(rest) and not at:
            if expect_id not in (None, rest):
                raise UsageError("the target is another peer id than expect_id")
            return cls(target, (), rest)
        if at:
            check_peer_id(named)
        if not at and ":" not in rest:
            raise UsageError(
                f"not a peer: {target!r}; give HOST:PORT, a peer id of 64 lower-case hex digits, PEER_ID@HOST:PORT, "
                "or a whole ticket"
            )
        address = Address.parse(rest)
        if address.port == 0:
            raise UsageError(f"not an address: {target!r}; a port is 1 to 65535")
        if named and expect_id not in (None, named):
            raise UsageError("the target names another peer id than expect_id")
        return cls(target, (address,), named or expect_id)

    @classmethod
    def _of_ticket(cls, ticket: Ticket, expect_id: str | None) -> Target:
        if expect_id not in (None, ticket.peer_id):
            raise UsageError("the ticket is another peer's than expect_id")
        return cls(f"{ticket.peer_id} (by ticket)", ticket.addresses, ticket.peer_id, ticket)


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
        punch: bool = False,
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
                await self._udp.dial(factory, address, punch=punch)
        else:
            await self._network.dial_tcp(factory, address, timeout=timeout)

    async def connect(
        self,
        target: str,
        addresses: list[Address],
        *,
        expect_id: str | None = None,
        timeout: float | None = None,
        only: frozenset[ConnectionMethod] | None = None,
        first: ConnectionMethod | None = None,
        punch: bool = False,
        attempts: list[ConnectionAttempt] | None = None,
    ) -> Peer:
        """Reach a peer at one of several addresses, racing them as RFC 8305, section 5 says.

        Args:
            target: What the caller dialled, for error messages.
            addresses: Where the peer may be, best first; host names are resolved.
            expect_id: The only peer id that is accepted, or None for any.
            timeout: Seconds for everything; None for the configured ``connect_timeout``.
            only: Ways that may be gone, of those that the path policy allows; None for all of them.
            first: Way that is tried first, because it has worked before.
            punch: Whether the peer dials at the same time, so that one may get through a NAT: over UDP, and until the
                time is up.
            attempts: Where every attempt is noted; what is under way when this is cancelled is noted as overtaken.

        Returns:
            The peer; one that is connected already where this side dialled that address before.

        Raises:
            ConnectError: Nothing worked; it tells every attempt.
            PeerLimitReached: We have as many peers as ``max_peers`` allows.
            PeerDenied: The allow or deny list does not let us talk to it.
        """
        self._check_access(expect_id)
        methods = [method for method in self._manager.paths.methods if only is None or method in only]
        known = self._already_there(addresses, expect_id)
        if known is not None:
            return known
        self._check_place(expect_id)
        if not methods:
            raise ConnectError(
                target, reason="the configuration leaves no way to dial it", code=AttemptReason.NOT_CONFIGURED
            )
        race = DialRace(
            partial(self.dial, punch=punch),
            self._manager,
            self._config,
            expect_id=expect_id,
            methods=methods if first is None else sorted(methods, key=lambda method: method is not first),
            attempts=attempts,
        )
        seconds = self._config.connect_timeout if timeout is None else timeout
        deadline = asyncio.timeout(seconds)
        done = self._under_way[deadline] = asyncio.get_running_loop().create_future()
        try:
            async with deadline:
                link = await race.run(await self._resolve(target, addresses))
        except asyncio.CancelledError:
            race.give_up(*OVERTAKEN)
            raise
        except TimeoutError:
            if self._closed:
                race.give_up("the client was stopped", AttemptReason.CANCELLED)
                raise ConnectError(target, race.attempts, "the client was stopped", AttemptReason.CANCELLED) from None
            race.give_up(f"no answer within {seconds:g} s", AttemptReason.TIMEOUT)
            if not race.attempts:
                words = f"its name was not resolved within {seconds:g} s"
                raise ConnectError(target, reason=words, code=AttemptReason.NO_NAME) from None
            raise ConnectError(target, race.attempts) from None
        finally:
            del self._under_way[deadline]
            done.set_result(None)
        if link is None:
            if isinstance(race.last_error, PeerLimitReached | PeerDenied) and race.refused_here:
                raise race.last_error
            raise ConnectError(target, race.attempts) from race.last_error
        peer = self._manager.peers.get(link.peer_id)
        if peer is None:
            words = f"the session ended at once: {link.reason[1]}"
            raise ConnectError(target, race.attempts, words, AttemptReason.HANDSHAKE_FAILED)
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
            raise ConnectError(target, reason=problem or "it has no address", code=AttemptReason.NO_NAME)
        return _interleaved(list(dict.fromkeys(found)))[:MAX_ADDRESSES]


def _interleaved(addresses: list[Address]) -> list[Address]:
    """Take the families in turn, beginning with that of the first address (RFC 8305, section 4)."""
    first = [a for a in addresses if (":" in a.host) == (":" in addresses[0].host)]
    second = [a for a in addresses if a not in first]
    return [a for a in chain.from_iterable(zip_longest(first, second)) if a is not None]
