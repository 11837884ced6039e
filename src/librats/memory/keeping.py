"""What a client keeps in its data directory: who it is, and whom it knows."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from librats.config import RatsConfig
from librats.errors import IdentityError, UsageError
from librats.peers.book import PeerBook
from librats.peers.identities.succession import MAX_CHAIN, Succession, encode_chain
from librats.peers.identities.succession_file import put_in_place, read_successions
from librats.peers.identity import Identity, IdentityLock, default_data_dir
from librats.peers.keeping.book_files import BookFiles
from librats.peers.keeping.config_file import CONFIG_FILE
from librats.peers.keeping.known_mappings import KnownMappings
from librats.peers.keeping.private_files import remove_leftovers
from librats.peers.keeping.what_worked import WhatWorked, WorkedFile
from librats.runtime.network import current_network
from librats.runtime.offload import run_in_thread

if TYPE_CHECKING:
    from librats.discovery.meeting import LocalMeeting
    from librats.peers.manager import PeerManager

__all__ = ["KeepingVerbs"]

logger = logging.getLogger("librats.client")

ABANDONED_AFTER = 3600.0
"""Seconds after which a temporary file of a configuration is nobody's any more."""


class KeepingVerbs:
    """Mixed into :class:`~librats.RatsClient`.

    Args:
        data_dir: Where everything is kept; the user's own directory where it is None.
        identity: Who to be; nothing is kept then.
    """

    if TYPE_CHECKING:
        _config: RatsConfig
        _changing: asyncio.Lock
        _meeting: LocalMeeting | None

        def _running(self) -> PeerManager:
            """See the client."""

        @property
        def is_running(self) -> bool:
            """See the client."""

    def __init__(self, data_dir: str | Path | None, identity: Identity | None) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._identity = identity
        self._keeps_identity = identity is not None
        self._lock: IdentityLock | None = None
        self._successions: list[Succession] = []
        self._book = PeerBook()
        self._book_files: BookFiles | None = None
        self._worked = WhatWorked()
        self._mappings = KnownMappings(clock=lambda: current_network().wall_time())
        self._worked_file: WorkedFile | None = None

    def _load_kept(self) -> Identity:
        """Load the identity, and the peer book where there is a directory for it. It blocks."""
        identity = self._load_identity()
        self._book_files = self._worked_file = None
        if self._lock is not None:
            for name in ("identity.key", CONFIG_FILE):
                # A configuration may be written by somebody without the lock.
                remove_leftovers(self.data_dir / name, older_than=ABANDONED_AFTER if name == CONFIG_FILE else 0.0)
            self._successions = read_successions(self.data_dir, identity)
            files = BookFiles(self._book, self.data_dir)
            files.load()
            self._book_files = files
            self._worked_file = WorkedFile(self._worked, self._mappings, self.data_dir)
            self._worked_file.load()
        return identity

    def _load_identity(self) -> Identity:
        if self._identity is not None and (self._keeps_identity or self._lock is not None):
            return self._identity
        key = current_network().own_key() if self._data_dir is None else None
        if key is not None:
            self._identity = Identity(key)
            self._keeps_identity = True
            return self._identity
        directory = self.data_dir
        try:
            self._lock = IdentityLock.acquire(directory)
        except IdentityError as error:
            if self._data_dir is not None or not error.in_use:
                raise
            logger.warning("%s is in use: this client gets an identity that ends with it", directory)
            self._identity = Identity.generate()
            self._keeps_identity = True
            return self._identity
        try:
            self._identity = Identity.load_or_create(directory)
        except BaseException:
            self._lock.release()
            self._lock = None
            raise
        return self._identity

    def _release_identity(self) -> None:
        if self._lock is not None:
            # The identity is read again at the next start: another client may use the directory in the meantime.
            self._lock.release()
            self._lock = None

    def _move_data_dir(self, data_dir: Path) -> None:
        if self.is_running or self._keeps_identity or self._lock is not None:
            raise UsageError("the identity is in use already; set the data directory before")
        self._data_dir = data_dir
        self._identity = None

    @property
    def data_dir(self) -> Path:
        """The directory where this client keeps what it keeps."""
        return self._data_dir or default_data_dir()

    @property
    def identity(self) -> Identity:
        """This client's keys; loaded, or made, at the first use.

        Raises:
            IdentityError: The data directory cannot be used, or another client uses it.
        """
        return self._identity or self._load_identity()

    @property
    def peer_id(self) -> str:
        """This client's peer id: 64 lower-case hex digits."""
        return self.identity.peer_id

    async def rotate_identity(self) -> Succession:
        """Take a new identity that peers can follow: old and new one sign a record of the change.

        The new key takes the old one's place on the disk, where it is kept; whoever is killed meanwhile has one or the
        other. The old key is lost with that. Peers that are connected are told and stay connected under the old
        id until their session ends; every later session is under the new id, and begins with the record. Peers with
        librats 2 are not told. Cancelling does not stop it once it has begun.

        Returns:
            The record.

        Raises:
            UsageError: The client is not running.
            StoreError: The record cannot be written; the identity stays.
            IdentityError: The key cannot be written; the identity stays.

        Example:
            .. code-block:: python

                record = await client.rotate_identity()
                print(record.old_id[:8], "is now", record.new_id[:8])
        """
        self._running()
        rotating = asyncio.ensure_future(self._rotate())
        try:
            return await asyncio.shield(rotating)
        except asyncio.CancelledError:
            await asyncio.wait([rotating])
            if not rotating.cancelled():
                rotating.exception()  # which nobody waits for any more
            raise

    async def _rotate(self) -> Succession:
        async with self._changing:
            manager = self._running()
            identity = Identity.generate()
            record = Succession.make(self.identity, identity, created=int(time.time()))
            records = [*self._successions, record][-MAX_CHAIN:]
            if self._lock is not None:
                await run_in_thread(put_in_place, self.data_dir, identity, records)
            self._identity, self._successions = identity, records
            manager.become(identity, encode_chain(records))
            if self._meeting is not None:
                await self._meeting.announce_again()
        logger.info("the identity %s is now %s", record.old_id[:8], record.new_id[:8])
        return record

    @property
    def book(self) -> PeerBook:
        """The peers that this client knows; read from the data directory at the start, and written as it changes."""
        return self._book

    @property
    def _dials_saved_peers(self) -> bool:
        wanted = self._config.reconnect.saved_peers
        if wanted is None:
            return self._config.reconnect.enabled and self._data_dir is not None and self._lock is not None
        return wanted
