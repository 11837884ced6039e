"""What a client keeps in its data directory: who it is, and whom it knows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from librats.config import RatsConfig
from librats.errors import IdentityError, UsageError
from librats.peers.book import PeerBook
from librats.peers.book_files import BookFiles
from librats.peers.config_file import CONFIG_FILE
from librats.peers.identity import Identity, IdentityLock, default_data_dir
from librats.peers.private_files import remove_leftovers

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

        @property
        def is_running(self) -> bool:
            """See the client."""

    def __init__(self, data_dir: str | Path | None, identity: Identity | None) -> None:
        self._data_dir = None if data_dir is None else Path(data_dir)
        self._identity = identity
        self._keeps_identity = identity is not None
        self._lock: IdentityLock | None = None
        self._book = PeerBook()
        self._book_files: BookFiles | None = None

    def _load_kept(self) -> Identity:
        """Load the identity, and the peer book where there is a directory for it. It blocks."""
        identity = self._load_identity()
        self._book_files = None
        if self._lock is not None:
            for name in ("identity.key", CONFIG_FILE):
                # A configuration may be written by somebody without the lock.
                remove_leftovers(self.data_dir / name, older_than=ABANDONED_AFTER if name == CONFIG_FILE else 0.0)
            files = BookFiles(self._book, self.data_dir)
            files.load()
            self._book_files = files
        return identity

    def _load_identity(self) -> Identity:
        if self._identity is not None and (self._keeps_identity or self._lock is not None):
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
