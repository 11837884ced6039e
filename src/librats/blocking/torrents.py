"""BitTorrent for code without asyncio: the client of :mod:`librats.torrents`, whose verbs wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from librats.bittorrent.selection import Choice
from librats.blocking.bridge import Bridge
from librats.blocking.dht import DhtHandle
from librats.runtime.offload import run_in_thread
from librats.torrents import Download as AsyncDownload
from librats.torrents import Magnet, Torrent, TorrentPeer, TorrentProgress, TrackerCounts
from librats.torrents import TorrentClient as AsyncClient
from librats.types import Address, PortMapping

__all__ = ["Download", "TorrentClient"]


class _Dht:
    """A node that runs on the loop of another client: it is asked on a thread."""

    def __init__(self, handle: DhtHandle) -> None:
        self._handle = handle

    @property
    def listen_port(self) -> int:
        return self._handle.listen_port

    async def ping(self, address: Address, *, timeout: float | None = None) -> object:
        return await run_in_thread(lambda: self._handle.ping(address, timeout=timeout))

    async def find_peers(self, info_hash: bytes, *, timeout: float | None = None) -> list[Address]:
        return await run_in_thread(lambda: self._handle.find_peers(info_hash, timeout=timeout))

    async def announce(self, info_hash: bytes, port: int | None = None, *, timeout: float | None = None) -> int:
        return await run_in_thread(lambda: self._handle.announce(info_hash, port, timeout=timeout))


class Download:
    """A torrent that is downloaded or seeded; see :class:`librats.torrents.Download`. Comes from the client."""

    def __init__(self, download: AsyncDownload, bridge: Bridge) -> None:
        self._download = download
        self._bridge = bridge

    @property
    def name(self) -> str:
        """Name of the file or folder; of a magnet link what it says, until the torrent is there."""
        return self._bridge.call(lambda: self._download.name)

    @property
    def torrent(self) -> Torrent | None:
        """The torrent; None while it is not there."""
        return self._bridge.call(lambda: self._download.torrent)

    @property
    def magnet(self) -> Magnet:
        """The magnet link for it."""
        return self._bridge.call(lambda: self._download.magnet)

    @property
    def path(self) -> Path | None:
        """Where the file or folder is; None while that is not known."""
        return self._bridge.call(lambda: self._download.path)

    @property
    def progress(self) -> TorrentProgress:
        """How far it is now."""
        return self._bridge.call(lambda: self._download.progress)

    @property
    def peers(self) -> list[TorrentPeer]:
        """Those that it is connected with now."""
        return self._bridge.call(lambda: self._download.peers)

    def updates(self) -> Iterator[TorrentProgress]:
        """Yield how far it is, about once a second; see :meth:`librats.torrents.Download.updates`."""
        seen: AsyncIterator[TorrentProgress] = self._download.updates()

        async def following() -> TorrentProgress | None:
            return await anext(seen, None)

        while (progress := self._bridge.wait(following)) is not None:
            yield progress

    def wait(self) -> None:
        """Wait until all that is wanted is there; see :meth:`librats.torrents.Download.wait`."""
        self._bridge.wait(self._download.wait)

    def add_peers(self, addresses: Iterable[Address]) -> int:
        """Dial peers; return how many are new."""
        return self._bridge.call(self._download.add_peers, list(addresses))

    @property
    def download_limit(self) -> float | None:
        """Bytes that come a second at most; None for no limit but that of the client. May be set."""
        return self._download.download_limit

    @download_limit.setter
    def download_limit(self, rate: float | None) -> None:
        self._bridge.call(setattr, self._download, "download_limit", rate)

    @property
    def upload_limit(self) -> float | None:
        """Bytes that go a second at most; None for no limit but that of the client. May be set."""
        return self._download.upload_limit

    @upload_limit.setter
    def upload_limit(self, rate: float | None) -> None:
        self._bridge.call(setattr, self._download, "upload_limit", rate)

    def choose(self, files: Iterable[Choice] | None) -> None:
        """Want other files of it from now on; see :meth:`librats.torrents.Download.choose`."""
        self._bridge.wait(self._download.choose, files)

    def pause(self) -> None:
        """Ask for nothing and give nothing, until :meth:`go_on`."""
        self._bridge.call(self._download.pause)

    def go_on(self) -> None:
        """End a pause, or try again after a failure of the disk."""
        self._bridge.call(self._download.go_on)


class TorrentClient:
    """Downloads and seeds torrents; see :class:`librats.torrents.TorrentClient`.

    Args:
        listen_port: TCP and UDP port; 0 picks one.
        listen_host: IP address; empty for every interface.
        dht: A running node of the DHT: ``client.dht`` of a blocking client; None for none.
        max_peers: Connections of all torrents together.
        upload_slots: Peers of each torrent that are served at once.
        transports: ``"tcp"`` and ``"utp"``, or one of them.
        encryption: ``"off"``, ``"allow"``, ``"prefer"`` or ``"require"``.
        lsd: Whether to tell the local network which torrents are here, and to dial those there that have them (BEP 14).
        port_mapping: Whether to have gateways let others in at the port.
        download_limit: Bytes that come a second at most, of all torrents together; None for no limit.
        upload_limit: Bytes that go a second at most, likewise.

    Example:
        >>> from librats.blocking.torrents import TorrentClient
        >>> with TorrentClient(listen_host="127.0.0.1") as client:
        ...     client.listen_port > 0
        True
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        listen_port: int = 0,
        *,
        listen_host: str = "",
        dht: DhtHandle | None = None,
        max_peers: int = 200,
        upload_slots: int = 8,
        transports: Sequence[str] = ("tcp", "utp"),
        encryption: str = "allow",
        lsd: bool = True,
        port_mapping: bool = True,
        download_limit: float | None = None,
        upload_limit: float | None = None,
    ) -> None:
        self._client = AsyncClient(
            listen_port,
            listen_host=listen_host,
            dht=None if dht is None else _Dht(dht),
            max_peers=max_peers,
            upload_slots=upload_slots,
            transports=transports,
            encryption=encryption,
            lsd=lsd,
            port_mapping=port_mapping,
            download_limit=download_limit,
            upload_limit=upload_limit,
        )
        self._bridge = Bridge()

    def __enter__(self) -> TorrentClient:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def start(self) -> None:
        """Listen; see :meth:`librats.torrents.TorrentClient.start`."""
        self._bridge.open(self._client.start)

    def close(self) -> None:
        """End every connection, and keep what is there for the next time. Idempotent."""
        self._bridge.close(self._client.close)

    @property
    def listen_port(self) -> int:
        """The port that it listens on; see :meth:`port_mappings` for what a gateway makes of it."""
        return self._client.listen_port

    def port_mappings(self) -> list[PortMapping]:
        """Return the ports that gateways let peers in at; see :meth:`librats.torrents.TorrentClient.port_mappings`."""
        return self._bridge.call(self._client.port_mappings)

    @property
    def download_limit(self) -> float | None:
        """Bytes that come a second at most, of all torrents together; None for no limit. May be set while it runs."""
        return self._client.download_limit

    @download_limit.setter
    def download_limit(self, rate: float | None) -> None:
        self._bridge.call(setattr, self._client, "download_limit", rate)

    @property
    def upload_limit(self) -> float | None:
        """Bytes that go a second at most, of all torrents together; None for no limit. May be set while it runs."""
        return self._client.upload_limit

    @upload_limit.setter
    def upload_limit(self, rate: float | None) -> None:
        self._bridge.call(setattr, self._client, "upload_limit", rate)

    @property
    def downloads(self) -> dict[bytes, Download]:
        """The torrents by info-hash, 20 bytes."""
        found = self._bridge.call(lambda: dict(self._client.downloads))
        return {info_hash: Download(download, self._bridge) for info_hash, download in found.items()}

    def add(
        self,
        source: Torrent | Magnet | bytes | str | Path,
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
        """Begin to download or seed a torrent; see :meth:`librats.torrents.TorrentClient.add`."""
        download = self._bridge.wait(
            self._client.add,
            source,
            folder,
            files=None if files is None else [files] if isinstance(files, str) else list(files),
            download_limit=download_limit,
            upload_limit=upload_limit,
            peers=list(peers),
            web_seeds=list(web_seeds),
            trusted=trusted,
            resume=resume,
        )
        return Download(download, self._bridge)

    def remove(self, download: Download) -> None:
        """Let a torrent go; see :meth:`librats.torrents.TorrentClient.remove`."""
        self._bridge.wait(self._client.remove, download._download)

    def scrape(self, source: Torrent | Magnet | bytes | str | Path, *, timeout: float = 10.0) -> list[TrackerCounts]:
        """Ask the trackers of a torrent how many peers it has; see :meth:`librats.torrents.TorrentClient.scrape`."""
        return self._bridge.wait(self._client.scrape, source, timeout=timeout)
