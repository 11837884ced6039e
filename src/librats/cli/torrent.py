"""``librats torrent``: make, look at, download and seed torrents of BitTorrent, and ask their trackers."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats import Address, Identity, NatTraversalConfig, RatsClient, RatsConfig
from librats.cli.arguments import add_command, byte_rate, checked, listen_address, positive
from librats.cli.dht_options import add_bootstrap_option, dht_config
from librats.cli.output import Output, plain
from librats.cli.progress import progress_bar, readable_size
from librats.cli.running import run
from librats.cli.torrent_following import follow, follow_check, stay
from librats.cli.torrent_scraping import SCRAPE_TIMEOUT, scrape
from librats.errors import DecodeError, OperationTimeout, RatsError, StoreError, UsageError
from librats.runtime.tasks import end_all

if TYPE_CHECKING:
    from librats.cli.arguments import Commands
    from librats.torrents import Download, Magnet, Torrent, TorrentClient

__all__ = ["add_parser"]

ANYWHERE = Address("", 0)
SHOWN_FILES = 200
MIN_PIECE = 16_384

EPILOG = """\
examples:
  librats torrent create photos --tracker udp://tracker.example:6969/announce
  librats torrent info photos.torrent
  librats torrent scrape photos.torrent
  librats torrent download photos.torrent --folder ~/Downloads
  librats torrent download "magnet:?xt=urn:btih:..." --peer 192.0.2.7:6881
  librats torrent download photos.torrent --file 0 --file summer/beach.jpg
  librats torrent seed photos.torrent --folder . --upload-limit 500k
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "torrent",
        help="make, download and seed torrents",
        description="Make, look at, download and seed torrents of BitTorrent, and ask their trackers who shares them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_create(actions)
    info = add_command(
        *(actions, "info", _info),
        help="tell what is in a torrent",
        epilog="example:\n  librats torrent info photos.torrent --json\n",
    )
    info.add_argument("source", metavar="TORRENT", help="a torrent file or a magnet link")
    counts = add_command(
        *(actions, "scrape", _scrape),
        help="ask the trackers of a torrent how many peers it has",
        epilog="example:\n  librats torrent scrape photos.torrent --timeout 5\n",
    )
    counts.add_argument("source", metavar="TORRENT", help="a torrent file or a magnet link")
    counts.add_argument(
        "--timeout", type=positive, default=SCRAPE_TIMEOUT, metavar="S", help="seconds that it may take (default: 10)"
    )
    download = add_command(
        *(actions, "download", _download),
        help="download a torrent",
        epilog="example:\n  librats torrent download photos.torrent --folder ~/Downloads\n",
    )
    _add_peer_options(download)
    download.add_argument(
        "--file",
        action="append",
        type=_file_choice,
        metavar="PATH|NUMBER",
        help="download this file alone, or this folder: its path or number as `info` tells them; may be repeated",
    )
    download.add_argument(
        "--web-seed",
        action="append",
        default=[],
        metavar="URL",
        help="a URL that serves the files, next to those in the torrent; may be repeated",
    )
    download.add_argument("--seed", action="store_true", help="seed it afterwards, until the command is stopped")
    download.add_argument("--timeout", type=positive, metavar="S", help="seconds that it may take (default: any)")
    seed = add_command(
        *(actions, "seed", _seed),
        help="give a torrent to whoever wants it, until the command is stopped",
        epilog="example:\n  librats torrent seed photos.torrent --folder .\n",
    )
    _add_peer_options(seed)


