"""What is kept between runs: JSON files with a version, readable at every moment, which keep what they do not know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from librats._core.messages import json_nests_deeper
from librats.errors import StoreError
from librats.peers.keeping.private_files import make_missing, read_regular, remove_leftovers, rename, replace
from librats.runtime.offload import run_in_thread

__all__ = ["JsonFile", "KeptFile", "Saver", "merged"]

logger = logging.getLogger("librats.peers")

MAX_DEPTH = 32
SAVE_DELAY = 2.0
"""Seconds from a change to its way to the disk, so that many changes make one write."""

MAX_DAMAGED = 100
"""Damaged files of one name that are set aside; one more takes the place of the last."""


class _NewerError(StoreError):
    is_newer = True


class JsonFile:
    """One file with a JSON object that names its format and version.

    It is written for its owner alone, as a new file that takes the old one's name, so that whoever is killed at
    whatever moment leaves the old or the new one.

    Args:
        path: The file.
        format: Name of the format, the member ``"format"`` of the object.
        version: Number of the version that is written; smaller ones are read too.
        max_size: Bytes above which a file is refused.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = JsonFile(Path(folder) / "a.json", format="example", version=1, max_size=1000)
        ...     file.write({"a": 1})
        ...     file.read()
        {'format': 'example', 'version': 1, 'a': 1}
    """

    def __init__(self, path: Path, *, format: str, version: int, max_size: int) -> None:
        self.path = path
        self.format = format
        self.version = version
        self.max_size = max_size

    def read(self) -> dict[str, Any] | None:
        """Read the file. It blocks.

        Returns:
            The object; None where there is no file.

        Raises:
            StoreError: It cannot be read, is damaged, too big, of another format, or of a newer version.
        """
        try:
            found = read_regular(self.path, self.max_size + 1)
        except OSError as error:
            raise StoreError(self.path, f"cannot be read: {error.strerror or error}") from error
        return None if found is None else self._decode(found[0])

    def _decode(self, text: bytes) -> dict[str, Any]:
        if len(text) > self.max_size:
            raise StoreError(self.path, f"is over {self.max_size} bytes")
        if json_nests_deeper(text, MAX_DEPTH):
            raise StoreError(self.path, f"is damaged: nested deeper than {MAX_DEPTH}")
        try:
            document = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise StoreError(self.path, f"is damaged: {error}") from error
        if not isinstance(document, dict) or document.get("format") != self.format:
            raise StoreError(self.path, f"is not a file of the format {self.format!r}")
        version = document.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version < 1:
            raise StoreError(self.path, f"has no version, but {version!r}")
        if version > self.version:
            raise _NewerError(self.path, f"is of version {version}; this librats knows versions up to {self.version}")
        return document

    def write(self, members: dict[str, Any]) -> None:
        """Write the file, and the directory where it is missing. It blocks.

        Args:
            members: What is in it beyond format and version.

        Raises:
            StoreError: It cannot be written, or would be too big to be read again; the old file stays.
        """
        head = {"format": self.format, "version": self.version}
        document = head | {name: value for name, value in members.items() if name not in head}
        try:
            text = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
        except (TypeError, ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
            raise StoreError(self.path, f"cannot be written: {error}") from error
        if len(text) > self.max_size:
            raise StoreError(self.path, f"cannot be written: {len(text)} bytes are over {self.max_size}")
        try:
            make_missing(self.path.absolute().parent)
            replace(self.path, text)
        except OSError as error:
            raise StoreError(self.path, f"cannot be written: {error.strerror or error}") from error

    def set_aside(self) -> Path | None:
        """Give a damaged file another name, so that nothing of it is lost and a new one can be written. It blocks.

        Returns:
            The new name, which ends with ``.damaged`` or ``.damaged-N``; None where it could not be done.
        """
        for number in range(MAX_DAMAGED):
            aside = self.path.with_name(f"{self.path.name}.damaged{f'-{number + 1}' if number else ''}")
            if not aside.exists() or number + 1 == MAX_DAMAGED:
                break
        try:
            rename(self.path, aside)
        except OSError as error:
            logger.warning("%s cannot be set aside: %s", self.path, error.strerror or error)
            return None
        return aside


class KeptFile(JsonFile):
    """A file that its owner can do without: one that is damaged is set aside, one that is newer left alone."""

    _may_write = True

    def load(self) -> dict[str, Any] | None:
        """Read the file. It blocks, and logs a warning where the file is of no use.

        Returns:
            The object; None where there is no file, or none that can be used.
        """
        remove_leftovers(self.path)
        self._may_write = True
        try:
            return self.read()
        except StoreError as error:
            if error.is_newer or isinstance(error.__cause__, OSError):
                self._may_write = False
                logger.warning("%s; going on without, and leaving it alone", error)
            else:
                logger.warning("%s; set aside as %s, and going on without", error, self.set_aside())
            return None

    def note_damaged(self, entries: int) -> None:
        """Set the file aside where some entries of it are damaged, with a warning: the others are used."""
        if entries:
            logger.warning("%s: %d entries are damaged; set aside as %s", self.path, entries, self.set_aside())

    def save(self, members: dict[str, Any]) -> None:
        """Write the file, unless it was to be left alone when it was loaded; see :meth:`JsonFile.write`."""
        if self._may_write:
            self.write(members)


def merged(kept: Any, known: Any) -> Any:
    """Return what is known with the members that only the kept value has, at every level of objects.

    Example:
        >>> merged({"a": 1, "new": {"x": 1}, "in": {"b": 2, "later": 3}}, {"a": 5, "in": {"b": 6}})
        {'a': 5, 'in': {'b': 6, 'later': 3}, 'new': {'x': 1}}
    """
    if not (isinstance(kept, dict) and isinstance(known, dict)):
        return known
    both = {name: merged(kept[name], value) if name in kept else value for name, value in known.items()}
    return {**both, **{name: value for name, value in kept.items() if name not in both}}


class Saver:
    """Writes what changes some time after it has changed, on a thread of its own, and what is left at the end.

    Args:
        write: Writes; called on a thread. A StoreError is logged, and tried again with the next change.
        snapshot: Returns what is to be written; called on the loop.
        delay: Seconds from a change to the write.
    """

    def __init__(self, write: Callable[[Any], None], snapshot: Callable[[], Any], *, delay: float = SAVE_DELAY) -> None:
        self._write = write
        self._snapshot = snapshot
        self._delay = delay
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._dirty = False
        self._closed = False

    def changed(self) -> None:
        """Take note that there is something to write."""
        self._dirty = True
        if self._timer is None and self._writing is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(self._delay, self._due)

    def _due(self) -> None:
        self._timer = None
        if self._writing is None and self._dirty:
            self._writing = asyncio.get_running_loop().create_task(self._run(), name="librats saves")

    async def _run(self) -> None:
        self._dirty = False
        started = time.monotonic()
        try:
            await run_in_thread(self._write, self._snapshot())
        except StoreError as error:
            logger.warning("not saved: %s", error)
        finally:
            self._writing = None
        if self._dirty and not self._closed:
            # A slow disk is not to be kept busy all the time.
            pause = max(self._delay, 10 * (time.monotonic() - started))
            self._timer = asyncio.get_running_loop().call_later(pause, self._due)

    async def flush(self) -> None:
        """Write what has changed and wait until it is on the disk. Cancelling does not stop a write under way."""
        while self._writing is not None or self._dirty:
            if self._timer is not None:
                self._timer.cancel()
            self._due()
            if self._writing is not None:
                await asyncio.wait([self._writing])

    async def close(self) -> None:
        """Write what has changed, and no more after that. Idempotent.

        Where the caller is cancelled meanwhile, the write still comes to its end before this returns.
        """
        self._closed = True
        flushing = asyncio.ensure_future(self.flush())
        try:
            await asyncio.shield(flushing)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([flushing])
            raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
