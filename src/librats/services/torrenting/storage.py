"""Files of a torrent on the disk: never outside their folder, in threads, and what is there after a restart."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

from librats.bittorrent.layout import FileSpan, Layout, TorrentFile
from librats.bittorrent.metainfo import Torrent
from librats.bittorrent.names import KEPT_FOLDER
from librats.bittorrent.selection import Selection
from librats.errors import StoreError
from librats.services.torrenting.below import open_below, read_at, write_at
from librats.services.torrenting.parts import PieceParts

__all__ = ["TorrentFiles"]

MAX_OPEN = 64

Buffer = bytes | bytearray | memoryview


class TorrentFiles:
    """The files of one torrent. Its methods block, and may be called from several threads.

    No link is followed below the folder: where one is found, or a file where a folder is to be, that is an error.

    Files that are not wanted are read where they are there, and never made or written. A piece that has bytes of one is
    kept as a whole, too, so that it can be given, and need not come again once that file is wanted.

    Args:
        torrent: The torrent.
        folder: Where it is, or is to be.
        selection: The files that are wanted; None for all of them.
    """

    def __init__(self, torrent: Torrent, folder: Path, selection: Selection | None = None) -> None:
        self._torrent = torrent
        self._layout: Layout = torrent.layout
        self._folder = folder
        self._selection = selection if selection is not None else Selection(torrent.layout)
        self._parts = PieceParts(folder, (KEPT_FOLDER, f"{torrent.info_hash.hex()}.parts"))
        self._choosing = threading.Lock()  # while a piece is written that lies in files that are not wanted
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[int, bool], int] = OrderedDict()  # by number of file, and whether to write
        self._in_use: dict[tuple[int, bool], int] = {}
        self._touched: set[int] = set()
        self._closed = False

    def prepare(self) -> None:
        """Make the folder, and the files that no byte is in, and give files their part of pieces that were kept whole.

        Raises:
            StoreError: They cannot be made.
        """
        with self._telling(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._parts.look()
        self.choose(self._selection)

    def choose(self, selection: Selection) -> None:
        """Want other files from now on. Those that are there already stay.

        Raises:
            StoreError: They cannot be made.
        """
        with self._choosing:
            self._selection = selection
            for number, file in enumerate(self._layout.files):
                if not file.size and not file.is_symlink and not file.is_pad and selection.has_file(number):
                    with self._telling(self._path_of(file)):
                        os.close(open_below(self._folder, file.path, writing=True))
            for piece in self._parts.pieces():
                self._hand_out(piece)

    def _hand_out(self, piece: int) -> None:
        """Give files that are wanted their part of a piece that was kept, and let it go where nobody needs it more."""
        data = self._kept(piece)
        if data is None:
            self._parts.remove(piece)
            return
        for span, view in self._wanted_parts(piece, data):
            with self._telling(self._path_of(self._layout.files[span.file])):
                if not self._has(span, view):
                    self._write_one(span, view)
        if not self._selection.splits(piece):
            self._parts.remove(piece)

    def _kept(self, piece: int) -> bytearray | None:
        """Return a piece that was kept; None where it is not right."""
        if piece >= self._layout.piece_count:
            return None
        data = bytearray(self._layout.piece_size(piece))
        try:
            self._parts.read(piece, 0, memoryview(data))
        except OSError:
            return None
        return data if self._torrent.piece_is_right(piece, data) else None

    def _has(self, span: FileSpan, view: memoryview) -> bool:
        """Whether a file has these bytes already: where it has, it is not changed."""
        found = memoryview(bytearray(span.size))
        try:
            with self._descriptor(span.file, writing=False) as descriptor:
                read_at(descriptor, found, span.offset)
        except OSError:
            return False
        return found == view

    def is_kept(self, piece: int, number: int) -> bool:
        """Whether the bytes that a piece has of a file are not in that file, but kept with the piece."""
        return piece in self._parts and not self._selection.has_file(number)

    def is_split(self, piece: int) -> bool:
        """Whether a piece has bytes of a file that is not wanted."""
        return self._selection.splits(piece)

    def forget(self) -> None:
        """Let the pieces go that were kept as a whole."""
        with self._choosing:
            self._parts.clear()

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
        if not others and hasattr(os, "pread") and piece not in self._parts:
            data = self._read_one(first)
            if len(data) == size:
                return data
        return self._read_several(piece, begin, (first, *others), size)

    def _read_one(self, span: FileSpan) -> bytes:
        """Read within one file, into memory that no zeros fill before; fewer bytes where it is short."""
        file = self._layout.files[span.file]
        if file.is_pad or file.is_symlink:
            return b""
        with self._telling(self._path_of(file)), self._descriptor(span.file, writing=False) as descriptor:
            return os.pread(descriptor, span.size, span.offset)

    def _read_several(self, piece: int, begin: int, spans: Sequence[FileSpan], size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        for span in spans:
            file = self._layout.files[span.file]
            if self.is_kept(piece, span.file) and not file.is_pad:
                with self._telling(self._folder):
                    self._parts.read(piece, begin + size - len(view), view[: span.size])
            elif not file.is_pad and not file.is_symlink:
                with self._telling(self._path_of(file)), self._descriptor(span.file, writing=False) as descriptor:
                    read_at(descriptor, view[: span.size], span.offset)
            view = view[span.size :]
        return data

    def write(self, piece: int, data: Buffer) -> None:
        """Write a piece that is right.

        Raises:
            StoreError: A file cannot be written: the disk is full, for one.
        """
        if not self._selection.splits(piece):
            self._write_parts(piece, data)
            return
        with self._choosing:
            if self._selection.splits(piece):
                with self._telling(self._folder):
                    self._parts.write(piece, memoryview(data))
            self._write_parts(piece, data)

    def _write_parts(self, piece: int, data: Buffer) -> None:
        for span, view in self._wanted_parts(piece, data):
            with self._telling(self._path_of(self._layout.files[span.file])):
                self._write_one(span, view)

    def _wanted_parts(self, piece: int, data: Buffer) -> Iterator[tuple[FileSpan, memoryview]]:
        """Yield what files that are wanted have of a piece."""
        view, has_file = memoryview(data), self._selection.has_file
        for span in self._layout.spans(piece * self._layout.piece_length, len(data)):
            file = self._layout.files[span.file]
            if not file.is_pad and not file.is_symlink and has_file(span.file):
                yield span, view[: span.size]
            view = view[span.size :]

    def _write_one(self, span: FileSpan, view: memoryview) -> None:
        with self._descriptor(span.file, writing=True) as descriptor:
            write_at(descriptor, view, span.offset)
            self._touched.add(span.file)

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
        """Return whether all bytes of a piece are somewhere: where some are not, it need not be read."""
        layout = self._layout
        for span in layout.spans(piece * layout.piece_length, layout.piece_size(piece)):
            file = layout.files[span.file]
            if not file.is_pad and not file.is_symlink and not self.is_kept(piece, span.file):
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
                if not os.fstat(descriptor).st_nlink:
                    raise OSError("it was removed while it was written")
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
                descriptor = self._open[key] = open_below(
                    self._folder, self._layout.files[number].path, writing=writing
                )
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
