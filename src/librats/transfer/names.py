"""Names of files as peers send them: relative paths that no system takes for anything else, or a refusal."""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import Final

from librats.errors import TransferError

__all__ = [
    "MAX_DEPTH",
    "MAX_PART",
    "MAX_PATH",
    "NameSet",
    "check_parts",
    "fold",
    "is_unfinished",
    "read_path",
    "unfinished",
    "write_path",
]

MAX_PART: Final = 255
"""Bytes of UTF-8, and units of UTF-16, that a part of a path has at most."""

MAX_PATH: Final = 1024
"""Bytes of UTF-8 that a whole path has at most, separators included."""

MAX_DEPTH: Final = 32
"""Parts that a path has at most."""

# "/" is how parts are told apart. "\" and ":" mean folders, drives and streams on Windows; the others are its wildcards
# and redirections, which it takes in no name.
FORBIDDEN = frozenset('/\\:*?"<>|')
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Shown nowhere, and needed by no script: the byte order mark, deprecated format characters, annotations.
INVISIBLE = frozenset("\u200b\u2060\ufeff\u206a\u206b\u206c\u206d\u206e\u206f\ufff9\ufffa\ufffb")
NONCHARACTERS = frozenset(
    [*range(0xFDD0, 0xFDF0), *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF))]
)
CONTROL_CATEGORIES = frozenset({"Cc", "Zl", "Zp"})
VARIATION_SELECTORS = frozenset(chr(code) for code in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))

# Devices of Windows, in any folder and with any extension. NFKC makes COM1 of COM¹.
DEVICES = frozenset(
    [
        *("con", "prn", "aux", "nul", "conin$", "conout$", "clock$"),
        *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10)),
    ]
)
IOTA_BELOW = "\u0345"
IOTA_CLASS = 240  # its canonical combining class: marks of lower ones stand before it
RESOURCE_FORK = "..namedfork"  # macOS: what is below it is a part of the file before it
UNFINISHED_PREFIX, UNFINISHED_SUFFIX = ".librats-", ".part"

Parts = tuple[str, ...]


def _refusal(problem: str) -> TransferError:
    # The name itself is not told: it may hold what a terminal obeys.
    return TransferError("bad_name", problem)


def _character_problem(char: str) -> str:
    """Say why a name may not have this character; "" where it may."""
    if char in FORBIDDEN:
        return f"a name has the character {char}"
    if char in BIDI_CONTROLS:
        return f"a name has the control U+{ord(char):04X} of the writing direction"
    if char in INVISIBLE or ord(char) in NONCHARACTERS:
        return f"a name has the character U+{ord(char):04X}"
    category = unicodedata.category(char)
    if category == "Cs":
        return f"a name has the surrogate U+{ord(char):04X}"
    return f"a name has the control character U+{ord(char):04X}" if category in CONTROL_CATEGORIES else ""


def _check_part(part: str) -> None:
    if not part:
        raise _refusal("a part of a path is empty")
    if len(part) > MAX_PART:  # before anything that takes longer with its length
        raise _refusal(f"a part of a path has more than {MAX_PART} characters")
    if not (part.isascii() and part.isprintable() and FORBIDDEN.isdisjoint(part)):
        problem = next(filter(None, map(_character_problem, part)), "")
        if problem:
            raise _refusal(problem)
    if part in {".", ".."}:
        raise _refusal(f'a part of a path is "{part}"')
    if part[-1] in ". ":
        raise _refusal("a part of a path ends with a dot or a space")
    # HFS+ keeps names decomposed, which are the longest.
    forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
    if len(part.encode()) > MAX_PART or max(len(form.encode("utf-16-le")) for form in forms) > 2 * MAX_PART:
        raise _refusal(f"a part of a path has more than {MAX_PART} bytes, or units of UTF-16")
    if not part.isascii() and _has_early_iota(part):
        raise _refusal("a part of a path has an iota below before another mark")
    folded = fold(part)
    if _is_unfinished(folded):
        raise _refusal("a part of a path is the name of a transfer that is not done")
    if not folded.strip(". "):
        raise _refusal("a part of a path has nothing but dots and spaces")
    if folded == RESOURCE_FORK or folded.partition(".")[0].rstrip() in DEVICES:
        raise _refusal("a part of a path is the name of a device")


def _has_early_iota(part: str) -> bool:
    """Tell whether an iota below stands before a mark that belongs before it.

    It becomes a letter in upper case, which marks do not pass: so what is one name to a system that compares upper case
    is two to one that normalizes first, and no fold serves both. Greek is not written so.
    """
    marks = "".join(unicodedata.normalize("NFD", char) for char in part)
    return any(one == IOTA_BELOW and 0 < unicodedata.combining(other) < IOTA_CLASS for one, other in pairwise(marks))


def fold(part: str) -> str:
    """Return what is equal for two names that some file system takes for the same, or that look the same."""
    if part.isascii():
        return part.lower()
    shown = "".join(c for c in part if unicodedata.category(c) != "Cf" and c not in VARIATION_SELECTORS)
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", shown).casefold())
    # A second round, for a few characters need it (Unicode, 3.13, D146). It goes through upper case, as NTFS compares:
    # dotless i is I there.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded.upper()).casefold())


def is_unfinished(name: str) -> bool:
    """Tell whether a name is, on some system, that of the hidden folder of a transfer that is not done.

    Nobody may offer it: what is there would count as what has come of that transfer, checked already.

    Example:
        >>> from librats.transfer.names import is_unfinished
        >>> is_unfinished(".librats-0123456789abcdef.part"), is_unfinished("movie.part")
        (True, False)
    """
    return _is_unfinished(fold(name))


