"""A client of BitTorrent: torrents that are downloaded and seeded over one port."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from librats.bittorrent.names import KEPT_FOLDER
from librats.bittorrent.selection import Choice
from librats.bittorrent.swarm_settings import SwarmSettings
from librats.errors import ConfigError, UsageError
from librats.runtime.network import Network, current_network
from librats.runtime.tcp import TcpListener
from librats.services.torrenting.choosing import Choosing
from librats.services.torrenting.dht_nodes import DhtNodes
from librats.services.torrenting.dialling import Dialler
from librats.services.torrenting.disk import DiskWorkers
from librats.services.torrenting.download import Download
from librats.services.torrenting.encryption import EncryptionRules, find_obfuscated
from librats.services.torrenting.finding import Finding
from librats.services.torrenting.local_seeking import LocalSeeking, may_seek_locally
from librats.services.torrenting.outside import OuterPorts, ReachedAt
from librats.services.torrenting.resume import ResumeFile
from librats.services.torrenting.scraping import TrackerCounts, scrape_trackers
from librats.services.torrenting.seeking import DhtNode
from librats.services.torrenting.sources import Source, read_source
from librats.services.torrenting.throttling import Limits, Throttle
from librats.services.torrenting.wire import RECEIVE_BUFFER, PeerWire, StreamChannel
from librats.services.utp import UtpSocket
from librats.types import Address, MappedTransport, PortMapping

__all__ = ["MAX_STRANGERS", "PEER_ID_PREFIX", "TorrentClient"]

logger = logging.getLogger("librats.torrent")

PEER_ID_PREFIX: Final = b"-RB0100-"
"""What our peer ids begin with (BEP 20)."""

MAX_STRANGERS: Final = 100
"""Connections at most that have not said which torrent they are about."""

PEER_ID_SIZE = 20
PORT_TRIES = 16
SCRAPE_TIMEOUT: Final = 10.0


class TorrentClient:
    """Downloads and seeds torrents.

    Args:
        listen_port: TCP and UDP port; 0 picks one.
        listen_host: IP address; empty for every interface.
        dht: A running node of the DHT, as ``client.dht``; None for none.
        max_peers: Connections of all torrents together.
        upload_slots: Peers of each torrent that are served at once.
        transports: ``"tcp"`` and ``"utp"``, or one of them; over uTP (BEP 29) it gives way to all other traffic.
        encryption: Whether connections are encrypted (message stream encryption), which hides them from those who only
            look at bytes: ``"allow"`` takes what comes, and dials with it where a peer asks for it or says nothing
            without it; ``"prefer"`` begins with it; ``"require"`` has no other connections; ``"off"`` has none. It
            needs the package ``cryptography``.
        lsd: Whether to tell the local network by multicast which torrents are here, private ones aside, and to dial
            those there that have them, too (Local Service Discovery, BEP 14). A client on the loopback does neither.
        port_mapping: Whether to have gateways let others in at the port (PCP, NAT-PMP, UPnP), as a
            :class:`librats.RatsClient` does. Peers, trackers and the DHT are told what port it is outside.
        download_limit: Bytes of blocks that come a second at most, of all torrents together; None for no limit.
        upload_limit: Bytes of blocks that go a second at most, likewise.

    Raises:
        UsageError: An argument cannot be, or encryption is wanted without that package.

    Example:
        >>> import asyncio
        >>> from librats.torrents import TorrentClient
        >>> async def main():
        ...     async with TorrentClient(listen_host="127.0.0.1") as client:
        ...         return client.listen_port > 0, list(client.downloads)
        >>> asyncio.run(main())
        (True, [])
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        listen_port: int = 0,
        *,
        listen_host: str = "",
        dht: DhtNode | None = None,
        max_peers: int = 200,
        upload_slots: int = 8,
        transports: Sequence[str] = ("tcp", "utp"),
        encryption: str = "allow",
        lsd: bool = True,
        port_mapping: bool = True,
        download_limit: float | None = None,
        upload_limit: float | None = None,
    ) -> None:
        if not transports or not set(transports) <= {"tcp", "utp"}:
            raise UsageError('transports are "tcp" and "utp", or one of them')
        for name, number, least in (("max_peers", max_peers, 1), ("upload_slots", upload_slots, 0)):
            if type(number) is not int or number < least:
                raise UsageError(f"{name} is a whole number from {least} on")
        self._transports = frozenset(transports)
        self.encryption = EncryptionRules(encryption)
        """What is done about encryption."""
        self._host, self._port = listen_host, listen_port
        self._dht = dht
        self._dht_nodes: DhtNodes | None = None
        self._max_peers = max_peers
        self._slots = upload_slots
        self.receive_buffer = memoryview(bytearray(RECEIVE_BUFFER))
        """Where all connections receive into, one after the other."""
        self._listener: TcpListener | None = None
        self._utp: UtpSocket | None = None
        self._workers = DiskWorkers()
        self._dialler: Dialler | None = None
        self._peer_id = b""
        self._downloads: dict[bytes, Download] = {}
        self._beginning: set[bytes] = set()
        self._finding: Finding | None = None
        self._lsd = lsd
        self._maps = port_mapping
        self._outer: OuterPorts | None = None
        self._strangers: dict[PeerWire, None] = {}
        self._limits = Limits(Throttle(), Throttle(), common=True)
        self._limits.down_gate.limit, self._limits.up_gate.limit = download_limit, upload_limit

    async def __aenter__(self) -> TorrentClient:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close it."""
        await self.close()

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address or port cannot be listened on.
        """
        network = current_network()
        self._peer_id = PEER_ID_PREFIX + network.entropy.token_bytes(PEER_ID_SIZE - len(PEER_ID_PREFIX))
        self.encryption.entropy = network.entropy
        if self._dht is not None:
            self._dht_nodes = DhtNodes(self._dht, asyncio.get_running_loop().time)
        await self._listen(network)
        self._dialler = Dialler(
            network,
            self,
            tcp="tcp" in self._transports,
            utp=self._utp,
            max_peers=self._max_peers,
            on_news=self._tell_trackers,
            on_dht_node=self._take_dht_node,
        )
        hosts = [address.host for address in self._listening[0]]
        local = None
        if self._lsd and may_seek_locally(network):
            port = self._listener.port if self._listener is not None else 0
            local = LocalSeeking(network.entropy, hosts, port, self.find, self._dialler.wake)
        families = {":" in host for host in hosts}
        self._finding = Finding(network, self._peer_id, families, lambda: self._ports, dht=self._dht, local=local)
        self._outer = OuterPorts(network, self._tell_port)
        self._outer.start(*self._listening, maps=self._maps)

    @property
    def _listening(self) -> tuple[list[Address], list[MappedTransport]]:
        """Where it listens, and for what."""
        tcp, utp = self._listener, self._utp
        addresses = tcp.addresses if tcp is not None else utp.local_addresses if utp is not None else []
        open_ = {MappedTransport.TCP: tcp, MappedTransport.UDP: utp}
        return addresses, [transport for transport, socket in open_.items() if socket is not None]

    async def _listen(self, network: Network) -> None:
        """Listen on the same port of TCP and UDP; on TCP alone where a port was asked for whose UDP half is taken."""
        tries = PORT_TRIES
        while True:
            if "tcp" in self._transports:
                self._listener = await network.listen_tcp(self._accept, self._host, self._port)
            if "utp" not in self._transports:
                return
            port = self._listener.port if self._listener is not None else self._port
            tries -= 1
            try:
                self._utp = await UtpSocket.open(self._host, port, accept=self._accept, network=network)
            except ConfigError as error:
                if self._listener is None:
                    raise
                if self._port or not tries:
                    logger.warning("no connections over uTP: %s", error)
                    return
                self._listener.close()
            else:
                return

    async def close(self) -> None:
        """Tell the trackers that we go, end every connection, and keep what is there for the next time. Idempotent."""
        if self._listener is not None:
            self._listener.close()
        for wire in list(self._strangers):
            wire.close("the client is closed")
        ending = [self._end(download) for download in list(self._downloads.values())]
        await asyncio.gather(*ending, *([self._outer.close()] if self._outer is not None else []))
        if self._finding is not None:
            await self._finding.close()
        if self._dht_nodes is not None:
            await self._dht_nodes.close()
        self._limits.down.close()
        self._limits.up.close()
        if self._dialler is not None:
            await self._dialler.close()
        await self._workers.close()
        if self._utp is not None:
            self._utp.close()
        self._listener = self._dialler = self._utp = self._outer = self._finding = None

    @property
    def listen_port(self) -> int:
        """The port that it listens on; see :meth:`port_mappings` for what a gateway makes of it."""
        if self._listener is not None:
            return self._listener.port
        return self._utp.local_address.port if self._utp is not None else 0

    def port_mappings(self) -> list[PortMapping]:
        """Return the ports that gateways let peers in at. They are asked for by :meth:`start`, which waits for none."""
        return self._outer.mappings if self._outer is not None else []

    @property
    def download_limit(self) -> float | None:
        """Bytes of blocks that come a second at most, of all torrents together; None for no limit. May be set."""
        return self._limits.down_gate.limit

    @download_limit.setter
    def download_limit(self, rate: float | None) -> None:
        self._limits.down_gate.limit = rate
        for download in self._downloads.values():
            download.heed_limits()

    @property
    def upload_limit(self) -> float | None:
        """Bytes of blocks that go a second at most, of all torrents together; None for no limit. May be set."""
        return self._limits.up_gate.limit

    @upload_limit.setter
    def upload_limit(self, rate: float | None) -> None:
        self._limits.up_gate.limit = rate
        self._limits.up.arm()

    @property
    def downloads(self) -> Mapping[bytes, Download]:
        """The torrents by info-hash, 20 bytes."""
        return MappingProxyType(self._downloads)

    async def add(
        self,
        source: Source,
        folder: str | Path = ".",
        *,
        files: Iterable[Choice] | None = None,
        download_limit: float | None = None,
        upload_limit: float | None = None,
        peers: Iterable[Address | str] = (),
        web_seeds: Iterable[str] = (),
        trusted: bool = False,
        resume: bool = True,
    ) -> Download:
        """Begin to download a torrent, or to seed it where its files are there.

        Args:
            source: A torrent, its bytes, the path of its file, or a magnet link.
            folder: Where its file or folder is to be.
            files: Those to download, by their numbers in the torrent, from 0 on, or by their paths, with or without the
                torrent's own name before them; that of a folder stands for all in it. None for those that a magnet link
                names (BEP 53), or all. Of the others nothing is made; see :meth:`.Download.choose`.
            download_limit: Bytes of it that come a second at most; None for no limit but that of the client.
            upload_limit: Bytes of it that go a second at most; likewise.
            peers: Peers to begin with, next to those of trackers and the DHT.
            web_seeds: URLs that serve the files over HTTP (BEP 19), next to those that the torrent names. These alone
                may lead to this machine or a private network.
            trusted: Take the files for whole and right without reading them: for those that were just hashed.
            resume: Keep what is there for the next time, in ``.librats`` in that folder.

        Raises:
            UsageError: The client does not run, has that torrent already, a limit cannot be, or the torrent has no such
                file. Of a magnet link the last is raised by :meth:`.Download.wait`.
            DecodeError: The source is no torrent and no magnet link.
            StoreError: The file cannot be read.
            ConfigError: One of the peers is no address.
        """
        dialler, finding = self._dialler, self._finding
        if dialler is None or finding is None:
            raise UsageError("the client does not run")
        torrent, magnet = await read_source(source, self._workers)
        choosing = Choosing(files, magnet.files)
        if torrent is not None:
            choosing.begin(torrent.layout)
        if trusted and files is not None:
            raise UsageError("files that are trusted are all there: none of them can be chosen")
        known = [Address.parse(peer) if isinstance(peer, str) else peer for peer in (*magnet.peers, *peers)]
        if magnet.info_hash in self._downloads or magnet.info_hash in self._beginning:
            raise UsageError("that torrent is here already")
        limits = Limits(self._limits.down, self._limits.up)
        limits.down_gate.limit, limits.up_gate.limit = download_limit, upload_limit
        where = Path(folder)
        name = f"{magnet.info_hash.hex()}.resume"
        download = Download(
            magnet,
            where,
            self._settings(),
            workers=self._workers,
            dialler=dialler,
            torrent=torrent,
            resume=ResumeFile(where / KEPT_FOLDER / name) if resume and not trusted else None,
            choosing=choosing,
            limits=limits,
            is_trusted=trusted,
        )
        self._beginning.add(magnet.info_hash)  # no peer finds it before it can answer
        try:
            await download.start()
        finally:
            self._beginning.discard(magnet.info_hash)
        if self._dialler is not dialler:
            await download.close()
            raise UsageError("the client was closed meanwhile")
        self._downloads[magnet.info_hash] = download
        download.listen_at(*self._ports)  # it may have changed meanwhile
        dialler.add(download)
        finding.add(download, magnet, torrent, choosing, web_seeds)
        download.add_peers(known)
        return download

    async def remove(self, download: Download) -> None:
        """Let a torrent go. Its files stay; what was kept to resume it goes."""
        await self._end(download)
        await download.remove_resume()

    async def scrape(self, source: Source, *, timeout: float = SCRAPE_TIMEOUT) -> list[TrackerCounts]:
        """Ask the trackers of a torrent how many peers it has (BEP 15, 48). No part is taken in it by that.

        All are asked at once, by IPv4 and IPv6, and about both hashes of a hybrid. The client need not run.

        Args:
            source: As for :meth:`add`.
            timeout: Seconds until who has not answered is told as one that does not.

        Returns:
            For each tracker what it counts, or why it does not tell, in the order of the torrent.

        Raises:
            UsageError: The torrent names no tracker, or the timeout is none.
            DecodeError: The source is no torrent and no magnet link.
            StoreError: The file cannot be read.

        Example:
            >>> import asyncio
            >>> from librats.torrents import TorrentClient
            >>> link = "magnet:?xt=urn:btih:" + 40 * "a" + "&tr=http://tracker.example/a"
            >>> for told in asyncio.run(TorrentClient().scrape(link)):
            ...     print(told.tracker, told.seeds, told.error)
            http://tracker.example/a None it cannot be scraped: there is no /announce in its URL
        """
        if not 0 < timeout < math.inf:
            raise UsageError("the timeout of a scrape is a number of seconds above 0")
        _, magnet = await read_source(source, self._workers)
        if not magnet.trackers:
            raise UsageError("the torrent names no tracker")
        return await scrape_trackers(current_network(), magnet.trackers, magnet.info_hashes, timeout)

    # Within

    @property
    def _ports(self) -> ReachedAt:
        """The ports that peers are told."""
        return self._outer.told if self._outer is not None else ReachedAt(self.listen_port, self.listen_port)

    def _tell_port(self) -> None:
        """Tell peers that they reach us at another port than before, and soon trackers and the DHT."""
        logger.info("peers reach us at port %s", self._ports.ipv4)
        for download in self._downloads.values():
            download.listen_at(*self._ports)
        if self._finding is not None:
            self._finding.tell_ports()

    def _settings(self) -> SwarmSettings:
        return SwarmSettings(
            peer_id=self._peer_id,
            port=self._ports.ipv4,
            port_ipv6=self._ports.ipv6,
            dht_port=self._dht.listen_port if self._dht is not None else 0,
            version="librats",
            upload_slots=self._slots,
            wants_encryption=self.encryption.is_asked_for,
        )

    async def _end(self, download: Download) -> None:
        info_hash = next((key for key, value in self._downloads.items() if value is download), None)
        if info_hash is None:
            return
        del self._downloads[info_hash]
        if self._finding is not None:
            await self._finding.remove(download)
        if self._dialler is not None:
            self._dialler.remove(download)
        await download.close()

    def _tell_trackers(self, download: Download) -> None:
        if self._finding is not None:
            self._finding.tell_trackers(download)

    def _take_dht_node(self, address: Address) -> None:
        if self._dht_nodes is not None:
            self._dht_nodes.told(address)

    def _accept(self) -> StreamChannel:
        return StreamChannel(self)

    def find(self, info_hash: bytes) -> Download | None:
        """Return the torrent that a peer asks for; None where it is not here."""
        download = self._downloads.get(info_hash)
        if download is not None:
            return download
        return next((other for other in self._downloads.values() if other.door.knows(info_hash)), None)

    def find_obfuscated(self, wanted: bytes) -> bytes | None:
        """Return the info-hash that an encrypted connection is for; None where it is not here."""
        known = (info_hash for download in self._downloads.values() for info_hash in download.door.info_hashes)
        return find_obfuscated(known, wanted)

    def meet(self, wire: PeerWire) -> None:
        """Take note of a connection whose torrent is not known yet; of too many, the oldest one ends."""
        self._strangers[wire] = None
        if len(self._strangers) > MAX_STRANGERS:
            oldest = next(iter(self._strangers))
            self.forget(oldest)
            oldest.close("too many that say nothing")

    def forget(self, wire: PeerWire) -> None:
        """Take note that a connection has found its torrent, or is gone."""
        self._strangers.pop(wire, None)
