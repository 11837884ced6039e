"""What clients tell each other on the local network: who takes part in which torrents (BEP 14)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from librats.errors import DecodeError, UsageError
from librats.types import Address

__all__ = ["LSD_GROUPS", "MAX_ANNOUNCED", "MAX_LOCAL_MESSAGE", "LocalAnnouncement", "read_local_announcement"]

LSD_GROUPS: Final = {False: Address("239.192.152.143", 6771), True: Address("ff15::efc0:988f", 6771)}
"""Where announcements go, over IPv4 (False) and IPv6 (True)."""

MAX_LOCAL_MESSAGE: Final = 1400
"""Bytes of an announcement at most."""

MAX_ANNOUNCED: Final = 24
"""Torrents that one announcement of ours tells of at most."""

HASH_SIZE = 20
MAX_PORT = 65535
MAX_COOKIE = 64
BEGINNING = "BT-SEARCH * HTTP/1."
END_OF_HEADERS = b"\r\n\r\n"
HEX = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalAnnouncement:
    """One client tells which torrents it takes part in. Where it is shows in what address the datagram comes from.

    Example:
        >>> from librats.bittorrent.local_discovery import LocalAnnouncement, read_local_announcement
        >>> told = LocalAnnouncement(port=6881, info_hashes=(bytes(20),), cookie="7a")
        >>> print(told.encode(ipv6=False).decode().replace(chr(13), "").rstrip())
        BT-SEARCH * HTTP/1.1
        Host: 239.192.152.143:6771
        Port: 6881
        Infohash: 0000000000000000000000000000000000000000
        cookie: 7a
        >>> read_local_announcement(told.encode(ipv6=True)) == told
        True
    """

    port: int
    """Where it listens for peers."""

    info_hashes: tuple[bytes, ...]
    """The torrents, 20 bytes each."""

    cookie: str = ""
    """What it knows its own announcements by; empty where it does not tell."""

    def encode(self, *, ipv6: bool) -> bytes:
        """Return the datagram.

        Args:
            ipv6: Whether it goes to the group of IPv6.

        Raises:
            UsageError: It has no torrent, or one whose hash has not 20 bytes, or too many of them; the port or the
                cookie cannot be.
        """
        if not 0 < len(self.info_hashes) <= MAX_ANNOUNCED or any(len(one) != HASH_SIZE for one in self.info_hashes):
            raise UsageError(f"an announcement tells of 1 to {MAX_ANNOUNCED} hashes of {HASH_SIZE} bytes")
        if not 0 < self.port <= MAX_PORT:
            raise UsageError(f"a port is 1 to {MAX_PORT}, not {self.port}")
        if not _is_cookie(self.cookie):
            raise UsageError(f"a cookie has at most {MAX_COOKIE} printable characters of ASCII, and no space around it")
        lines = [f"{BEGINNING}1", f"Host: {LSD_GROUPS[ipv6]}", f"Port: {self.port}"]
        lines += [f"Infohash: {info_hash.hex()}" for info_hash in self.info_hashes]
        lines += [f"cookie: {self.cookie}"] * bool(self.cookie)
        return "\r\n".join([*lines, "", "", ""]).encode()


def _is_cookie(text: str) -> bool:
    return len(text) <= MAX_COOKIE and text.isascii() and text.isprintable() and text == text.strip()


def read_local_announcement(data: bytes) -> LocalAnnouncement:
    """Read an announcement from the local network.

    Headers that are not known are passed over, as are hashes that have not 40 digits: they may be of later versions.

    Raises:
        DecodeError: It is none, is longer than 1,400 bytes, or names no port or no torrent.
    """
    if len(data) > MAX_LOCAL_MESSAGE:
        raise DecodeError(f"a local announcement of more than {MAX_LOCAL_MESSAGE} bytes", MAX_LOCAL_MESSAGE)
    headers, end, _ = data.partition(END_OF_HEADERS)
    if not end or not headers.isascii():
        raise DecodeError("a local announcement without its end, or not of ASCII")
    first, *lines = headers.decode("ascii").split("\r\n")
    version = first.removeprefix(BEGINNING)
    if version == first or len(version) != 1 or not version.isdigit():
        raise DecodeError(f"{BEGINNING}1 was expected")
    port, cookie = 0, ""
    found: dict[bytes, None] = {}
    for line in lines:
        name, colon, value = (part.strip(" \t") for part in line.partition(":"))
        if not colon:
            raise DecodeError("a header of a local announcement without a colon")
        match name.lower():
            case "port":
                if port:
                    raise DecodeError("a local announcement with two ports")
                port = _read_port(value)
            case "cookie":
                cookie = value[:MAX_COOKIE]
            case "infohash":
                if len(value) == 2 * HASH_SIZE and HEX.issuperset(value):
                    found[bytes.fromhex(value)] = None
    if not port or not found:
        raise DecodeError("a local announcement without a port, or without a torrent")
    return LocalAnnouncement(port=port, info_hashes=tuple(found), cookie=cookie)


def _read_port(text: str) -> int:
    if not text.isdigit() or len(text) > len(str(MAX_PORT)) or not 0 < int(text) <= MAX_PORT:
        raise DecodeError("a local announcement whose port is none")
    return int(text)
