"""Magnet links (BEP 9, 53): all that is needed to get a torrent from its peers, in one line."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, unquote_plus

from librats.bittorrent.outer import MAX_TRACKERS, is_tracker, is_web
from librats.errors import ConfigError, DecodeError
from librats.types import Address

__all__ = ["MAX_MAGNET", "Magnet", "parse_magnet"]

MAX_MAGNET: Final = 65_536
"""Characters that a link has at most."""

SCHEME = "magnet:?"
BTIH = "urn:btih:"
BTMH = "urn:btmh:"
SHA256_MULTIHASH = "1220"
HEX_V1, BASE32_V1, HEX_V2 = 40, 32, 64
SHA1_SIZE = 20
MAX_FIELDS = 1024
MAX_PEERS = 256
MAX_NAME = 1024
MAX_FILE = 1 << 20
MAX_CHOSEN = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnet:
    """A magnet link; ``str(magnet)`` writes it.

    Example:
        >>> from librats.bittorrent.magnet import Magnet
        >>> str(Magnet(info_hash_v1=bytes(20), name="two words"))
        'magnet:?xt=urn:btih:0000000000000000000000000000000000000000&dn=two%20words'
    """

    info_hash_v1: bytes | None = None
    """SHA-1 of the torrent's ``info``, 20 bytes."""

    info_hash_v2: bytes | None = None
    """SHA-256 of the torrent's ``info``, 32 bytes (BEP 52)."""

    name: str = ""
    """What to show until the torrent is there; not to be trusted."""

    trackers: tuple[str, ...] = ()
    """URLs of trackers."""

    peers: tuple[Address, ...] = ()
    """Peers to begin with; hosts may be names."""

    web_seeds: tuple[str, ...] = ()
    """URLs that serve the files over HTTP (BEP 19)."""

    files: tuple[int, ...] | None = None
    """Numbers of the files that are wanted (BEP 53); None for all of them."""

    @property
    def info_hash(self) -> bytes:
        """20 bytes that peers and trackers are asked with."""
        return self.info_hash_v1 or (self.info_hash_v2 or b"")[:SHA1_SIZE]

    @property
    def info_hashes(self) -> tuple[bytes, ...]:
        """Both hashes of a hybrid, or the one that there is, 20 bytes each: of version 2 the first 20 (BEP 52)."""
        both = (self.info_hash_v1, (self.info_hash_v2 or b"")[:SHA1_SIZE])
        return tuple(info_hash for info_hash in both if info_hash)

    def __str__(self) -> str:
        """Write the link."""
        fields = []
        if self.info_hash_v1 is not None:
            fields.append(f"xt={BTIH}{self.info_hash_v1.hex()}")
        if self.info_hash_v2 is not None:
            fields.append(f"xt={BTMH}{SHA256_MULTIHASH}{self.info_hash_v2.hex()}")
        if self.name:
            fields.append(f"dn={quote(self.name, safe='')}")
        fields += [f"tr={quote(url, safe='')}" for url in self.trackers]
        fields += [f"ws={quote(url, safe='')}" for url in self.web_seeds]
        fields += [f"x.pe={peer}" for peer in self.peers]
        if self.files is not None:
            fields.append("so=" + ",".join(_ranges(self.files)))
        return SCHEME + "&".join(fields)


def _ranges(numbers: Iterable[int]) -> list[str]:
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and runs[-1][1] + 1 == number:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return [f"{low}" if low == high else f"{low}-{high}" for low, high in runs]


