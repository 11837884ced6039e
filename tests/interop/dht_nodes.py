"""Nodes of the DHT on loopback addresses: libtorrent's, and ours on sockets of their own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Callable
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self

import libtorrent
import nacl.bindings

from librats._core import bencode
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE, compact, host_of
from librats.dht.items import Item
from librats.dht.node import DhtNode
from librats.dht.operations import Finished
from librats.dht.rates import Limits
from librats.runtime.entropy import SystemEntropy

lt: Any = libtorrent

SECONDS = 60.0
PATIENCE = 0.5
ACQUAINTANCES = 7
QUIET = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_bootstrap_nodes": "",
    # All are on one host here, and ask more than nodes of the internet do.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_upload_rate_limit": 10_000_000,
    "dht_block_ratelimit": 10_000,
    "aio_threads": 1,
    "hashing_threads": 1,
}


class TheirNode:
    """A session of libtorrent that does nothing but the DHT.

    Args:
        hosts: Where it listens: at most one of each family.
        settings: What is to be otherwise.
    """

    def __init__(self, *hosts: str, **settings: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[Callable[[Any], Any], asyncio.Future[Any]]] = []
        self.hosts = hosts
        self._ports: dict[str, int] = {}
        self._listening = self._loop.create_future()
        shown = ",".join(f"[{host}]:0" if ":" in host else f"{host}:0" for host in hosts)
        mask = lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification
        mask |= lt.alert.category_t.status_notification
        self.session = lt.session({"listen_interfaces": shown, "alert_mask": mask, **QUIET, **settings})
        # Its thread would wait for the GIL to call a function: the end of the session holds that, and waits for it.
        self._told, self._tells = socket.socketpair()
        for end in (self._told, self._tells):
            end.setblocking(False)
        self.session.set_alert_fd(self._tells.fileno())
        self._loop.add_reader(self._told, self._take)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._told.recv(4096)
        for alert in self.session.pop_alerts():
            if isinstance(alert, lt.listen_succeeded_alert):
                self._ports[str(alert.address)] = alert.port  # the same over TCP, which it tells first
                if len(self._ports) == len(self.hosts) and not self._listening.done():
                    self._listening.set_result(None)
            for wanted, future in self._waiting:
                found = wanted(alert)
                if found is not None and not future.done():
                    future.set_result(found)
        self._waiting = [waiting for waiting in self._waiting if not waiting[1].done()]

    async def alert(self, wanted: Callable[[Any], Any], seconds: float = SECONDS) -> Any:
        """Wait for an alert of which a function returns something."""
        future = self._loop.create_future()
        self._waiting.append((wanted, future))
        self._take()
        return await asyncio.wait_for(future, seconds)

    async def start(self) -> None:
        """Wait until it listens."""
        await asyncio.wait_for(self._listening, SECONDS)

    @property
    def addresses(self) -> list[bytes]:
        """Its compact address of each family."""
        return [compact(host, self._ports[host]) for host in self.hosts]

    def meet(self, address: bytes) -> None:
        """Learn of a node."""
        self.session.add_dht_node((host_of(address), int.from_bytes(address[-2:])))

    async def peers(self, info_hash: bytes) -> set[tuple[str, int]]:
        """Look for peers; where nobody has told of any for a while, none are returned."""
        self.session.dht_get_peers(lt.sha1_hash(info_hash))
        with contextlib.suppress(TimeoutError):
            return set(
                await self.alert(
                    lambda alert: (
                        alert.peers()
                        if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash.to_bytes() == info_hash
                        else None
                    ),
                    PATIENCE,
                )
            )
        return set()

    def announce(self, info_hash: bytes, port: int) -> None:
        """Look for the nodes nearest to a hash, and announce a peer to them; that it is done is not told."""
        self.session.dht_announce(lt.sha1_hash(info_hash), port, 0)

    async def put(self, value: bytes) -> tuple[bytes, int]:
        """Put an immutable item; return its target, and how many nodes took it."""
        target = self.session.dht_put_immutable_item(value)
        taken = await self.alert(
            lambda alert: (
                alert.num_success
                if isinstance(alert, lt.dht_put_alert) and alert.target.to_bytes() == target.to_bytes()
                else None
            )
        )
        return target.to_bytes(), taken

    async def put_mutable(self, seed: bytes, value: bytes, salt: bytes) -> tuple[int, int]:
        """Put a mutable item; return its sequence number, and how many nodes took it."""
        key, _ = nacl.bindings.crypto_sign_seed_keypair(seed)
        self.session.dht_put_mutable_item(expanded(seed), key, value, salt)
        sequence, taken = await self.alert(
            lambda alert: (
                (alert.seq, alert.num_success)
                if isinstance(alert, lt.dht_put_alert) and bytes(alert.public_key) == key
                else None
            )
        )
        return sequence, taken

    async def get(self, target: bytes) -> bytes:
        """Look for an immutable item."""
        self.session.dht_get_immutable_item(lt.sha1_hash(target))
        value: bytes = await self.alert(
            lambda alert: (
                alert.item
                if isinstance(alert, lt.dht_immutable_item_alert) and alert.target.to_bytes() == target
                else None
            )
        )
        return value

    async def get_mutable(self, key: bytes, salt: bytes) -> tuple[int, bytes]:
        """Look for a mutable item; return its sequence number and its value."""
        self.session.dht_get_mutable_item(key, salt)
        sequence, value = await self.alert(
            lambda alert: (
                (alert.seq, alert.item)
                if isinstance(alert, lt.dht_mutable_item_alert) and bytes(alert.key) == key and alert.authoritative
                else None
            )
        )
        return sequence, value

    def close(self) -> None:
        """End it."""
        self._loop.remove_reader(self._told)
        self.session.pause()
        del self.session
        self._told.close()
        self._tells.close()


class OurNode(asyncio.DatagramProtocol):
    """A node of ours on sockets of its own, with as little around it as can be.

    Args:
        hosts: Where it listens: at most one of each family.
        settings: What the node is given.
    """

    def __init__(self, *hosts: str, **settings: Any) -> None:
        self.hosts = hosts
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._ended: dict[int, asyncio.Future[Finished]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Open the sockets."""
        self._transports: dict[int, asyncio.DatagramTransport] = {}
        for host in self.hosts:
            transport, _ = await self._loop.create_datagram_endpoint(lambda: self, local_addr=(host, 0))
            self._transports[IPV6_SIZE if ":" in host else IPV4_SIZE] = transport
        settings = {
            "families": tuple(self._transports),
            "limits": Limits(queries=10_000, most_queries=10_000),
            **self._settings,
        }
        self.node = DhtNode(SystemEntropy(), now=self._loop.time(), **settings)
        self._flush()

    @property
    def addresses(self) -> list[bytes]:
        """Its compact address of each family."""
        return [compact(*transport.get_extra_info("sockname")[:2]) for transport in self._transports.values()]

    def meet(self, address: bytes) -> None:
        """Learn of a node."""
        self.node.add_bootstrap([address], now=self._loop.time())
        self._flush()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.node.receive_datagram(data, compact(*addr[:2]), now=self._loop.time())
        self._flush()

    def _flush(self) -> None:
        for data, address in self.node.datagrams_to_send():
            self._transports[len(address)].sendto(data, (host_of(address), int.from_bytes(address[-2:])))
        while (event := self.node.next_event()) is not None:
            self._ended.pop(event.number).set_result(event)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self.node.next_timer(), self._tick)

    def _tick(self) -> None:
        self.node.handle_timer(now=self._loop.time())
        self._flush()

    async def ended(self, begin: Callable[[DhtNode, float], int]) -> Finished:
        """Begin something, and wait for what comes of it."""
        number = begin(self.node, self._loop.time())
        future = self._ended[number] = self._loop.create_future()
        self._flush()
        return await asyncio.wait_for(future, SECONDS)

    async def nodes(self, target: bytes) -> set[bytes]:
        """Look for the nodes nearest to a target."""
        found = await self.ended(lambda node, now: node.find_nodes(target, now=now))
        return {node.address for node in found.nodes}

    async def announce(self, info_hash: bytes, port: int) -> int:
        """Announce a peer; return how many nodes took it."""
        return (await self.ended(lambda node, now: node.announce(info_hash, port, now=now))).stored

    async def peers(self, info_hash: bytes) -> set[tuple[str, int]]:
        """Look for peers once."""
        found = await self.ended(lambda node, now: node.find_peers(info_hash, now=now))
        return {(host_of(peer), int.from_bytes(peer[-2:])) for peer in found.peers}

    async def put(self, item: Item, compare: int | None = None) -> Finished:
        """Put an item."""
        return await self.ended(lambda node, now: node.put(item, now=now, compare=compare))

    async def get(self, target: bytes, salt: bytes = b"") -> Item | None:
        """Look for an item."""
        return (await self.ended(lambda node, now: node.get(target, now=now, salt=salt))).item

    def close(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
        for transport in self._transports.values():
            transport.close()


class Mixed:
    """A swarm of as many nodes of theirs as of ours, each at an address of its own, that have met.

    Args:
        count: How many of each kind.
        hosts: Where each listens, theirs first.
    """

    def __init__(self, count: int, hosts: Callable[[int], tuple[str, ...]]) -> None:
        self.theirs = [TheirNode(*hosts(number)) for number in range(count)]
        self.ours = [OurNode(*hosts(count + number)) for number in range(count)]
        self.nodes: list[TheirNode | OurNode] = [*self.theirs, *self.ours]

    async def __aenter__(self) -> Self:
        for node in self.nodes:
            await node.start()
        count = len(self.theirs)
        for number, node in enumerate(self.nodes):
            for distance in range(1, min(ACQUAINTANCES, count)):
                for other in (self.theirs[(number + distance) % count], self.ours[(number + distance) % count]):
                    for address in other.addresses:
                        node.meet(address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in self.nodes:
            node.close()


def on_loopback(number: int) -> tuple[str, str]:
    """Return an IPv4 host of its own network, as libtorrent asks few of one network, and the only IPv6 one."""
    return str(ip_address("127.1.1.1") + (number << 8)), "::1"


def expanded(seed: bytes) -> bytes:
    """Return a signing key as libtorrent wants it: the hash of the seed, with some bits fixed (RFC 8032, 5.1.5)."""
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 0xF8
    digest[31] = digest[31] & 0x3F | 0x40
    return bytes(digest)


def encoded(value: bytes) -> bytes:
    """Return a value as items have it."""
    return bencode.encode(value)