def _add_create(actions: Commands) -> None:
    create = add_command(
        *(actions, "create", _create),
        help="make a torrent of a file or folder",
        epilog="example:\n  librats torrent create photos --tracker udp://tracker.example:6969/announce\n",
    )
    create.add_argument("path", type=Path, metavar="PATH", help="the file or folder")
    create.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write it (default: the name of PATH, .torrent)"
    )
    create.add_argument(
        "--kind",
        choices=("v1", "v2", "hybrid"),
        default="hybrid",
        help="version 1 for old programs, 2, or both (default: hybrid)",
    )
    create.add_argument(
        "--piece-length", type=_piece_length, metavar="BYTES", help="a power of two from 16384 on (default: by size)"
    )
    create.add_argument(
        "--tracker", action="append", default=[], metavar="URL", help="a tracker; may be repeated, each in a tier"
    )
    create.add_argument("--web-seed", action="append", default=[], metavar="URL", help="a URL that serves the files")
    create.add_argument("--private", action="store_true", help="peers may be had of the trackers alone")
    create.add_argument("--comment", default="", metavar="TEXT", help="what to say to people")
    create.add_argument("--no-date", action="store_true", help="do not say when it was made")
    create.add_argument("--force", action="store_true", help="replace the file where there is one")


def _add_peer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="TORRENT", help="a torrent file or a magnet link")
    parser.add_argument(
        "--folder", type=Path, default=Path(), metavar="DIR", help="where its file or folder is (default: here)"
    )
    parser.add_argument(
        "--peer",
        action="append",
        type=checked(Address.parse),
        default=[],
        metavar="HOST:PORT",
        help="a peer to begin with; may be repeated",
    )
    parser.add_argument(
        "--listen", type=checked(listen_address), default=ANYWHERE, metavar="HOST:PORT", help="where peers reach it"
    )
    parser.add_argument(
        "--dht",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="find peers in the DHT, and be found there (default: yes)",
    )
    add_bootstrap_option(parser)
    parser.add_argument(
        "--lsd",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="find peers on the local network, and be found there, unless the torrent is private (default: yes)",
    )
    parser.add_argument(
        "--port-mapping",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="have the router let peers in at the port that is listened on (default: yes)",
    )
    parser.add_argument(
        "--download-limit", type=byte_rate, metavar="RATE", help="bytes that come a second at most, as 500k or 2M"
    )
    parser.add_argument(
        "--upload-limit", type=byte_rate, metavar="RATE", help="bytes that go a second at most, as 500k or 2M"
    )
    parser.add_argument(
        "--encryption",
        choices=("off", "allow", "prefer", "require"),
        help="message stream encryption: none, where peers want it, where they take it, nothing else (default: allow)",
    )


