"""One torrent of a client: its swarm, files and connections, and the handle that applications have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from librats.bittorrent.candidates import Candidates
from librats.bittorrent.events import (
    DhtNodeTold,
    HashesAsked,
    HolepunchAsked,
    PeerDropped,
    PeersTold,
    PieceWhole,
    SwarmCompleted,
    SwarmEvent,
    TorrentKnown,
    TorrentUnusable,
)
from librats.bittorrent.magnet import Magnet
from librats.bittorrent.messages import Handshake
from librats.bittorrent.metainfo import Torrent
from librats.bittorrent.peer_telling import listens_at, wants_nothing
from librats.bittorrent.swarm import Swarm
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.errors import ClosedError, RatsError, StoreError, TransferError
from librats.runtime.tasks import TaskSet
from librats.services.torrenting.choosing import Choosing
from librats.services.torrenting.disk import DiskWorkers
from librats.services.torrenting.door import Door
from librats.services.torrenting.keeping import Keeping, peers_to_keep
from librats.services.torrenting.meeting import Meetings
from librats.services.torrenting.outcome import Outcome
from librats.services.torrenting.progress import TorrentPeer, TorrentProgress, TorrentStatus
from librats.services.torrenting.resume import ResumeFile
from librats.services.torrenting.stock import Stock
from librats.services.torrenting.storing import Stored
from librats.services.torrenting.throttling import Limits
from librats.services.torrenting.wire import PeerWire
from librats.types import Address

if TYPE_CHECKING:
    from librats.bittorrent.peer import PeerLink
    from librats.bittorrent.selection import Choice
    from librats.services.torrenting.dialling import Dialler

__all__ = ["Download"]

logger = logging.getLogger("librats.torrent")


class Download:
    """A torrent that is downloaded, seeded, or both. Made by :meth:`librats.torrents.TorrentClient.add`."""

    def __init__(
        self,
        magnet: Magnet,
        folder: Path,
        settings: SwarmSettings,
        *,
        workers: DiskWorkers,
        dialler: Dialler,
        torrent: Torrent | None,
        resume: ResumeFile | None,
        choosing: Choosing,
        limits: Limits,
        is_trusted: bool,
    ) -> None:
        self.now = asyncio.get_running_loop().time
        self._magnet = magnet
        self._folder = folder
        self.door = Door(self, settings)
        self._workers = workers
        self._dialler = dialler
        self._keeping = Keeping(resume, workers, self.now())
        self._choosing = choosing
        self.limits = limits
        """How much comes and goes at most."""
        self._is_trusted = is_trusted
        self._known = torrent
        self.swarm: Swarm
        """The machine."""
        self._stock: Stock | None = None
        self._wires: dict[Hashable, PeerWire] = {}
        self.candidates = Candidates()
        """Addresses to dial."""
        self._meetings = Meetings()
        self._tasks = TaskSet()
        self._outcome = Outcome()
        self._changed = asyncio.Event()
        self._wanting = asyncio.Event()
        self._status: TorrentStatus = "metadata"
        self._settling = False

    # What applications call

    @property
    def name(self) -> str:
        """Name of the file or folder; of a magnet link what it says, until the torrent is there."""
        return self.torrent.name if self.torrent is not None else self._magnet.name

    @property
    def torrent(self) -> Torrent | None:
        """The torrent; None while it is not there."""
        return self.swarm.torrent

    @property
    def magnet(self) -> Magnet:
        """The magnet link for it."""
        return self.torrent.magnet() if self.torrent is not None else self._magnet

    @property
    def path(self) -> Path | None:
        """Where the file or folder is; None while that is not known."""
        return self._folder.joinpath(self.torrent.name) if self.torrent is not None else None

    @property
    def progress(self) -> TorrentProgress:
        """How far it is now."""
        return TorrentProgress.of(self.swarm, self._choosing, self._status, self._wires.values())

    @property
    def peers(self) -> list[TorrentPeer]:
        """Those that it is connected with now."""
        return [TorrentPeer.of(wire.link, wire.method) for wire in self._wires.values() if wire.link is not None]

    async def updates(self) -> AsyncIterator[TorrentProgress]:
        """Yield how far it is, about once a second, until all is there or it is closed; that, too."""
        while True:
            progress = self.progress
            yield progress
            if progress.status in {"seeding", "failed", "closed"}:
                return
            self._changed.clear()
            await self._changed.wait()

    async def wait(self) -> None:
        """Wait until all that is wanted is there, checked, and on the disk.

        Raises:
            StoreError: It cannot be written.
            TransferError: It is no torrent that is taken.
            UsageError: It has none of the files that were chosen before it was there.
            ClosedError: It was removed before.
        """
        await self._outcome.wait()

    def add_peers(self, addresses: Iterable[Address]) -> int:
        """Dial peers; return how many are new."""
        return self._add_peers(addresses)

    def pause(self) -> None:
        """Ask for nothing and give nothing, until :meth:`go_on`."""
        self.swarm.pause()
        if self._status in {"downloading", "seeding"}:
            self._set_status("paused")
        self.settle()

    def go_on(self) -> None:
        """End a pause, or try again after a failure, as of the disk."""
        self._outcome.try_again()
        if self._status == "failed" and self.swarm.picker is None and self.torrent is not None:
            self._set_status("checking")
            self._tasks.create(self._begin(self.torrent), name="torrent check")
        if self._status == "failed" and self.swarm.is_complete:
            self._tasks.create(self._finish(), name="torrent finish")
        elif self._status in {"paused", "failed"} and self.swarm.picker is not None:
            self._set_status("seeding" if self.swarm.is_complete else "downloading")
        self.swarm.go_on(self.now())
        self.settle()

    @property
    def download_limit(self) -> float | None:
        """Bytes of blocks that come a second at most; None for no limit but that of the client. May be set."""
        return self.limits.down_gate.limit

    @download_limit.setter
    def download_limit(self, rate: float | None) -> None:
        self.limits.down_gate.limit = rate
        self.heed_limits()

    @property
    def upload_limit(self) -> float | None:
        """Bytes of blocks that go a second at most; None for no limit but that of the client. May be set."""
        return self.limits.up_gate.limit

    @upload_limit.setter
    def upload_limit(self, rate: float | None) -> None:
        self.limits.up_gate.limit = rate
        self.limits.up.arm()

    async def choose(self, files: Iterable[Choice] | None) -> None:
        """Want other files of it from now on. What is there already stays, and is given as before.

        Args:
            files: As for :meth:`librats.torrents.TorrentClient.add`; None for all of them.

        Raises:
            UsageError: The torrent has no such file. Where it is not there yet, :meth:`wait` raises that later.
            StoreError: Files that are wanted now cannot be made.
        """
        torrent = self.torrent
        selection = self._choosing.change(files, None if torrent is None else torrent.layout)
        stock = self._stock
        if stock is None or selection is None:
            return
        await self._workers.run(stock.files.choose, selection)
        picker = self.swarm.picker
        if picker is None or self.is_closed:
            return  # it is begun with that, once what is there was looked at
        self._choosing.count(picker.have)
        was_complete = self.swarm.is_complete
        self.swarm.want(bytearray(selection.pieces), self.now())
        if was_complete and not self.swarm.is_complete:
            self._outcome.begin_again()
            if self._status == "seeding":
                self._set_status("downloading")
            self.candidates.hurry(self.now())
            self._wanting.set()
            self._dialler.tell_trackers(self)
        elif was_complete:
            await self._workers.run(stock.files.finish)
        self._changed.set()
        self.settle()
        self._dialler.wake(self)

    async def wait_for_want(self) -> None:
        """Wait until something is wanted: once what is there is known, or other files are chosen."""
        while self.swarm.picker is None or self.swarm.is_complete:
            self._wanting.clear()
            await self._wanting.wait()

    # Life

    def heed_limits(self) -> None:
        """Take note that what comes at most is something else now."""
        self.limits.heed(self.swarm)

    async def start(self) -> None:
        """Begin."""
        network = self._dialler.network
        before = await self._keeping.load(self._magnet.info_hash)
        known = self._known or (before.torrent if before is not None else None)
        self.swarm = Swarm(self._magnet, self.door.settings, network.entropy, now=self.now(), torrent=known)
        if before is not None:
            self.swarm.downloaded, self.swarm.uploaded = before.downloaded, before.uploaded
            self.candidates.add(before.peers, self.now())
        self.heed_limits()
        self._tasks.create(self._tick(), name="torrent ticks")
        self.settle()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(max(0.0, self.swarm.next_time - self.now()))
            self.swarm.handle_timer(self.now())
            self.settle()
            self._dialler.wake(self)
            self._changed.set()
            if self._keeping.is_due(self.now()) and self._status == "downloading":
                await self._save(peers_to_keep(self.swarm))

    async def close(self) -> None:
        """End every connection, and keep what is to be known next time."""
        if self.is_closed:
            return
        self._set_status("closed")
        peers = peers_to_keep(self.swarm)
        for wire in list(self._wires.values()):
            wire.close("the torrent is closed")
        await self._tasks.close()
        await self._save(peers)
        if self._stock is not None:
            self._stock.files.close()
        error = self._outcome.close(ClosedError("the torrent was closed before all of it was there"))
        if error is not None:
            logger.debug("%s ends: %s", self.name, error)

    async def remove_resume(self) -> None:
        """Forget what was kept for the next time."""
        await self._keeping.remove(self._stock)

    async def _save(self, peers: Iterable[Address]) -> None:
        await self._keeping.save(self.swarm, self._stock, peers, self.now())

    def _set_status(self, status: TorrentStatus) -> None:
        if self._status != "closed":
            self._status = status
        self._changed.set()

    def _fail(self, error: RatsError) -> None:
        logger.error("%s: %s", self.name, error)
        self.swarm.pause()
        self._set_status("failed")
        self._outcome.fail(error)

    def _fail_of(self, error: Exception) -> None:
        self._fail(error if isinstance(error, RatsError) else StoreError(self._folder, str(error)))

    @property
    def traffic(self) -> tuple[int, int]:
        """Bytes that were had and given since it was begun: what was before a restart, trackers were told then."""
        return self._keeping.traffic(self.swarm)

    # Connections

    @property
    def wants_peers(self) -> bool:
        """Whether it dials: not while it is paused. What has everything dials those that lack something."""
        return self._status in {"metadata", "downloading", "seeding"} and not self.swarm.is_paused

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._wires)

    @property
    def has_room(self) -> bool:
        """Whether one connection more may be taken."""
        return self._dialler.has_room(self)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._status == "closed"

    def enter(self, wire: PeerWire, handshake: Handshake) -> PeerLink:
        """Take a peer in."""
        link = self.swarm.add_peer(
            handshake, wire.address, is_outgoing=wire.is_outgoing, now=self.now(), is_utp=wire.is_utp
        )
        self._wires[link.key] = wire
        self._meetings.met(wire.address)
        return link

    def leave(self, wire: PeerWire) -> None:
        """Take note that a connection is gone."""
        others = any(other is not wire and other.address == wire.address for other in self._wires.values())
        if wire.link is not None:
            self.candidates.lose(listens_at(wire.link) or wire.address, self.now(), is_seed=wants_nothing(wire.link))
        elif others:
            pass  # both have dialled, and one connection was too many
        elif wire.is_outgoing and not (wire.is_unheard and self._dialler.turn(self, wire)):
            self.candidates.fail(wire.address, self.now())
        self.limits.forget(wire)
        if wire.link is not None and self._wires.pop(wire.link.key, None) is not None:
            self.swarm.remove_peer(wire.link, self.now())
            self.settle()
        self._dialler.wake(self)

    def _take_told(self, event: PeersTold) -> None:
        self._meetings.told(event)
        self._add_peers(event.addresses, event.encrypted, event.seeds)

    def _add_peers(
        self, addresses: Iterable[Address], encrypted: Collection[Address] = (), seeds: Collection[Address] = ()
    ) -> int:
        added = self.candidates.add(addresses, self.now(), encrypted=encrypted, seeds=seeds)
        self._dialler.wake(self)
        return added

    def fail_to_dial(self, address: Address) -> None:
        """Take note that a peer was not reached: whoever told of it is asked, once, to bring us together (BEP 55)."""
        self.candidates.fail(address, self.now())
        if self._meetings.ask(address, self._wires):
            self.settle()

    async def meet(self, address: Address) -> bool:
        """Meet a peer that nobody is known to have reached before it is dialled in vain; return whether we have."""
        if not self._meetings.is_unreached(address) or not self._meetings.ask(address, self._wires):
            return False
        self.settle()
        return await self._meetings.wait(address)

    def listen_at(self, port: int, port_ipv6: int) -> None:
        """Have peers told that we are reached at another port from now on; see :meth:`.Swarm.listen_at`."""
        self.swarm.listen_at(port, port_ipv6)
        self.settle()

    # What the machine says

    def settle(self) -> None:
        """Do what the machine asks for, and send what it has to say."""
        if self._settling:
            return  # what comes of it is seen to by whoever is at it
        self._settling = True
        try:
            swarm = self.swarm
            while True:
                for event in swarm.events():
                    self._take_event(event)
                if swarm.waiting:
                    self.limits.await_turns(swarm, self.settle)
                unsent, swarm.unsent = swarm.unsent, {}
                for key in unsent:
                    if key in self._wires:
                        self._wires[key].flush()
                if not swarm.unsent:
                    return
        finally:
            self._settling = False

    def _take_event(self, event: SwarmEvent) -> None:
        match event:
            case PieceWhole() if self._stock is not None:
                self._stock.storing.add(event.started)
            case HashesAsked() if self._stock is not None:
                self._stock.hashing.ask(event, self._tasks)
            case PeersTold():
                self._take_told(event)
            case PeerDropped():
                if event.is_lying:
                    self.candidates.ban(event.link.address)
                if event.link.key in self._wires:
                    self._wires[event.link.key].close(event.reason)
            case TorrentKnown():
                self._tasks.create(self._begin(event.torrent), name="torrent check")
            case TorrentUnusable():
                self._fail(TransferError("bad_offer", event.reason))
            case SwarmCompleted():
                self._tasks.create(self._finish(), name="torrent finish")
            case HolepunchAsked():
                self._dialler.punch(self, event.address)
            case DhtNodeTold():
                self._dialler.take_dht_node(event.address)

    async def _begin(self, torrent: Torrent) -> None:
        """Look at what is there, and begin."""
        self._set_status("checking")
        try:
            stock = self._stock = Stock(
                torrent,
                self._folder,
                self._choosing.begin(torrent.layout),
                self._workers,
                on_failure=self._fail_of,
                on_hashes=self._give_hashes,
                on_stored=self._stored,
                limits=self.limits,
            )
            have = await stock.look(self._keeping.before, self._checked, is_trusted=self._is_trusted)
        except RatsError as error:
            self._fail(error)
            return
        self._choosing.count(have)
        self._set_status("paused" if self.swarm.is_paused else "downloading")
        self.swarm.begin(have, self.now(), wanted=bytearray(self._choosing.selection.pieces))
        self._wanting.set()
        self.settle()
        self._dialler.wake(self)

    def _checked(self, piece: int, is_right: bool) -> None:
        self._choosing.check(piece, is_right)
        self._changed.set()

    def _stored(self, some: Sequence[Stored]) -> None:
        if self.is_closed:
            return
        for started, found in some:
            if isinstance(found, Exception):
                self.swarm.put_back(started.piece)
                if self._outcome.failure is None:  # one of them tells for all
                    self._fail_of(found)
                continue
            if found:
                self._choosing.add(started.piece)
            else:
                self.swarm.wasted += started.asked_size
            self.swarm.end_piece(started.piece, self.now(), is_right=found)
        self.settle()

    async def _finish(self) -> None:
        if self._stock is None:
            return
        try:
            await self._workers.run(self._stock.files.finish)
        except StoreError as error:
            self._fail(error)
            return
        if not self.swarm.is_complete:
            return  # other files were chosen meanwhile
        if self._status != "paused":
            self._set_status("seeding")
        await self._save(peers_to_keep(self.swarm))
        self._dialler.tell_trackers(self)
        self._outcome.succeed()

    # Giving

    def _give_hashes(self, asked: HashesAsked, leaves: bytes | None) -> None:
        self.swarm.give_hashes(asked.link, asked.request, leaves)
        self.settle()

    def serve(self, wire: PeerWire) -> None:
        """Give a peer what it asks for, as far as it is read and the channel takes it."""
        if self._stock is not None:
            self._stock.giving.serve(wire)
