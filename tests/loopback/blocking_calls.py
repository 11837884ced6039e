"""What two clients, and two of BitTorrent, ask the system for in the event loop's own thread, that may block.

Run as ``python -m tests.loopback.blocking_calls FOLDER``, in a process of its own: audit hooks (PEP 578) cannot be
taken off again. It writes each call and where it was made, and at the end what was seen of a call made on purpose.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from librats import NatTraversalConfig, RatsClient, RatsConfig
from librats.torrents import TorrentClient, create_torrent

MAY_BLOCK = frozenset(
    {
        *("open", "os.chmod", "os.link", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"),
        *("os.symlink", "os.truncate", "os.utime", "shutil.rmtree", "fcntl.flock"),
        *("socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen", "time.sleep"),
    }
)
LOOPBACK = "127.0.0.1"
SIZE = 3_000_000


class Watch:
    """Notes what is called in one thread, unless modules are loaded there."""

    def __init__(self) -> None:
        self.thread: int | None = None
        self.calls: list[str] = []

    def __call__(self, event: str, details: tuple[Any, ...]) -> None:
        if event not in MAY_BLOCK or threading.get_ident() != self.thread:
            return
        frame: FrameType | None = sys._getframe(1)
        stack = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            frame = frame.f_back
        if not any("importlib" in place for place in stack):
            self.calls.append(f"{event} {details[:1]} at {' < '.join(stack[:6])}")


async def use_clients(folder: Path) -> None:
    """Connect by name, meet by mDNS and in a DHT, give a folder, and keep all that is kept."""
    config = RatsConfig(listen_host=LOOPBACK, nat=NatTraversalConfig.offline())
    alice = RatsClient(config=config, data_dir=folder / "alice")
    bob = RatsClient(config=config, data_dir=folder / "bob")
    await alice.start()
    await bob.start()
    bob.on("echo", lambda peer, data: data)
    peer = await alice.connect(f"localhost:{bob.listen_port}")
    await peer.request("echo", 1)
    await alice.start_mdns_discovery("one")
    await alice.start_dht_discovery(meet=False)
    shared = await alice.files.share(folder / "given")
    taking = await bob.files.fetch(alice.peer_id, shared.content_id, folder / "taken")
    await taking.wait()
    await alice.rotate_identity()
    await alice.stop()
    await bob.stop()


async def use_torrents(folder: Path, torrent: bytes) -> None:
    """Seed a folder, and have it from a magnet link."""
    alice, bob = TorrentClient(listen_host=LOOPBACK), TorrentClient(listen_host=LOOPBACK)
    await alice.start()
    await bob.start()
    seed = await alice.add(torrent, folder)
    await seed.wait()
    download = await bob.add(str(seed.magnet), folder / "had", peers=[f"{LOOPBACK}:{alice.listen_port}"])
    await download.wait()
    await alice.close()
    await bob.close()


async def main(folder: Path) -> None:
    """Write what was called to standard output."""
    given = folder / "given"
    (given / "deep").mkdir(parents=True)
    (given / "large").write_bytes(bytes(SIZE))
    (given / "deep" / "small").write_bytes(b"x")
    torrent = create_torrent(given, trackers=[])
    watch = Watch()
    sys.addaudithook(watch)
    watch.thread = threading.get_ident()
    await use_clients(folder)
    await use_torrents(folder, torrent)
    calls, watch.calls = watch.calls, []
    (given / "large").stat()
    (given / "large").unlink()
    watch.thread = None
    sys.stdout.write(json.dumps({"calls": calls, "on_purpose": watch.calls}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
