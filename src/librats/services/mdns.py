"""Finding peers on the local network by multicast DNS (RFC 6762) and DNS-SD (RFC 6763), over ``zeroconf``.

A node announces the service ``rats-<first 8 digits of its peer id>._librats._tcp.local.``. Its TXT record tells ``v=1``
(the version of these keys), ``id`` (peer id), ``p`` (protocol string) and ``n`` (name, left out where there is none).
Nodes of the C++ library announce it with an empty TXT record. Who a peer really is shows in the handshake.
"""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from librats.errors import ClosedError, DecodeError, UsageError
from librats.peer_ids import check_peer_id
from librats.runtime.network import Network, SystemNetwork, current_network
from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.services.mdns_records import (
    MAX_ADDRESSES,
    MAX_NAME,
    MAX_PORT,
    MdnsPeer,
    is_name,
    reachable,
    read_service,
)
from librats.types import Address

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf
    from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

__all__ = ["SERVICE_TYPE", "MdnsDiscovery"]

logger = logging.getLogger("librats.mdns")

SERVICE_TYPE = "_librats._tcp.local."

MAX_PEERS = 256
MAX_LOOKUPS = 32
MAX_VALUE = 253  # bytes: a TXT string has at most 255, two go to the key and "=" (RFC 6763, 6.1)
MAX_CONFLICTS = 8

TTL = 120  # seconds; nodes of the C++ library ask for the same
HEARING_TIMEOUT = 2.0  # seconds within which our own announcement comes back where multicast works
LOOKUP_TIMEOUT = 3.0  # seconds that we ask for records that an announcement left out
FLUSH_TIME = 1.0  # seconds for which a record that is not repeated outlives its replacement (RFC 6762, 10.2)
SETTLING_TIME = 12.0  # seconds until zeroconf has dropped what was replaced; it cleans up every ten


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host).is_loopback


def _without_zone(host: str) -> str:
    return host.partition("%")[0]


