"""A STUN and TURN server: threads that relay, and a loop that watches over them."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from librats._core.gate import Gate
from librats._core.relay import Plane
from librats.errors import ConfigError
from librats.peers.identity import Identity
from librats.relay.config import RelayConfig
from librats.relay.datagram_sessions import MOST_A_SECOND
from librats.relay.fleet import Fleet
from librats.relay.in_dht import RelayInDht
from librats.relay.introducing import Grants, RelayIntroducer
from librats.relay.metrics import MetricsServer
from librats.relay.statistics import FleetStatistics, RelayStatistics, sum_statistics
from librats.relay.stream_server import StreamServer, load_certificate, tls_context
from librats.relay.tcp_allocations import TcpAllocations
from librats.relay.web import WebDoor
from librats.relay.worker import Worker
from librats.runtime.entropy import SystemEntropy
from librats.runtime.interfaces import interface_addresses
from librats.runtime.network import current_network
from librats.runtime.relay_ports import RelayPortPool, check_relay_hosts, open_listeners
from librats.runtime.shared_relays import SharedRelays
from librats.runtime.tasks import TaskSet
from librats.turn.serving.allocation import Observer
from librats.turn.serving.alternates import Alternates
from librats.turn.serving.answers import Refused
from librats.turn.serving.authentication import Authenticator
from librats.turn.serving.binding import Corner
from librats.turn.serving.credentials import Credentials, GrantedNames
from librats.turn.serving.live import LiveAddresses
from librats.turn.serving.machine import Machine
from librats.turn.serving.mobility import Mobility, Ticket
from librats.turn.serving.nonces import Nonces
from librats.turn.serving.peer_policy import PeerPolicy
from librats.turn.serving.quotas import Quotas
from librats.turn.serving.request import Request
from librats.turn.serving.strangers import new_gate
from librats.turn.serving.tables import Shared, Tables
from librats.types import Address, Entropy

__all__ = ["RelayServer"]

logger = logging.getLogger("librats.relay")

_UNSPECIFIED = ("0.0.0.0", "::")  # noqa: S104 - compared with
_POLL = 0.2


class RelayServer:
    """A running relay.

    Args:
        config: What it is told.
        observer: Is told of allocations, from the thread that has them.
        identity: Who it is, where it is to introduce.
        directory: Where it keeps the nodes of the DHT that it knows for the next run; None to keep them nowhere.

    Example:
        >>> config = RelayConfig(listen=(Address("127.0.0.1", 0),), users={"bob": "secret"}, tcp=False)
        >>> async def main():
        ...     async with RelayServer(config) as server:
        ...         return server.addresses[0].host
        >>> asyncio.run(main())
        '127.0.0.1'
    """

    def __init__(
        self,
        config: RelayConfig,
        observer: Observer | None = None,
        *,
        identity: Identity | None = None,
        directory: Path | None = None,
    ) -> None:
        self.config = config
        self._directory = directory
        # Sessions begin over TCP or TLS, or could; where neither is served nobody is introduced.
        self._identity = identity if config.introduce and (config.tcp or config.tls_listen) else None
        self._granted = GrantedNames(config.realm, current_network().new_key(32).hex())
        self.introducer: RelayIntroducer | None = None
        """Introduces those who are connected, where it does."""
        self.addresses: list[Address] = []
        """Where it listens for UDP, and for TCP where it does."""
        self.tls_addresses: list[Address] = []
        """Where it listens for TLS."""
        self.metrics_address: Address | None = None
        """Where it serves metrics; None where it does not."""
        self._observer = observer
        self._workers: list[Worker] = []
        self._streams: StreamServer | None = None
        self._metrics: MetricsServer | None = None
        self._fleet: Fleet | None = None
        self.in_dht: RelayInDht | None = None
        """Its node of the DHT, where it takes part."""
        self._tasks = TaskSet()
        self._tls: ssl.SSLContext | None = None
        self._certificate_age: tuple[int, ...] = ()
        self._listeners: list[int] = []
        self._relays: list[SharedRelays] = []
        self._failed = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self.close()

    async def start(self) -> None:
        """Open the sockets, and begin.

        Raises:
            ConfigError: An address is taken or not this machine's, or a certificate cannot be used.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def _open(self) -> None:
        config, entropy = self.config, SystemEntropy()
        check_relay_hosts(config.relay_hosts)
        wanted = list(config.listen)
        if config.alternate is not None:
            first, other = config.listen[0], config.alternate
            wanted += [Address(first.host, other.port), Address(other.host, first.port), other]
        opened = open_listeners(wanted, threads=config.threads, tcp=config.tcp)
        self._listeners = [fd for place in opened for fd, _ in place]
        self.addresses = [address for _, address in opened[0]]
        interfaces = [host for host in await interface_addresses() if "%" not in host]
        own = self._own_hosts(interfaces)
        ports = RelayPortPool(
            self._relay_hosts(own), config.relay_ports, outside=dict(config.external_hosts), entropy=entropy
        )
        # Also what it does not listen on: what else runs here may trust whoever comes from here.
        self._own = list(dict.fromkeys([*own, *ports.hosts, *interfaces]))
        self._ports = ports
        self._quotas = Quotas(config.quotas, threading.Lock())
        self._shared = Shared(
            settings=config.settings,
            policy=self._policy(config),
            quotas=self._quotas,
            ports=ports,
            live=LiveAddresses(threading.Lock()),
            alternates=Alternates(config.try_alternate, config.try_alternate_tls),
        )
        self._authenticator = None
        if not config.no_auth:
            nonces = Nonces(entropy=entropy, lifetime=config.nonce_lifetime)
            self._authenticator = Authenticator(self._credentials(config), nonces)
        key = entropy.token_bytes(32)
        for number, place in enumerate(opened):
            gate = new_gate(config.settings, self._authenticator, binding=config.alternate is None, entropy=entropy)
            plane = self._new_plane(gate)
            listeners = [plane.add_listener(fd) for fd, _ in place]
            machine = Machine(
                self._new_tables(plane),
                self._authenticator,
                Mobility(key, number),
                entropy=entropy,
                corners=self._corners(listeners),
                hand_over=self._hander_over(number),
                gate=gate,
            )
            self._workers.append(Worker(plane, gate, machine, self._fail))
        await self._start_streams(Mobility(key, len(opened)), entropy)
        if self.introducer is not None:
            hand_in = self.introducer.take_datagrams(self.addresses).hand_in
            for worker in self._workers:
                worker.hand_in = hand_in
        if config.fleet is not None:
            self._fleet = Fleet(config.fleet, config.realm, self._quotas, entropy=entropy)
            self._tasks.create(self._fleet.run(), name="keep count with the fleet")
        if config.dht and self.introducer is not None and self._identity is not None:
            await self._enter_dht(self.introducer, self._identity)
        if config.metrics is not None:
            self._metrics = MetricsServer(self.statistics)
            self.metrics_address = await self._metrics.start(config.metrics)
        for worker in self._workers:
            worker.start()

    async def _start_streams(self, mobility: Mobility, entropy: Entropy) -> None:
        """Serve TCP and TLS, where they are wanted."""
        config = self.config
        if config.certificate is not None:
            self._tls = tls_context(config.certificate, config.private_key)
            self._certificate_age = _ages(config)
        plain = [address for address in self.addresses if config.tcp]
        if not plain and not config.tls_listen:
            return
        plane = self._new_plane()
        peers = TcpAllocations(entropy=entropy)
        machine = peers.machine = Machine(
            self._new_tables(plane, peers),
            self._authenticator,
            mobility,
            entropy=entropy,
            streams=peers,
            hand_over=self._hander_over(mobility.worker),
        )
        streams = self._streams = StreamServer(
            plane,
            machine,
            peers,
            max_connections=config.max_connections,
            each_minute=self.renew_certificate,
            web=WebDoor(opens=config.web, trusted=config.trusted_proxies),
        )
        if self._identity is not None:
            self.introducer = streams.introducer = self._new_introducer(self._identity, entropy)
        self.tls_addresses = await streams.start(plain, list(config.tls_listen), self._tls)

    async def _enter_dht(self, introducer: RelayIntroducer, identity: Identity) -> None:
        first = self.addresses[0]
        host = "" if first.host in _UNSPECIFIED else first.host
        self.in_dht = RelayInDht(
            self.config.dht_settings, identity, host=host, port=first.port, directory=self._directory
        )
        introducer.announcer = self.in_dht.announcer
        await self.in_dht.start()

    def _new_plane(self, gate: Gate | None = None) -> Plane:
        config = self.config
        seed = SystemEntropy().token_bytes(32)
        plane = Plane(
            nap_us=config.coalescing,
            max_allocations=config.max_allocations,
            seed=seed,
            gate=gate,
            sieve=True,
            sessions=0.0 if self._identity is None else MOST_A_SECOND,
        )
        plane.limit_total(self._bandwidth_of_a_place)
        return plane

    @property
    def _bandwidth_of_a_place(self) -> int:
        """Bytes a second that each thread, and the loop, may relay; 0 for any number."""
        total = self.config.quotas.total_bandwidth
        return total and (total // self.config.threads or 1)

    def _new_tables(self, plane: Plane, streams: TcpAllocations | None = None) -> Tables:
        ports = None
        if self.config.shared_relay_socket:
            ports = SharedRelays(self._ports)
            self._relays.append(ports)
            for relay in ports.relays:
                plane.share_relay(relay.fd)
        capacity = self.config.max_allocations
        return Tables(plane, self._shared, self._observer, capacity=capacity, streams=streams, ports=ports)

    async def close(self) -> None:
        """End all allocations, and close the sockets."""
        if self._metrics is not None:
            self._metrics.close()
        await self._tasks.close()
        if self._fleet is not None:
            await self._fleet.close()
            self._fleet = None
        if self.in_dht is not None:
            await self.in_dht.close()
            self.in_dht = None
        if self.introducer is not None:
            await self.introducer.close()
            self.introducer = None
        if self._streams is not None:
            await self._streams.close()
            self._streams.plane.close()
            self._streams.machine.tables.shared.close_reserved()
            self._streams = None
        for worker in self._workers:
            worker.stop()
            worker.plane.close()
            worker.machine.tables.shared.close_reserved()
        for relays in self._relays:
            relays.close_all()
        self._relays.clear()
        for fd in self._listeners:
            os.close(fd)
        self._workers.clear()
        self._listeners.clear()

    def drain(self) -> None:
        """Make no new allocations any more; those there are go on."""
        self._shared.draining = True
        self._shared.close_reserved()

    async def drained(self) -> None:
        """Wait until the last allocation is gone."""
        # Allocations end in other threads, many a second: asking now and then is less work than being told.
        while self._quotas.total:  # noqa: ASYNC110
            await asyncio.sleep(_POLL)

    async def failed(self) -> None:
        """Wait until a thread fails, which is logged."""
        await self._failed.wait()

    def statistics(self) -> RelayStatistics:
        """Return what it did; traffic as of the last second."""
        over_udp = None if self.introducer is None else self.introducer.over_udp
        places = self._places
        return sum_statistics(
            [*(place.machine for place in places), *(worker.gate for worker in self._workers)],
            [*(place.statistics for place in places), {} if over_udp is None else over_udp.counters],
            users=self._quotas.by_owner(),
            connections=0 if self._streams is None else len(self._streams.connections),
            failures=sum(place.failures.count for place in places),
            draining=self._shared.draining,
            fleet=None if self._fleet is None else FleetStatistics(self._fleet.relays, self._fleet.failures),
            carried=None if self.introducer is None else self.introducer.carried,
        )

    def reload(self, config: RelayConfig) -> list[str]:
        """Use another configuration from now on, as far as that is possible without an interruption.

        Users, secrets, peers, quotas, lifetimes and certificates change at once; allocations stay.

        Returns:
            The names of the fields that differ and need a restart.

        Raises:
            ConfigError: Something cannot be used; everything stays as it was.
            UsageError: A user's name or password has characters that none may have; the same.
        """
        fixed = [name for name in _FIXED if getattr(config, name) != getattr(self.config, name)]
        kept = {name: getattr(self.config, name) for name in _FIXED}
        wanted = dataclasses.replace(config, **kept)
        credentials, policy = self._credentials(wanted), self._policy(wanted)
        if self._tls is not None and wanted.certificate is not None:
            load_certificate(self._tls, wanted.certificate, wanted.private_key)
        # Nothing fails from here on.
        if wanted.settings.source_answers != self.config.settings.source_answers:
            fixed.append("settings.source_answers")
        self.config = wanted
        if self._authenticator is not None:
            self._authenticator.credentials = credentials
            for worker in self._workers:
                worker.post(functools.partial(worker.forget_users, knows_names=credentials.knows_names))
        self._shared.policy = policy
        self._shared.settings = wanted.settings
        self._shared.alternates = Alternates(wanted.try_alternate, wanted.try_alternate_tls)
        self._quotas.limits = wanted.quotas
        for place in self._places:
            place.post(functools.partial(_limit_total, place.plane, self._bandwidth_of_a_place))
        return fixed

    def renew_certificate(self) -> None:
        """Show new connections the certificate that the file has now, where it has changed; called once a minute."""
        config = self.config
        ages = _ages(config)
        if self._tls is None or config.certificate is None or ages == self._certificate_age:
            return
        try:
            load_certificate(self._tls, config.certificate, config.private_key)
        except ConfigError as error:
            logger.warning("%s; the one before stays", error)
        self._certificate_age = ages

    def _own_hosts(self, interfaces: list[str]) -> list[str]:
        """Return where it listens; every address of the machine where it says so."""
        hosts = [address.host for address in self.addresses]
        if any(host in _UNSPECIFIED for host in hosts):
            hosts += interfaces
        return [host for host in dict.fromkeys(hosts) if host not in _UNSPECIFIED]

    def _relay_hosts(self, own: list[str]) -> list[str]:
        """Return the hosts to relay from: those of the configuration, else those it listens on."""
        if self.config.relay_hosts:
            return list(self.config.relay_hosts)
        families = {":" in address.host for address in self.addresses}
        return [host for host in own if (":" in host) in families]

    def _policy(self, config: RelayConfig) -> PeerPolicy:
        return PeerPolicy(allow=config.allow_peers, deny=config.deny_peers, own=self._own)

    def _credentials(self, config: RelayConfig) -> Credentials:
        granted = self._granted if config.relay_for_introduced else None
        return Credentials(realm=config.realm, users=config.users, secrets=config.secrets, granted=granted)

    def _new_introducer(self, identity: Identity, entropy: Entropy) -> RelayIntroducer:
        config = self.config
        grants = Grants(lifetime=config.introduced_lifetime, wall=time.time, names=self._granted)
        return RelayIntroducer(
            identity,
            entropy=entropy,
            new_key=current_network().new_key,
            port=self.addresses[0].port,
            most=config.max_connections,
            grants=grants if config.relay_for_introduced and not config.no_auth else None,
            carry=config.carry_limits if config.carry else None,
        )

    def _corners(self, listeners: list[int]) -> dict[int, Corner]:
        if self.config.alternate is None:
            return {}
        numbers = [listeners[0], *listeners[-3:]]
        first, port, host, both = (self.addresses[listeners.index(number)] for number in numbers)
        a, b, c, d = numbers
        return {
            a: Corner(first, both, (a, b, c, d)),
            b: Corner(port, host, (b, a, d, c)),
            c: Corner(host, port, (c, d, a, b)),
            d: Corner(both, first, (d, c, b, a)),
        }

    def _hander_over(self, here: int) -> Callable[[Ticket, Request], None] | None:
        """Return the function that fetches an allocation from another thread for a client that has moved here.

        There is none where each thread has relay sockets of its own that all its allocations share.
        """
        if self.config.shared_relay_socket:
            return None

        def hand_over(ticket: Ticket, request: Request) -> None:
            there, taker = self._place(ticket.worker), self._place(here)
            if there is None or taker is None:
                return

            def give_up(_: float) -> None:
                try:
                    moving = there.machine.give_up(ticket, request.login)
                except Refused as refusal:
                    code = refusal.code
                    taker.post(lambda _: taker.deliver(taker.machine.fail(request, code)))
                    return
                taker.post(lambda _: taker.deliver(taker.machine.take_over(request, moving)))

            there.post(give_up)

        return hand_over

    @property
    def _places(self) -> list[Worker | StreamServer]:
        """All who have allocations."""
        return [*self._workers, *([] if self._streams is None else [self._streams])]

    def _place(self, number: int) -> Worker | StreamServer | None:
        """Return who has allocations of a number in mobility tickets."""
        return self._workers[number] if number < len(self._workers) else self._streams

    def _fail(self) -> None:
        self._loop.call_soon_threadsafe(self._failed.set)


def _limit_total(plane: Plane, bytes_per_second: int, _: float) -> None:
    plane.limit_total(bytes_per_second)


def _ages(config: RelayConfig) -> tuple[int, ...]:
    """Return when certificate and key were changed: whoever renews them writes one after the other."""
    return tuple(_age(file) for file in (config.certificate, config.private_key) if file is not None)


def _age(file: Path) -> int:
    """Return when a file was changed; 0 where there is none."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


# What is bound to sockets and tables that were made at the start.
_FIXED = (
    *("listen", "tcp", "tls_listen", "alternate", "relay_hosts", "external_hosts", "relay_ports", "realm"),
    *("web", "trusted_proxies", "shared_relay_socket", "introduce", "introduced_lifetime", "relay_for_introduced"),
    *("carry", "carry_limits", "dht", "dht_bootstrap", "dht_port", "dht_addresses"),
    *("no_auth", "threads", "nonce_lifetime", "coalescing", "max_allocations", "metrics", "fleet"),
    "max_connections",
)
