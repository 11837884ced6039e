"""How a client lets others find it by its id: its record in the DHT, and whom it introduces announced there."""

from __future__ import annotations

import asyncio

from librats.dht.records import IntroducerAt, PeerRecord
from librats.discovery.finding import FindingVerbs, has_feature
from librats.discovery.publishing import Publisher
from librats.ice.addresses import Reach, reach_of
from librats.introducers.announcing import IntroducerAnnouncer
from librats.runtime.tasks import end_all
from librats.session.greeting import Feature
from librats.types import Encryption, MappedTransport, NatType

__all__ = ["BeingFound"]

LOOK_EVERY = 2.0
"""Seconds after which is looked which peers want to be announced."""


class BeingFound(FindingVerbs):
    """Mixed into :class:`~librats.RatsClient`."""

    def __init__(self) -> None:
        super().__init__()
        self._publisher: Publisher | None = None
        self._announcer: IntroducerAnnouncer | None = None
        self._being_found: list[asyncio.Task[None]] = []

    def _record(self) -> PeerRecord:
        kept = [] if self._keeper is None else self._keeper.on_own_ports
        nat = self._nat.type
        return PeerRecord(
            public_key=self._running().identity.public_key,
            expires=0,
            addresses=tuple(self._told_addresses()),
            introducers=tuple([*(IntroducerAt(*one) for one in kept), *self._introducing_peers()]),
            seen=tuple(self._seen_at()),
            nat="" if nat is NatType.UNKNOWN else nat,
        )

    def _announced_port(self) -> int | None:
        """Return the TCP port at which everybody reaches this client; None where, as it seems, nobody outside does.

        One that has nothing but the loopback is among others of that kind.
        """
        if self._paths.hides_us or "tcp" not in self._config.transports:
            return None
        elsewhere = {*self._nat.mapped_addresses, *self._paths.relayed_addresses}
        reaches = {reach_of(address.host) for address in self.addresses if address not in elsewhere}
        if Reach.GLOBAL in reaches or reaches == {Reach.LOOPBACK}:
            return self.listen_port
        mapped = (one for one in self._nat.port_mappings() if one.transport is MappedTransport.TCP and one.is_public)
        return next((one.external.port for one in mapped), None)

    def _start_being_found(self) -> None:
        """Publish this client's record, and announce it as an introducer, as far as the configuration has it."""
        if self._being_found or self._config.encryption is Encryption.OFF:
            return
        network = self._running_network()
        if self._config.dht.publish:
            publisher = self._publisher = Publisher(
                self._dht_now, self._record, lambda: self._running().identity, wall=network.wall_time
            )
            self._being_found.append(self._tasks.create(publisher.run(), name="librats publishes its record"))
        if self._config.nat.allow_introductions:
            announcer = self._announcer = IntroducerAnnouncer(self._dht_now, self._announced_port, self._tasks)
            self._being_found += [
                self._tasks.create(announcer.run(), name="librats announces that it introduces"),
                self._tasks.create(self._watch_peers(announcer), name="librats looks who wants to be found"),
            ]

    async def _stop_being_found(self) -> None:
        tasks, self._being_found = self._being_found, []
        self._publisher = self._announcer = None
        await end_all(tasks)

    async def _watch_peers(self, announcer: IntroducerAnnouncer) -> None:
        known: dict[str, None] = {}
        while True:
            peers = self._running().peers
            wanted = {peer_id: None for peer_id, peer in peers.items() if has_feature(peer, Feature.FINDABLE)}
            for peer_id in wanted:
                if peer_id not in known:
                    announcer.joined(peer_id)
            for peer_id in known:
                if peer_id not in wanted:
                    announcer.left(peer_id)
            known = wanted
            await asyncio.sleep(LOOK_EVERY)
