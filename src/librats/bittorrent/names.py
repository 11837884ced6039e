"""Names of files as torrents have them: made safe rather than refused, for a torrent is not to be had with others.

What :mod:`librats.transfer.names` would refuse is replaced: no name leads out of its folder, is another one's on some
system, or means a device. Who made the torrent need not know, for names are no part of what is hashed piece by piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from librats.errors import TransferError
from librats.transfer.names import Parts, check_parts, fold

__all__ = ["KEPT_FOLDER", "SafePaths", "clean_name", "clean_part", "torrent_name"]

SEPARATORS = str.maketrans("", "", "/\\")
REPLACED = str.maketrans(dict.fromkeys(map(ord, ':*?"<>|'), "_"))
MAX_BYTES = 240  # room for what tells two of the same name apart
MAX_EXTENSION = 16
SUBSTITUTE = "_"

KEPT_FOLDER: Final = ".librats"
"""Folder, beside a torrent's files, of what is kept for the next time: no torrent may write there."""


def _is_safe(parts: Parts) -> bool:
    try:
        check_parts(parts)
    except TransferError:
        return False
    return True


def clean_name(raw: bytes) -> str:
    """Return a safe name like one from a torrent; "" where nothing is left of it, as of "..".

    Separators are left out, other characters that no system or not every one takes become "_", as do bytes that are no
    UTF-8. Dots and spaces at the end are left out, what is too long is cut, and "_" is put before names of devices.

    Args:
        raw: The name, at most some hundred kilobytes.

    Example:
        >>> from librats.bittorrent.names import clean_name
        >>> clean_name(b"a/b: part 1?"), clean_name(b"aux.txt"), clean_name(b"..")
        ('ab_ part 1_', '_aux.txt', '')
    """
    text = raw[: 8 * MAX_BYTES].decode("utf-8", "replace").replace("\ufffd", SUBSTITUTE)
    text = text.translate(SEPARATORS).translate(REPLACED)
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if _is_safe((f"a{char}b",)) else SUBSTITUTE for char in text)
    text = _shorten(text.rstrip(". "))
    if not text or _is_safe((text,)):
        return text
    marked = SUBSTITUTE + text
    return marked if _is_safe((marked,)) else ""


def torrent_name(raw: bytes) -> str:
    """Return a safe name for a torrent's file or folder: as :func:`clean_name`, and never :data:`KEPT_FOLDER`."""
    name = clean_name(raw)
    return SUBSTITUTE + name if fold(name) == KEPT_FOLDER else name


def clean_part(raw: bytes) -> str:
    """Return a safe part of a path: as :func:`clean_name`, and "_" where nothing is left."""
    return clean_name(raw) or SUBSTITUTE


def _shorten(text: str) -> str:
    """Cut a name that is too long, but not what it ends with."""
    if len(text.encode()) <= MAX_BYTES:
        return text
    stem, dot, extension = text.rpartition(".")
    tail = dot + extension if stem and len(extension.encode()) <= MAX_EXTENSION else ""
    room = MAX_BYTES - len(tail.encode())
    return (stem if tail else text).encode()[:room].decode("utf-8", "ignore").rstrip(". ") + tail


def _numbered(name: str, number: int) -> str:
    stem, dot, extension = name.rpartition(".")
    return f"{stem}.{number}.{extension}" if stem and dot else f"{name}.{number}"


class SafePaths:
    """Places for the files of one torrent: no two are the same file on any system.

    A file of a name that is taken gets a number. Folders that only some systems tell apart become one.

    Example:
        >>> from librats.bittorrent.names import SafePaths
        >>> paths = SafePaths()
        >>> paths.place((b"docs", b"a.txt"))
        ('docs', 'a.txt')
        >>> paths.place((b"Docs", b"A.txt"))
        ('docs', 'A.1.txt')
    """

    def __init__(self) -> None:
        self._folders: dict[tuple[int, str], tuple[int, str]] = {}
        self._files: set[tuple[int, str]] = set()
        self._numbers: dict[tuple[int, str], int] = {}  # tried already

    def place(self, raw: Sequence[bytes]) -> Parts:
        """Return where a file goes.

        Args:
            raw: The parts of its path as the torrent has them, at least one.

        Returns:
            Parts that :func:`~librats.transfer.names.check_parts` takes.
        """
        parts = tuple(clean_part(part) for part in raw)
        if not _is_safe(parts):  # too deep, or too long as a whole
            ending = parts[-1].rpartition(".")[2][:MAX_EXTENSION]
            parts = (parts[0], f"{sha256(b'/'.join(raw)).hexdigest()[:32]}.{clean_part(ending.encode())}")
        above = 0
        folders = []
        for part in parts[:-1]:
            above, spelled = self._enter(above, part)
            folders.append(spelled)
        name = self._free(above, parts[-1], in_folders=True)
        self._files.add((above, fold(name)))
        placed = (*folders, name)
        return placed if _is_safe(placed) else self.place([sha256(b"/".join(raw)).hexdigest()[:32].encode()])

    def _enter(self, above: int, part: str) -> tuple[int, str]:
        key = (above, fold(part))
        known = self._folders.get(key)
        if known is None:
            spelled = self._free(above, part, in_folders=False)
            known = self._folders.setdefault((above, fold(spelled)), (len(self._folders) + 1, spelled))
            self._folders[key] = known  # of another name, where a file has that one
        return known

    def _free(self, above: int, name: str, *, in_folders: bool) -> str:
        """Return the name, or one like it that no file has (nor a folder)."""
        key = (above, fold(name))
        other, tried = name, key
        while tried in self._files or (in_folders and tried in self._folders):
            self._numbers[key] = number = self._numbers.get(key, 0) + 1
            other = _numbered(name, number)
            tried = (above, fold(other))
        return other