def _file_choice(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _piece_length(text: str) -> int:
    number = int(text)
    if number < MIN_PIECE or number & (number - 1):
        raise argparse.ArgumentTypeError(f"no power of two from {MIN_PIECE} on: {text}")
    return number


# Making


def _create(args: argparse.Namespace, output: Output) -> int:
    from librats.torrents import create_torrent, read_torrent  # noqa: PLC0415 - only where it is used

    path: Path = args.path
    name = path.absolute().name
    target: Path = args.output or Path(f"{name}.torrent")
    if target.exists() and not args.force:
        raise UsageError(f"{target} is there already; --force replaces it")
    with contextlib.ExitStack() as shown:
        bars: list[Any] = []

        def tell(done: int, total: int) -> None:
            if not bars:
                bars.append(shown.enter_context(progress_bar(total)))
            bars[0].update(done)

        raw = create_torrent(
            path,
            version=args.kind,
            piece_length=args.piece_length,
            trackers=[[url] for url in args.tracker],
            web_seeds=args.web_seed,
            private=args.private,
            comment=args.comment,
            created=None if args.no_date else int(time.time()),
            on_progress=None if output.as_json else tell,
        )
    torrent = read_torrent(raw)
    try:
        target.write_bytes(raw)
    except OSError as error:
        raise StoreError(target, error.strerror or str(error)) from error
    output.tell(str(torrent.magnet()), torrent=str(target), **_facts(torrent))
    if not output.as_json:
        output.hint(f"{readable_size(torrent.size)} in {torrent.layout.piece_count} pieces, written to {target}")
    return 0


# Looking


def _info(args: argparse.Namespace, output: Output) -> int:
    from librats.torrents import Magnet  # noqa: PLC0415

    source = _read(args.source)
    if isinstance(source, Magnet):
        facts = _magnet_facts(source)
        lines = [f"name          {plain(source.name)}", f"link          {source}"]
        output.tell("\n".join(lines), **facts)
        return 0
    facts = _facts(source)
    files = [
        {"number": number, "path": "/".join(file.path), "size": file.size}
        for number, file in enumerate(source.layout.files)
        if not file.is_pad
    ]
    output.tell("\n".join(_lines(source, facts, files)), **facts, files=files)
    return 0


def _read(text: str) -> Torrent | Magnet:
    """Return a magnet link, or the torrent in a file.

    Raises:
        UsageError: It is no link.
        StoreError: The file cannot be read, or is no torrent.
    """
    from librats.bittorrent.metainfo import MAX_TORRENT  # noqa: PLC0415
    from librats.torrents import parse_magnet, read_torrent  # noqa: PLC0415

    if text[:7].lower() == "magnet:":
        try:
            return parse_magnet(text)
        except DecodeError as error:
            raise UsageError(error.what) from None
    if text[:8].lower().startswith(("http://", "https://")):
        raise UsageError(f"a torrent file or a magnet link is taken, and no URL: download {text} first")
    path = Path(text)
    try:
        with path.open("rb") as file:
            return read_torrent(file.read(MAX_TORRENT + 1))
    except OSError as error:
        raise StoreError(path, error.strerror or str(error)) from error
    except DecodeError as error:
        raise StoreError(path, f"it is no torrent: {error}") from None


def _magnet_facts(magnet: Magnet) -> dict[str, Any]:
    return {
        "name": magnet.name,
        "info_hash_v1": magnet.info_hash_v1.hex() if magnet.info_hash_v1 else None,
        "info_hash_v2": magnet.info_hash_v2.hex() if magnet.info_hash_v2 else None,
        "trackers": list(magnet.trackers),
        "peers": [str(peer) for peer in magnet.peers],
        "chosen": None if magnet.files is None else list(magnet.files),
        "magnet": str(magnet),
    }


def _facts(torrent: Torrent) -> dict[str, Any]:
    return {
        "name": torrent.name,
        "version": torrent.version,
        "info_hash_v1": torrent.info_hash_v1.hex() if torrent.info_hash_v1 else None,
        "info_hash_v2": torrent.info_hash_v2.hex() if torrent.info_hash_v2 else None,
        "size": torrent.size,
        "piece_length": torrent.layout.piece_length,
        "pieces": torrent.layout.piece_count,
        "private": torrent.is_private,
        "trackers": [url for tier in torrent.trackers for url in tier],
        "comment": torrent.comment,
        "created_by": torrent.created_by,
        "created": torrent.created or None,
        "magnet": str(torrent.magnet()),
    }


def _lines(torrent: Torrent, facts: dict[str, Any], files: list[dict[str, Any]]) -> list[str]:
    lines = [f"name          {plain(torrent.name)}", f"version       {torrent.version}"]
    lines += [f"{key.replace('_', ' '):<14}{facts[key]}" for key in ("info_hash_v1", "info_hash_v2") if facts[key]]
    lines.append(
        f"size          {readable_size(torrent.size)}, {torrent.layout.piece_count} pieces of "
        f"{readable_size(torrent.layout.piece_length)}"
    )
    lines += [f"tracker       {plain(url)}" for url in facts["trackers"]]
    if torrent.is_private:
        lines.append("private       yes")
    lines += [f"{key:<14}{plain(str(facts[key]))}" for key in ("comment", "created_by") if facts[key]]
    lines += [
        f"file {file['number']:<9}{plain(file['path'])}  {readable_size(file['size'])}" for file in files[:SHOWN_FILES]
    ]
    if len(files) > SHOWN_FILES:
        lines.append(f"              and {len(files) - SHOWN_FILES} more")
    return lines


def _scrape(args: argparse.Namespace, output: Output) -> int:
    return run(scrape(_read(args.source), args.timeout, output), output)


# Downloading and seeding


def _download(args: argparse.Namespace, output: Output) -> int:
    return run(_get(args, output), output, endless=args.seed)


def _seed(args: argparse.Namespace, output: Output) -> int:
    return run(_give(args, output), output, endless=True)


@asynccontextmanager
async def _client(args: argparse.Namespace, output: Output) -> AsyncIterator[TorrentClient]:
    """Run a client, with a node of the DHT where the options ask for one."""
    from librats.torrents import TorrentClient  # noqa: PLC0415

    listen: Address = args.listen
    async with contextlib.AsyncExitStack() as stack:
        node: RatsClient | None = None
        if args.dht:
            args.publish = False
            settings = dht_config(args, RatsConfig().dht, listen)
            config = RatsConfig(
                listen_host=listen.host, transports=("udp",), nat=NatTraversalConfig.offline(), dht=settings
            )
            node = await stack.enter_async_context(RatsClient(0, config=config, identity=Identity.generate()))
            starting = asyncio.ensure_future(_join_dht(node, output))
            stack.push_async_callback(end_all, [starting])
        client = TorrentClient(
            listen.port,
            listen_host=listen.host,
            dht=None if node is None else node.dht,
            encryption=args.encryption or "allow",
            lsd=args.lsd,
            port_mapping=args.port_mapping,
            download_limit=args.download_limit,
            upload_limit=args.upload_limit,
        )
        yield await stack.enter_async_context(client)


async def _join_dht(node: RatsClient, output: Output) -> None:
    try:
        await node.start_dht_discovery(meet=False)
    except RatsError as error:
        output.hint(plain(f"no DHT: {error}"))


async def _add(client: TorrentClient, args: argparse.Namespace, output: Output) -> Download:
    source = _read(args.source)
    chosen, web_seeds = getattr(args, "file", None), getattr(args, "web_seed", ())
    download = await client.add(source, args.folder, files=chosen, peers=args.peer, web_seeds=web_seeds)
    output.emit(
        event="ready",
        name=download.name,
        info_hash=download.magnet.info_hash.hex(),
        listen_port=client.listen_port,
        magnet=str(download.magnet),
    )
    return download


async def _get(args: argparse.Namespace, output: Output) -> int:
    begun = time.monotonic()
    async with _client(args, output) as client:
        download = await _add(client, args, output)
        try:
            async with asyncio.timeout(args.timeout):
                await follow(download, output)
        except TimeoutError:
            raise OperationTimeout(_late(download, args.timeout)) from None
        progress = download.progress
        seconds = time.monotonic() - begun
        output.tell(
            plain(str(download.path)),
            event="done",
            path=str(download.path),
            bytes=progress.bytes_total,
            downloaded=progress.downloaded,
            seconds=round(seconds, 3),
            info_hash=download.magnet.info_hash.hex(),
        )
        if args.seed:
            await stay(download, output)
    return 0


def _late(download: Download, seconds: float) -> str:
    if download.torrent is None:
        return f"no peer has given the torrent of that link within {seconds:g} s; --peer and --dht find some"
    return f"not all of it is there after {seconds:g} s; the same command goes on from there"


async def _give(args: argparse.Namespace, output: Output) -> int:
    async with _client(args, output) as client:
        download = await _add(client, args, output)
        if download.torrent is None:
            raise UsageError("to seed, the torrent itself must be there; a magnet link is not enough")
        await follow_check(download, output)
        missing = download.progress
        if missing.status != "seeding":
            output.hint(
                f"{missing.pieces_total - missing.pieces_done} of {missing.pieces_total} pieces are not there; "
                "they are had from peers"
            )
        if not output.as_json:
            output.say(str(download.magnet))
            output.hint(f"it listens on port {client.listen_port}")
        await stay(download, output)
    return 0
