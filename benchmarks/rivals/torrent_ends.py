"""The ends of libtorrent: a torrent from one session to another over uTP, without encryption; bulk data.

The file is made of zeros in memory where there is a file system for that; the receiver checks the hash of each piece.
What is measured is the time from the connection to the last piece: there is no warm-up.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libtorrent as lt

from librats.cli.measuring.bulk import BLOCK
from librats.cli.measuring.end import LOOPBACK, End

PIECE = 1 << 20
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - folders in it have names that nobody guesses
LOOK = 0.002
PATIENCE = 60.0

USUAL = {
    "listen_interfaces": f"{LOOPBACK}:0",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_incoming_tcp": False,
    "enable_outgoing_tcp": False,
    "in_enc_policy": 2,
    "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,
    "alert_mask": 0,
}
TUNED = {
    "send_buffer_low_watermark": 1 << 20,
    "send_buffer_watermark": 8 << 20,
    "send_buffer_watermark_factor": 200,
    "max_out_request_queue": 4000,
    "max_allowed_in_request_queue": 4000,
    "utp_gain_factor": 300_000,
    "utp_target_delay": 500,
    "recv_socket_buffer_size": 4 << 20,
    "send_socket_buffer_size": 4 << 20,
}
"""Buffers and a controller for a path without a round trip: uTP is made for the lines of homes."""


class Half:
    """A session with one torrent.

    Args:
        end: The end of the measurement.
        folder: Where its file is.
        has_file: Whether it is there.
    """

    def __init__(self, end: End, folder: str, *, has_file: bool) -> None:
        size = end.number("blocks") * BLOCK
        path = Path(folder, "zeros")
        with path.open("wb") as file:
            file.truncate(size)
        storage = lt.file_storage()
        lt.add_files(storage, str(path))
        made = lt.create_torrent(storage, PIECE)
        lt.set_piece_hashes(made, folder)
        if not has_file:
            path.unlink()
        settings: Any = {**USUAL, **TUNED}
        self.session = lt.session(settings)
        wanted = lt.add_torrent_params()
        wanted.ti = lt.torrent_info(made.generate())
        wanted.save_path = folder
        wanted.flags = lt.torrent_flags.seed_mode if has_file else 0
        self.torrent: Any = self.session.add_torrent(wanted)


def folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None)


def wait_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(LOOK)


def bulk_receiver(end: End) -> None:
    with folder() as here:
        half = Half(end, here, has_file=False)
        wait_until(half.session.listen_port)
        end.announce(half.session.listen_port())
        wait_until(half.torrent.get_peer_info)
        end.start()
        wait_until(lambda: half.torrent.status().is_seeding)
        end.finish()
    end.tell()
    time.sleep(PATIENCE)  # the process is ended when the other side has told, too


def bulk_sender(end: End) -> None:
    with folder() as here:
        half = Half(end, here, has_file=True)
        half.torrent.connect_peer((LOOPBACK, end.port))
        wait_until(half.torrent.get_peer_info)
        end.start()
        wait_until(lambda: not half.torrent.get_peer_info())  # who has everything leaves who has everything
        end.finish()