def _is_unfinished(folded: str) -> bool:
    return folded.startswith(UNFINISHED_PREFIX) and folded.endswith(UNFINISHED_SUFFIX)


def unfinished(identifier: str) -> str:
    """Return the name of the hidden folder of a transfer.

    Args:
        identifier: What tells it from others, in hex digits.
    """
    return f"{UNFINISHED_PREFIX}{identifier}{UNFINISHED_SUFFIX}"


def check_parts(parts: Parts) -> None:
    """See that the parts of a path are safe below any folder, on every system.

    Refused are: "." and "..", empty parts, "/", "\\\\", ":" and what else Windows takes in no name, control characters
    and those of the writing direction, surrogates, a dot or a space at the end, devices of Windows with any extension,
    hidden folders of transfers that are not done, and what is too long or too deep. So there is no absolute path,
    drive, share, or alternate stream.

    Args:
        parts: From the outermost folder to the file.

    Raises:
        TransferError: They are not; its code is ``"bad_name"``.
    """
    if not parts:
        raise _refusal("a path is empty")
    if len(parts) > MAX_DEPTH:
        raise _refusal(f"a path has more than {MAX_DEPTH} parts")
    for part in parts:
        _check_part(part)
    if sum(len(part.encode()) + 1 for part in parts) - 1 > MAX_PATH:
        raise _refusal(f"a path has more than {MAX_PATH} bytes")


def read_path(raw: bytes) -> Parts:
    """Read a path that a peer sent: UTF-8, with "/" between its parts.

    What comes back can be joined to a folder, and is below it. That no part is a symbolic link, and that no file is
    there already, is for whoever writes to see.

    Args:
        raw: As it was sent.

    Returns:
        The parts, from the outermost folder to the file; see :func:`check_parts`.

    Raises:
        TransferError: It is not safe; its code is ``"bad_name"``.

    Example:
        >>> from librats.transfer.names import read_path
        >>> read_path(b"photos/2026/beach.jpg")
        ('photos', '2026', 'beach.jpg')
        >>> read_path(b"../.ssh/authorized_keys")
        Traceback (most recent call last):
        ...
        librats.errors.TransferError: a part of a path is ".." [bad_name]
    """
    if len(raw) > MAX_PATH:
        raise _refusal(f"a path has more than {MAX_PATH} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise _refusal("a path is not UTF-8") from None
    parts = tuple(text.split("/"))
    check_parts(parts)
    return parts


def write_path(parts: Parts) -> bytes:
    """Write a path as it is sent. It is checked as :func:`read_path` does.

    Raises:
        TransferError: Nobody would take it; its code is ``"bad_name"``.
    """
    check_parts(parts)
    return "/".join(parts).encode()


class NameSet:
    """The paths of one offer: no two of them are the same file on any system.

    Names that differ in case, in their normal form (NFC, NFD, NFKC) or in what is not shown are the same. Folders, too,
    are spelled in one way.

    Args:
        max_folders: How many folders there may be.

    Example:
        >>> from librats.transfer.names import NameSet
        >>> names = NameSet()
        >>> names.add_file(("docs", "a.txt"))
        >>> names.add_file(("docs", "A.TXT"))
        Traceback (most recent call last):
        ...
        librats.errors.TransferError: two paths are the same but for case or normal form [bad_name]
    """

    def __init__(self, *, max_folders: int = 100_000) -> None:
        self._max_folders = max_folders
        self._folders: dict[tuple[int, str], tuple[int, str]] = {}
        self._files: dict[int, set[str]] = {}  # by the number of their folder: a pair for each would take the most

    def add_file(self, parts: Parts) -> None:
        """Add a file, and the folders above it.

        Args:
            parts: Its path, checked already.

        Raises:
            TransferError: It collides with an earlier path (``"bad_name"``), or there are too many folders
                (``"limit"``). Not all of it is added then; the offer is to be refused.
        """
        above = self._enter(parts[:-1])
        name = fold(parts[-1])
        if (above, name) in self._folders:
            raise _refusal("a path is a file and a folder")
        files = self._files.setdefault(above, set())
        if name in files:
            raise _refusal("two paths are the same but for case or normal form")
        files.add(parts[-1] if name == parts[-1] else name)

    def add_empty_folder(self, parts: Parts) -> None:
        """Add a folder that nothing is in.

        Args:
            parts: Its path, checked already.

        Raises:
            TransferError: It collides with an earlier path (``"bad_name"``), something is in it, or there are too many
                folders (``"limit"``).
        """
        above = self._enter(parts[:-1])
        if (above, fold(parts[-1])) in self._folders:
            raise _refusal("a folder is told to be empty, and is not, or is told twice")
        self._enter(parts)

    def _enter(self, parts: Parts) -> int:
        """Walk down, making folders that are not there; return the number of the last one."""
        at = 0
        for part in parts:
            key = (at, fold(part))
            if key[1] in self._files.get(at, ()):
                raise _refusal("a path is a file and a folder")
            known = self._folders.get(key)
            if known is None:
                if len(self._folders) >= self._max_folders:
                    raise TransferError("limit", f"more than {self._max_folders} folders")
                known = self._folders[key] = (len(self._folders) + 1, part)
            at, spelling = known
            if spelling != part:
                raise _refusal("two folders are the same but for case or normal form")
        return at