def parse_magnet(text: str) -> Magnet:
    """Read a magnet link.

    Unknown fields, and trackers, peers and web seeds that are none, are left out.

    Args:
        text: The link.

    Raises:
        DecodeError: It is none, has no info-hash or one that cannot be, chooses files by what are no numbers (BEP 53),
            or is too long.

    Example:
        >>> from librats.bittorrent.magnet import parse_magnet
        >>> parse_magnet("magnet:?xt=urn:btih:" + 40 * "a" + "&dn=A%20name&so=0,2-3").files
        (0, 2, 3)
    """
    if len(text) > MAX_MAGNET:
        raise DecodeError(f"a magnet link of more than {MAX_MAGNET} characters")
    if text[: len(SCHEME)].lower() != SCHEME:
        raise DecodeError("no magnet link")
    pairs = text[len(SCHEME) :].split("&")
    if len(pairs) > MAX_FIELDS:
        raise DecodeError(f"a magnet link of more than {MAX_FIELDS} fields")
    fields: dict[str, list[str]] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        stem, dot, number = key.lower().rpartition(".")
        fields.setdefault(stem if dot and number.isdigit() else key.lower(), []).append(value)
    hash_v1, hash_v2 = _info_hashes(fields.get("xt", []))
    urls = dict.fromkeys(map(unquote, fields.get("tr", [])))
    seeds = dict.fromkeys(map(unquote, fields.get("ws", [])))
    peers = [_peer_of(unquote(peer)) for peer in fields.get("x.pe", [])[:MAX_PEERS]]
    return Magnet(
        info_hash_v1=hash_v1,
        info_hash_v2=hash_v2,
        name=unquote_plus(fields.get("dn", [""])[0])[:MAX_NAME],
        trackers=tuple(url for url in urls if is_tracker(url))[:MAX_TRACKERS],
        peers=tuple(dict.fromkeys(peer for peer in peers if peer is not None)),
        web_seeds=tuple(url for url in seeds if is_web(url))[:MAX_TRACKERS],
        files=_chosen(fields["so"]) if "so" in fields else None,
    )


def _info_hashes(topics: list[str]) -> tuple[bytes | None, bytes | None]:
    hash_v1: bytes | None = None
    hash_v2: bytes | None = None
    for topic in map(unquote, topics):
        kind, digits = topic[: len(BTIH)].lower(), topic[len(BTIH) :]
        if kind == BTIH:
            hash_v1 = hash_v1 or _hash_v1(digits)
        elif kind == BTMH:
            hash_v2 = hash_v2 or _hash_v2(digits)
    if hash_v1 is None and hash_v2 is None:
        raise DecodeError("a magnet link without an info-hash")
    return hash_v1, hash_v2


def _hash_v1(digits: str) -> bytes:
    try:
        if len(digits) == HEX_V1:
            return binascii.unhexlify(digits)
        if len(digits) == BASE32_V1:
            return base64.b32decode(digits, casefold=True)
    except ValueError:
        pass
    raise DecodeError("an info-hash that is no SHA-1")


def _hash_v2(digits: str) -> bytes:
    if digits.startswith(SHA256_MULTIHASH) and len(digits) == len(SHA256_MULTIHASH) + HEX_V2:
        try:
            return binascii.unhexlify(digits)[2:]
        except ValueError:
            pass
    raise DecodeError("an info-hash that is no multihash of SHA-256")


def _peer_of(text: str) -> Address | None:
    try:
        address = Address.parse(text)
    except (ConfigError, ValueError):
        return None
    return address if address.port else None


def _chosen(values: list[str]) -> tuple[int, ...]:
    """Read numbers and ranges of files (BEP 53).

    What is wrong is not left out, as somebody would get other files than the link is meant to give.
    """
    found: set[int] = set()
    for item in unquote(",".join(values)).split(","):
        low, dash, high = item.partition("-")
        begin = _file_number(low)
        end = _file_number(high) if dash else begin
        if end < begin:
            raise DecodeError("a magnet link with a range of files whose end is before its begin")
        if len(found) + end - begin >= MAX_CHOSEN:
            raise DecodeError(f"a magnet link that chooses more than {MAX_CHOSEN} files")
        found.update(range(begin, end + 1))
    return tuple(sorted(found))


def _file_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAX_FILE)) or int(text) > MAX_FILE:
        raise DecodeError("a magnet link that chooses files by what is no number")
    return int(text)