class MdnsDiscovery:
    """Announces this node on the local network, and tells which others are there.

    Other protocols than ours are left out; nodes that do not tell theirs, those of the C++ library, are not. A
    ``found`` callback comes again when a peer's addresses or name change. Both callbacks run in the event loop and
    must not block; one that raises is logged.

    Args:
        peer_id: Our peer id, 64 digits in lower-case hex.
        port: Where we listen.
        protocol: Our protocol string, at most 253 bytes in UTF-8.
        name: What to call ourselves: printable, at most 64 characters and 253 bytes in UTF-8.
        interfaces: Our IP addresses on the networks to use; None for every IPv4 network.
        addresses: IP addresses to announce; None for those of the networks in use.
        on_found: Called with a peer that was found or has changed.
        on_lost: Called with a peer that has said goodbye or was not heard of for long.
        network: Where to look; the network of the loop where it is None.

    Raises:
        UsageError: One of the arguments cannot be announced.

    Example::

        discovery = MdnsDiscovery(client.peer_id, client.listen_port, protocol="chat/1.0", on_found=print)
        if not await discovery.start():
            print(discovery.problem)
        ...
        await discovery.close()
    """

    def __init__(
        self,
        peer_id: str,
        port: int,
        *,
        protocol: str,
        name: str = "",
        interfaces: Sequence[str] | None = None,
        addresses: Sequence[str] | None = None,
        on_found: Callable[[MdnsPeer], None],
        on_lost: Callable[[MdnsPeer], None] | None = None,
        network: Network | None = None,
    ) -> None:
        check_peer_id(peer_id)
        if not 0 < port <= MAX_PORT:
            raise UsageError(f"a port is 1 to {MAX_PORT}, not {port}")
        if not 0 < len(protocol.encode()) <= MAX_VALUE:
            raise UsageError(f"a protocol to announce has 1 to {MAX_VALUE} bytes")
        if not is_name(name) or len(name.encode()) > MAX_VALUE:
            raise UsageError(f"a name to announce is printable, at most {MAX_NAME} characters, {MAX_VALUE} bytes")
        if addresses is not None and not (
            all(Address(host, port).is_literal for host in addresses) and reachable(addresses)
        ):
            raise UsageError("the addresses to announce are IP addresses, at least one that can be reached")
        self.problem = ""
        """Why discovery does not run, or which networks it does without; empty where all is well."""
        self._peer_id = peer_id
        self._port = port
        self._protocol = protocol
        self._name = name
        self._wanted = None if interfaces is None else list(dict.fromkeys(interfaces))
        self._addresses = addresses
        self._network = network
        self._on_found = on_found
        self._on_lost = on_lost
        self._known: dict[str, MdnsPeer] = {}
        self._tasks = TaskSet()
        self._lookups: set[str] = set()
        self._settling: dict[str, asyncio.TimerHandle] = {}
        self._changing = asyncio.Lock()
        self._closed = False
        self._mdns: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._service: AsyncServiceInfo | None = None
        self._announcing: asyncio.Task[None] | None = None
        self._resolving: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self._conflicts = 0

    @property
    def peers(self) -> Mapping[str, MdnsPeer]:
        """The peers that are there now, by peer id; one that does not tell its id by its instance."""
        return {peer.peer_id or peer.instance: peer for peer in self._known.values()}

    async def start(self) -> bool:
        """Announce this node and look for others; return True where that works on one network at least.

        Returns when our own announcement has come back, mostly within milliseconds: then multicast works. What keeps
        it from working is logged once as a warning and told in :attr:`problem`; starting may be tried again.

        Raises:
            ClosedError: It was closed, before or meanwhile.
        """
        async with self._changing:
            if self._mdns is not None:
                return True
            try:
                self._check_open()
                problem, running = await self._start()
                self._check_open()
            except BaseException:
                await self._stop()
                raise
            if not running:
                await self._stop()
            if problem and problem != self.problem:
                logger.warning("%s: %s", "mDNS does without" if running else "no mDNS discovery", problem)
            self.problem = problem
            return running

    async def close(self) -> None:
        """Say goodbye and end; takes a quarter of a second. No callback comes any more."""
        self._closed = True
        self._heard.set()
        async with self._changing:
            await self._stop()

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the discovery is closed")

    async def _start(self) -> tuple[str, bool]:
        """Return what is wrong, and whether discovery runs."""
        network = self._network or current_network()
        if not isinstance(network, SystemNetwork):
            return "this network is simulated, mDNS needs the system's", False
        # Loading takes tens of milliseconds, in which a loop would stand still.
        await run_in_thread(importlib.import_module, "zeroconf.asyncio")
        usable, left_out = self._choose_interfaces(await network.interface_addresses())
        await self._open(usable, left_out)
        problem = "; ".join(f"{address}: {why}" for address, why in left_out.items())
        if self._mdns is None:
            return problem or "no network interface with an IPv4 address", False
        in_use = [address for address in usable if address not in left_out]
        self._check_open()
        self._heard.clear()
        self._announce(self._mdns, in_use)
        try:
            async with asyncio.timeout(HEARING_TIMEOUT):
                await self._heard.wait()
        except TimeoutError:
            return f"multicast does not work on {', '.join(in_use)}", False
        return problem, True

    def _choose_interfaces(self, own: list[str]) -> tuple[list[str], dict[str, str]]:
        """Return the addresses to open sockets on, and why the others are left out."""
        if self._wanted is None:
            return [host for host in own if ":" not in host], {}
        known = {_without_zone(host) for host in own}
        left_out = {
            host: "not an address of this machine"
            for host in self._wanted
            if _without_zone(host) not in known and not (Address(host, 0).is_literal and _is_loopback(host))
        }
        return [host for host in self._wanted if host not in left_out], left_out

    async def _open(self, wanted: list[str], left_out: dict[str, str]) -> None:
        """Open the sockets for as many of these interfaces as possible, all at once or else one after another."""
        if not wanted or await self._reopen(wanted, left_out) is None:
            return
        kept: list[str] = []
        for host in wanted:
            if (error := await self._reopen([*kept, host], left_out)) is not None:
                left_out[host] = error
            elif host not in left_out:
                kept.append(host)

    async def _reopen(self, hosts: list[str], left_out: dict[str, str]) -> str | None:
        """Replace what is open by sockets for these interfaces; return what went wrong where that is impossible."""
        from zeroconf import Error  # noqa: PLC0415 - loaded when discovery starts
        from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415

        with warnings.catch_warnings():  # where one fails, zeroconf leaves the others' sockets to the collector
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                opened = AsyncZeroconf(interfaces=hosts)
            except (OSError, RuntimeError) as error:  # VPN, disconnected…: any of a dozen error numbers
                return str(error)
        previous, self._mdns = self._mdns, opened
        if previous is not None:
            await previous.async_close()
        try:
            await opened.zeroconf.async_wait_for_start(timeout=HEARING_TIMEOUT)
        except Error:
            left_out.update(dict.fromkeys(hosts, "the sockets did not open"))
        else:
            # Where an interface has no multicast, zeroconf mostly goes on without it and does not say so.
            senders = {_without_zone(sender.sock_name[0]) for sender in opened.zeroconf.engine.senders}
            silent = [host for host in hosts if _without_zone(host) not in senders]
            left_out.update(dict.fromkeys(silent, "the interface has no multicast"))
        if left_out.keys() >= set(hosts):
            self._mdns = None
            await opened.async_close()
        return None

    def _announce(self, mdns: AsyncZeroconf, in_use: list[str]) -> None:
        from zeroconf import DNSQuestionType  # noqa: PLC0415
        from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo  # noqa: PLC0415

        # All processes of a host share one port, so a unicast answer may go to another: ask for multicast ones.
        self._browser = AsyncServiceBrowser(
            mdns.zeroconf, SERVICE_TYPE, handlers=[self._changed], question_type=DNSQuestionType.QM
        )
        properties = {"v": "1", "id": self._peer_id, "p": self._protocol, "n": self._name}
        self._service = AsyncServiceInfo(
            SERVICE_TYPE,
            f"rats-{self._peer_id[:8]}.{SERVICE_TYPE}",
            port=self._port,
            properties={key: value for key, value in properties.items() if value},
            # A host name of our own: nobody else's addresses get mixed with ours, or go with our goodbye.
            server=f"rats-{self._peer_id[:32]}.local.",
            parsed_addresses=self._announced(in_use),
            host_ttl=TTL,
            other_ttl=TTL,
        )
        self._announcing = self._tasks.create(self._register(mdns, self._service), name="mDNS announcement")

    def _announced(self, in_use: list[str]) -> list[str]:
        # Loopback is of use to this machine alone: others would dial themselves.
        hosts = self._addresses or [host for host in in_use if not _is_loopback(host)] or in_use
        return [_without_zone(host) for host in hosts[:MAX_ADDRESSES]]

    async def _register(self, mdns: AsyncZeroconf, service: AsyncServiceInfo, *, probing: bool = False) -> None:
        """Announce our service three times; where asked to, first find a name that nobody has.

        RFC 6762, 8.1, would have that done always, and it takes 1.2 seconds. Our name is a part of a hash: hardly
        anybody has it, and who does is heard, so that the conflict is resolved then.
        """
        from zeroconf import Error  # noqa: PLC0415

        try:
            sent = await mdns.async_register_service(
                service, allow_name_change=probing, cooperating_responders=not probing
            )
            await sent
        except (Error, OSError) as error:
            logger.warning("cannot announce this node by mDNS: %s", error)

    def _resolve_conflict(self, mdns: AsyncZeroconf, service: AsyncServiceInfo, rival: MdnsPeer) -> None:
        """Give up our name to a node with a lower id, or defend it (RFC 6762, 9)."""
        if self._conflicts >= MAX_CONFLICTS or not (self._resolving is None or self._resolving.done()):
            return
        self._conflicts += 1
        logger.info("another node, %s, has our mDNS name", rival.peer_id[:8] or "without an id")
        if self._announcing is not None:
            self._announcing.cancel()
        step = self._rename if rival.peer_id < self._peer_id else self._defend
        self._resolving = self._tasks.create(step(mdns, service), name="mDNS conflict")

    async def _rename(self, mdns: AsyncZeroconf, service: AsyncServiceInfo) -> None:
        given_up = service.name
        mdns.zeroconf.registry.async_remove(service)  # no goodbye: it would take the other one's records, too
        await self._register(mdns, service, probing=True)
        self._look(given_up)

    async def _defend(self, mdns: AsyncZeroconf, service: AsyncServiceInfo) -> None:
        await (await mdns.async_update_service(service))
        await asyncio.sleep(FLUSH_TIME)
        await (await mdns.async_update_service(service))  # only now do the other's records leave the caches

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._closed or zeroconf.done or not name.lower().endswith(f".{SERVICE_TYPE}"):
            return
        if state_change.name == "Removed":
            self._forget(name)
        else:
            self._look(name)

    def _look(self, name: str) -> None:
        """Take note of an instance if all its records are there, else ask for them."""
        from zeroconf import Error  # noqa: PLC0415
        from zeroconf.asyncio import AsyncServiceInfo  # noqa: PLC0415

        if self._closed or self._mdns is None:
            return
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, name)
        except Error:
            return
        if info.load_from_cache(self._mdns.zeroconf):
            self._learn(name, info)
        elif name not in self._lookups and len(self._lookups) < MAX_LOOKUPS:
            self._lookups.add(name)
            self._tasks.create(self._look_up(self._mdns, name, info), name="mDNS lookup")

    async def _look_up(self, mdns: AsyncZeroconf, name: str, info: AsyncServiceInfo) -> None:
        from zeroconf import DNSQuestionType, Error  # noqa: PLC0415

        try:
            if await info.async_request(mdns.zeroconf, LOOKUP_TIMEOUT * 1000, DNSQuestionType.QM):
                self._learn(name, info)
        except Error as error:
            logger.debug("an mDNS lookup failed: %s", error)
        finally:
            self._lookups.discard(name)

    def _learn(self, name: str, info: AsyncServiceInfo) -> None:
        if self._closed or self._mdns is None or self._service is None:
            return
        if self._mdns.zeroconf.cache.current_entry_with_name_and_alias(SERVICE_TYPE, name) is None:
            return  # without a pointer to it, nothing would ever take it away again
        properties = info.properties if info.text.strip(b"\0") else {}
        try:
            peer = read_service(name, properties, info.parsed_scoped_addresses(), info.port)
        except DecodeError as error:
            logger.debug("ignoring an mDNS service: %s", error)
            self._forget(name)
            return
        if peer.peer_id == self._peer_id:
            self._heard.set()
        elif name.lower() == self._service.key:
            self._heard.set()
            self._resolve_conflict(self._mdns, self._service, peer)
        elif peer.protocol not in ("", self._protocol):
            self._forget(name)
        else:
            self._update(peer)

    def _update(self, peer: MdnsPeer) -> None:
        key = peer.instance.lower()
        known = self._known.get(key)
        if known == peer:
            return
        if known is None and len(self._known) >= MAX_PEERS:
            logger.debug("mDNS: %d peers are known, ignoring another", MAX_PEERS)
            return
        if known is not None and known.peer_id != peer.peer_id:
            self._forget(peer.instance)
        self._known[key] = peer
        same = self._instances_of(peer)
        if known is not None or len(same) > 1:
            for instance in same:
                self._settle(instance)
        logger.debug("found %s by mDNS", peer.peer_id[:8] or "a peer without an id")
        self._tell(self._on_found, peer)

    def _instances_of(self, peer: MdnsPeer) -> list[str]:
        return [p.instance for p in self._known.values() if p is peer or p.peer_id == peer.peer_id != ""]

    def _settle(self, name: str, delay: float | None = None) -> None:
        """Look again when replaced records have gone: zeroconf does not tell when they do.

        A flush that was late or got lost lets them stay for longer, at most for the time that they live.
        """
        delay = SETTLING_TIME if delay is None else delay
        self._unsettle(name)
        timer = asyncio.get_running_loop().call_later(delay, self._look_again, name, delay)
        self._settling[name.lower()] = timer

    def _look_again(self, name: str, delay: float) -> None:
        self._unsettle(name)
        self._look(name)
        if name.lower() not in self._settling and name.lower() in self._known and 2 * delay <= TTL:
            self._settle(name, 2 * delay)

    def _unsettle(self, name: str) -> None:
        if (timer := self._settling.pop(name.lower(), None)) is not None:
            timer.cancel()

    def _forget(self, name: str) -> None:
        self._unsettle(name)
        peer = self._known.pop(name.lower(), None)
        if peer is not None and not self._instances_of(peer):  # else it is still there, renamed
            logger.debug("lost %s by mDNS", peer.peer_id[:8] or "a peer without an id")
            self._tell(self._on_lost, peer)

    def _tell(self, callback: Callable[[MdnsPeer], None] | None, peer: MdnsPeer) -> None:
        try:
            if callback is not None:
                callback(peer)
        except Exception:
            logger.exception("an mDNS callback failed")

    async def _stop(self) -> None:
        """Release everything; a cancelled call does, too."""
        for name in list(self._settling):
            self._unsettle(name)
        self._known.clear()
        browser, self._browser = self._browser, None
        mdns, self._mdns = self._mdns, None
        try:
            if browser is not None:
                await browser.async_cancel()
            await self._tasks.close()
        finally:
            if mdns is not None:
                await mdns.async_close()
