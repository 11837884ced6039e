"""Files of a torrent on the disk: never outside their folder, in threads, and what is there after a restart."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from librats.bittorrent.layout import FileSpan, Layout, TorrentFile
from librats.bittorrent.metainfo import Torrent
from librats.errors import StoreError
from librats.transfer.names import Parts, check_parts

__all__ = ["TorrentFiles"]

MAX_OPEN = 64
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
DIRECTORY = getattr(os, "O_DIRECTORY", 0)
BINARY = getattr(os, "O_BINARY", 0)
CLOEXEC = getattr(os, "O_CLOEXEC", 0)
OPENING = NOFOLLOW | BINARY | CLOEXEC | getattr(os, "O_NONBLOCK", 0)  # a pipe in its place is not waited for
BY_HANDLE = os.open in os.supports_dir_fd and os.mkdir in os.supports_dir_fd and bool(NOFOLLOW)

T = TypeVar("T")
Buffer = bytes | bytearray | memoryview


class TorrentFiles:
    """The files of one torrent. Its methods block, and may be called from several threads.

    No link is followed below the folder: where one is found, or a file where a folder is to be, that is an error.

    Args:
        torrent: The torrent.
        folder: Where it is, or is to be.
    """

    def __init__(self, torrent: Torrent, folder: Path) -> None:
        self._torrent = torrent
        self._layout: Layout = torrent.layout
        self._folder = folder
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[int, bool], int] = OrderedDict()  # by number of file, and whether to write
        self._in_use: dict[tuple[int, bool], int] = {}
        self._touched: set[int] = set()
        self._closed = False

    def prepare(self) -> None:
        """Make the folder, and the files that no byte is in.

        Raises:
            StoreError: They cannot be made.
        """
        with self._telling(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._layout.files:
            if not file.size and not file.is_symlink and not file.is_pad:
                with self._telling(self._path_of(file)):
                    os.close(self._open_file(file, writing=True))

    def sizes(self) -> list[tuple[int, int]]:
        """Return size and time of the last change (ns) of each file; -1 for both where it is not there."""
        found = []
        for file in self._layout.files:
            try:
                status = self._path_of(file).lstat()
            except OSError:
                found.append((-1, -1))
            else:
                found.append((status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (-1, -1))
        return found

    def read(self, piece: int, begin: int, size: int) -> bytes | bytearray:
        """Read a part of a piece; what only fills it is zeros.

        Raises:
            StoreError: A file cannot be read, is too short, or is not there.
        """
        first, *others = self._layout.spans(piece * self._layout.piece_length + begin, size)
        if not others and hasattr(os, "pread"):
            data = self._read_one(first)
            if len(data) == size:
                return data
        return self._read_several((first, *others), size)

    def _read_one(self, span: FileSpan) -> bytes:
        """Read within one file, into memory that no zeros fill before; fewer bytes where it is short."""
        file = self._layout.files[span.file]
        if file.is_pad or file.is_symlink:
            return b""
        with self._telling(self._path_of(file)), self._descriptor(span.file, writing=False) as descriptor:
            return os.pread(descriptor, span.size, span.offset)

    def _read_several(self, spans: Sequence[FileSpan], size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        for span in spans:
            file = self._layout.files[span.file]
            if not file.is_pad and not file.is_symlink:
                with self._telling(self._path_of(file)), self._descriptor(span.file, writing=False) as descriptor:
                    _read_at(descriptor, view[: span.size], span.offset)
            view = view[span.size :]
        return data

    def write(self, piece: int, data: Buffer) -> None:
        """Write a piece that is right.

        Raises:
            StoreError: A file cannot be written: the disk is full, for one.
        """
        view = memoryview(data)
        for span in self._layout.spans(piece * self._layout.piece_length, len(data)):
            file = self._layout.files[span.file]
            if not file.is_pad and not file.is_symlink:
                with self._telling(self._path_of(file)), self._descriptor(span.file, writing=True) as descriptor:
                    _write_at(descriptor, view[: span.size], span.offset)
                    self._touched.add(span.file)
            view = view[span.size :]

    def check_and_write(self, piece: int, data: bytearray) -> bool:
        """Check a piece, write it where it is right, and return whether it is.

        Raises:
            StoreError: A file cannot be written.
        """
        if not self._torrent.piece_is_right(piece, data):
            return False
        self.write(piece, data)
        return True

    def check(self, piece: int) -> bool:
        """Return whether a piece is there and right."""
        try:
            data = self.read(piece, 0, self._layout.piece_size(piece))
        except StoreError:
            return False
        return self._torrent.piece_is_right(piece, data)

    def may_be_there(self, piece: int) -> bool:
        """Return whether every file of a piece is there: where one is not, it need not be read."""
        layout = self._layout
        for span in layout.spans(piece * layout.piece_length, layout.piece_size(piece)):
            file = layout.files[span.file]
            if not file.is_pad and not file.is_symlink:
                try:
                    status = self._path_of(file).lstat()
                except OSError:
                    return False
                if not stat.S_ISREG(status.st_mode) or status.st_size < span.offset + span.size:
                    return False
        return True

    def finish(self) -> None:
        """Cut what was longer before, mark what may be run, and have all of it on the disk.

        Raises:
            StoreError: The disk does not take it.
        """
        for number in sorted(self._touched):
            file = self._layout.files[number]
            with self._telling(self._path_of(file)), self._descriptor(number, writing=True) as descriptor:
                if os.fstat(descriptor).st_size > file.size:
                    os.ftruncate(descriptor, file.size)
                if file.is_executable and hasattr(os, "fchmod"):
                    mode = os.fstat(descriptor).st_mode & 0o777
                    os.fchmod(descriptor, mode | (mode & 0o444) >> 2)  # whoever may read it may run it
                os.fsync(descriptor)
        self._touched.clear()

    def close(self) -> None:
        """Close every file that is not being read or written, and those as soon as that is done. Idempotent."""
        with self._lock:
            self._closed = True
            for key in list(self._open):
                if not self._in_use.get(key):
                    os.close(self._open.pop(key))

    # Files

    def _path_of(self, file: TorrentFile) -> Path:
        return self._folder.joinpath(*file.path)

    @contextlib.contextmanager
    def _telling(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(path, error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _descriptor(self, number: int, *, writing: bool) -> Iterator[int]:
        """Lend the descriptor of a file, which stays open until another one needs its place."""
        key = (number, writing)
        with self._lock:
            descriptor = self._open.get(key)
            if descriptor is None:
                descriptor = self._open[key] = self._open_file(self._layout.files[number], writing=writing)
            self._open.move_to_end(key)
            self._in_use[key] = self._in_use.get(key, 0) + 1
            self._close_others()
        try:
            yield descriptor
        finally:
            with self._lock:
                self._in_use[key] -= 1
                if self._closed and not self._in_use[key]:
                    os.close(self._open.pop(key))

    def _close_others(self) -> None:
        for key in list(self._open):
            if len(self._open) <= MAX_OPEN:
                return
            if not self._in_use.get(key):
                os.close(self._open.pop(key))

    def _open_file(self, file: TorrentFile, *, writing: bool) -> int:
        check_parts(file.path)  # who made the torrent may have chosen it: here is the last place to look
        flags = (os.O_RDWR | os.O_CREAT if writing else os.O_RDONLY) | OPENING
        descriptor = self._open_below(file.path, flags, writing=writing)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError("it is no file")
        return descriptor

    def _open_below(self, parts: Parts, flags: int, *, writing: bool) -> int:
        if not BY_HANDLE:
            return self._open_by_path(parts, flags, writing=writing)
        above = os.open(self._folder, os.O_RDONLY | DIRECTORY | CLOEXEC)
        try:
            for part in parts[:-1]:
                if writing:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=above)
                below = os.open(part, os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC, dir_fd=above)
                os.close(above)
                above = below
            return os.open(parts[-1], flags, 0o666, dir_fd=above)
        finally:
            os.close(above)

    def _open_by_path(self, parts: Parts, flags: int, *, writing: bool) -> int:
        """Open where folders have no handles: nothing on the way may be a link."""
        at = self._folder
        for part in parts[:-1]:
            at /= part
            if writing:
                at.mkdir(exist_ok=True)
            if at.is_symlink() or _is_junction(at):
                raise OSError("a folder on the way is a link")
        if (at / parts[-1]).is_symlink():
            raise OSError("it is a link")
        return os.open(at / parts[-1], flags, 0o666)


def _is_junction(path: Path) -> bool:
    is_junction: Callable[[], bool] | None = getattr(path, "is_junction", None)
    return is_junction() if is_junction is not None else False


_SEEKING = threading.Lock()


def _read_at(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        if hasattr(os, "preadv"):
            got = os.preadv(descriptor, [view], offset)
        else:
            got = _seek_and_read(descriptor, view, offset)
        if not got:
            raise OSError("the file is shorter than the torrent says")
        view = view[got:]
        offset += got


def _seek_and_read(descriptor: int, view: memoryview, offset: int) -> int:
    with _SEEKING:
        os.lseek(descriptor, offset, os.SEEK_SET)
        data = os.read(descriptor, len(view))
    view[: len(data)] = data
    return len(data)


def _write_at(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        if hasattr(os, "pwrite"):
            put = os.pwrite(descriptor, view, offset)
        else:
            with _SEEKING:
                os.lseek(descriptor, offset, os.SEEK_SET)
                put = os.write(descriptor, view)
        view = view[put:]
        offset += put
