"""Trackers over HTTP: what they are told, and what they answer (BEP 3, 7, 21, 23, 24)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from librats._core import bencode
from librats.bittorrent.extensions import compact_peers
from librats.bittorrent.outer import text_of
from librats.errors import BencodeError, RemoteProtocolError
from librats.types import Address

__all__ = [
    "MAX_REPLY",
    "AnnounceReply",
    "AnnounceRequest",
    "announce_url",
    "count_of",
    "read_announce_reply",
    "read_fields",
    "words_of",
]

MAX_REPLY: Final = 1 << 20
"""Bytes that a reply has at most."""

MAX_TOKENS = 20_000
MAX_DEPTH = 8
MAX_PEERS = 2000
MAX_TEXT = 512
MAX_HOST = 253
MAX_PORT = 65_535
MAX_INTERVAL = 86_400
MAX_COUNT = (1 << 31) - 1
DEFAULT_INTERVAL = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceRequest:
    """What a tracker is told."""

    info_hash: bytes
    """20 bytes: which torrent."""

    peer_id: bytes
    """20 bytes: who asks."""

    port: int
    """TCP port that peers reach us at."""

    uploaded: int = 0
    """Bytes sent to peers since ``started``."""

    downloaded: int = 0
    """Bytes had from peers since ``started``."""

    left: int = 0
    """Bytes of all files that are missing, wanted or not: 0 from those alone that have everything (BEP 21)."""

    event: str = ""
    """``"started"``, ``"completed"`` or ``"stopped"``; at other times ``"paused"`` from who has all that is wanted and
    not all that there is (BEP 21), else ""."""

    key: int = 0
    """Tells us again after our address has changed: 32 bits that stay the same."""

    wanted: int = 50
    """How many peers to tell at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnounceReply:
    """What a tracker answers."""

    peers: tuple[Address, ...] = ()
    """Peers; over HTTP their hosts may be names."""

    interval: int = DEFAULT_INTERVAL
    """Seconds until it is to be asked again."""

    min_interval: int = 0
    """Seconds before which it is not to be asked again, but to tell the end; 0 where it does not say."""

    seeds: int = 0
    """Peers that have everything, as it counts them."""

    leechers: int = 0
    """Peers that lack something, as it counts them."""

    warning: str = ""
    """What it complains of; not to be trusted."""

    tracker_id: bytes = b""
    """To be told again with the next request."""

    external_ip: str = ""
    """Our address as it sees it (BEP 24); "" where it does not say."""


def announce_url(url: str, request: AnnounceRequest, *, tracker_id: bytes = b"") -> str:
    """Return the URL that asks a tracker.

    Args:
        url: The tracker's.
        request: What it is told.
        tracker_id: What it has called itself in its last answer.

    Example:
        >>> from librats.bittorrent.tracker_http import AnnounceRequest, announce_url
        >>> request = AnnounceRequest(info_hash=b"h" * 20, peer_id=b"p" * 20, port=6881)
        >>> announce_url("http://t.example/a?k=1", request)[:66]
        'http://t.example/a?k=1&info_hash=hhhhhhhhhhhhhhhhhhhh&peer_id=pppp'
    """
    fields: dict[str, bytes | int | str] = {
        "info_hash": request.info_hash,
        "peer_id": request.peer_id,
        "port": request.port,
        "uploaded": request.uploaded,
        "downloaded": request.downloaded,
        "left": request.left,
        "compact": 1,
        "numwant": request.wanted,
        "key": f"{request.key:08x}",
    }
    if request.event:
        fields["event"] = request.event
    if tracker_id:
        fields["trackerid"] = tracker_id
    base, hash_sign, _ = url.partition("#")
    del hash_sign
    return base + ("&" if "?" in base else "?") + urlencode(fields, quote_via=quote)


def count_of(fields: dict[bytes, Any], key: bytes, limit: int = MAX_COUNT) -> int:
    """Return a number of an answer, that limit at the most; 0 where it is none, or below it."""
    value = fields.get(key)
    return min(value, limit) if type(value) is int and value > 0 else 0


def words_of(value: Any) -> str:
    """Return the begin of what a tracker says to people; "" where it is no text."""
    return text_of(value, MAX_TEXT)


def read_fields(raw: bytes) -> dict[bytes, Any]:
    """Read what any answer of a tracker over HTTP is: a dictionary, or why there is none.

    Raises:
        RemoteProtocolError: It is none, has more than a limit allows, or the tracker says why it has failed; its words
            are not to be trusted.
    """
    if len(raw) > MAX_REPLY:
        raise RemoteProtocolError(f"a tracker's answer of more than {MAX_REPLY} bytes")
    try:
        fields, _ = bencode.decode_prefix(raw, strict=False, max_depth=MAX_DEPTH, max_tokens=MAX_TOKENS)
    except BencodeError as error:
        raise RemoteProtocolError(f"a tracker's answer is no bencode: {error}") from None
    if type(fields) is not dict:
        raise RemoteProtocolError("a tracker's answer is no dictionary")
    if b"failure reason" in fields:
        why = words_of(fields[b"failure reason"])
        raise RemoteProtocolError(f"the tracker refuses: {why or 'it does not say why'}")
    return fields


def read_announce_reply(raw: bytes) -> AnnounceReply:
    """Read what a tracker answers over HTTP.

    Raises:
        RemoteProtocolError: It is no answer, or the tracker says why it has failed; its words are not to be trusted.

    Example:
        >>> from librats.bittorrent.tracker_http import read_announce_reply
        >>> reply = read_announce_reply(b"d8:intervali900e5:peers6:" + bytes([192, 0, 2, 1, 26, 225]) + b"e")
        >>> reply.interval, str(reply.peers[0])
        (900, '192.0.2.1:6881')
    """
    fields = read_fields(raw)
    told = fields.get(b"peers")
    peers = _told_peers(told) if type(told) is list else compact_peers(told, 4, MAX_PEERS)
    peers += compact_peers(fields.get(b"peers6"), 16, MAX_PEERS)
    tracker_id = fields.get(b"tracker id")
    return AnnounceReply(
        peers=tuple(dict.fromkeys(peers)),
        interval=count_of(fields, b"interval", MAX_INTERVAL) or DEFAULT_INTERVAL,
        min_interval=count_of(fields, b"min interval", MAX_INTERVAL),
        seeds=count_of(fields, b"complete"),
        leechers=count_of(fields, b"incomplete"),
        warning=words_of(fields.get(b"warning message")),
        tracker_id=tracker_id[:MAX_TEXT] if type(tracker_id) is bytes else b"",
        external_ip=_ip(fields.get(b"external ip")),
    )


def _told_peers(told: list[Any]) -> list[Address]:
    """Read peers that are dictionaries (BEP 3). What is none is left out."""
    found = []
    for peer in told[:MAX_PEERS]:
        host, port = (peer.get(b"ip"), peer.get(b"port")) if type(peer) is dict else (None, None)
        if type(host) is bytes and type(port) is int and 0 < port <= MAX_PORT and 0 < len(host) <= MAX_HOST:
            text = words_of(host)
            if text.isascii() and text.isprintable() and " " not in text:
                found.append(Address(text, port))
    return found


def _ip(raw: Any) -> str:
    return str(ipaddress.ip_address(raw)) if type(raw) is bytes and len(raw) in {4, 16} else ""
