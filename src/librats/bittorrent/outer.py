"""What stands around the ``info`` of a torrent file: trackers, web seeds, nodes, and the piece layers of version 2."""

from __future__ import annotations

from typing import Any, Final

from librats.bittorrent.layout import Layout
from librats.bittorrent.merkle import BLOCK_SIZE, HASH_SIZE, next_power, root_above
from librats.errors import DecodeError
from librats.types import Address

__all__ = [
    "MAX_TRACKERS",
    "MAX_URL",
    "is_tracker",
    "is_web",
    "read_layers",
    "read_nodes",
    "read_trackers",
    "read_web_seeds",
    "text_of",
]

MAX_TRACKERS: Final = 256
"""Trackers that are kept of a torrent or a magnet link."""

MAX_URL: Final = 2048
"""Characters that a URL has at most."""

MAX_NODES = 64
MAX_TEXT = 16_384
NODE_PARTS = 2
MAX_PORT = 65_535
MAX_HOST = 253
TRACKERS = ("udp://", "http://", "https://", "ws://", "wss://")
WEB = ("http://", "https://")


def text_of(value: Any, most: int = MAX_TEXT) -> str:
    """Return the begin of a field for people, so many bytes of it, as text; "" where it is none."""
    return value[:most].decode("utf-8", "replace") if type(value) is bytes else ""


def _url_of(value: Any) -> str:
    text = text_of(value).strip()
    return text if text.isprintable() and " " not in text else ""


def is_tracker(url: str) -> bool:
    """Whether it looks like the URL of a tracker that could be asked."""
    return 0 < len(url) <= MAX_URL and url.lower().startswith(TRACKERS)


def is_web(url: str) -> bool:
    """Whether it looks like a URL of HTTP."""
    return 0 < len(url) <= MAX_URL and url.lower().startswith(WEB)


def read_trackers(outer: dict[bytes, Any]) -> tuple[tuple[str, ...], ...]:
    """Read ``announce-list`` (BEP 12), or ``announce`` where there is none (BEP 3). What is no tracker is left out."""
    told = outer.get(b"announce-list")
    tiers = told if type(told) is list else []
    seen: set[str] = set()
    found = []
    for tier in tiers:
        urls = [_url_of(url) for url in tier] if type(tier) is list else [_url_of(tier)]
        kept = tuple(url for url in dict.fromkeys(urls) if is_tracker(url) and url not in seen)
        kept = kept[: MAX_TRACKERS - len(seen)]
        seen.update(kept)
        if kept:
            found.append(kept)
    if not found and is_tracker(only := _url_of(outer.get(b"announce"))):
        found.append((only,))
    return tuple(found)


def read_web_seeds(outer: dict[bytes, Any]) -> tuple[str, ...]:
    """Read ``url-list`` (BEP 19), one URL or a list. What is none is left out."""
    told = outer.get(b"url-list")
    urls = map(_url_of, told if type(told) is list else [told])
    return tuple(dict.fromkeys(url for url in urls if is_web(url)))[:MAX_TRACKERS]


def read_nodes(told: Any) -> tuple[Address, ...]:
    """Read ``nodes`` (BEP 5). What is no host and port is left out."""
    found = []
    for node in told[:MAX_NODES] if type(told) is list else []:
        if type(node) is list and len(node) == NODE_PARTS and type(node[0]) is bytes and type(node[1]) is int:
            host = text_of(node[0])
            if host.isprintable() and 0 < len(host) <= MAX_HOST and 0 < node[1] <= MAX_PORT:
                found.append(Address(host, node[1]))
    return tuple(found)


def read_layers(told: Any, layout: Layout) -> dict[bytes, bytes]:
    """Read ``piece layers`` (BEP 52), and check each against the root of its file.

    Raises:
        DecodeError: One is of no file, or of other hashes than its root says.
    """
    if type(told) is not dict:
        raise DecodeError("the piece layers are no dictionary")
    length = layout.piece_length
    sizes = {file.root: file.size for file in layout.files if file.root and file.size > length}
    level = next_power(length // BLOCK_SIZE).bit_length() - 1
    for root, layer in told.items():
        size = sizes.get(root)
        pieces = -(-size // length) if size is not None else 0
        if type(layer) is not bytes or not pieces or len(layer) != pieces * HASH_SIZE:
            raise DecodeError("a piece layer is of no file, or of another length")
        if root_above(layer, next_power(pieces), level) != root:
            raise DecodeError("a piece layer does not lead to the root of its file")
    return told
