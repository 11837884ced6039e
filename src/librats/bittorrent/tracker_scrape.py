"""How many peers a torrent has, asked of a tracker without taking part: scrape over HTTP (BEP 48, 21)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

from librats.bittorrent.tracker_http import count_of, read_fields, words_of
from librats.errors import RemoteProtocolError, UsageError

__all__ = ["MAX_SCRAPED", "ScrapeReply", "SwarmCounts", "check_hashes", "read_scrape_reply", "scrape_url"]

MAX_SCRAPED: Final = 74
"""Torrents that a tracker is asked about at once: so many have room in a packet of UDP (BEP 15)."""

MAX_INTERVAL = 86_400
HASH_SIZE = 20
ANNOUNCE, SCRAPE = "announce", "scrape"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmCounts:
    """How many peers a torrent has, as a tracker counts them."""

    seeds: int
    """Peers that have everything."""

    leechers: int
    """Peers that lack something, wanted or not."""

    downloaded: int
    """How often a peer has told that it has got everything."""

    downloaders: int | None = None
    """Those of the leechers that want something still (BEP 21); None where it does not say, as over UDP."""

    name: str = ""
    """What it calls the torrent, as few do; not to be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeReply:
    """What a tracker answers."""

    counts: dict[bytes, SwarmCounts] = field(default_factory=dict)
    """By info-hash, of 20 bytes. Those that it does not know are left out."""

    min_interval: int = 0
    """Seconds before which it is not to be asked again; 0 where it does not say."""


def check_hashes(info_hashes: Sequence[bytes]) -> None:
    """See that a tracker can be asked about torrents.

    Raises:
        UsageError: There are none, more than :data:`MAX_SCRAPED`, or one that has not 20 bytes.
    """
    if not 0 < len(info_hashes) <= MAX_SCRAPED:
        raise UsageError(f"a tracker is asked about 1 to {MAX_SCRAPED} torrents at once, not {len(info_hashes)}")
    if any(len(info_hash) != HASH_SIZE for info_hash in info_hashes):
        raise UsageError(f"an info-hash that a tracker is asked about has {HASH_SIZE} bytes")


def scrape_url(url: str, info_hashes: Sequence[bytes]) -> str:
    """Return the URL that asks a tracker how many peers torrents have (BEP 48).

    It is that of announcements, with ``scrape`` for ``announce`` where a part of its path begins so: the last such one.

    Args:
        url: The tracker's, for announcements.
        info_hashes: Of the torrents, 20 bytes each; of version 2 the first 20. At most 74.

    Raises:
        UsageError: The path has no such part, so it cannot be scraped; or there are no hashes, too many, or some of
            another length.

    Example:
        >>> from librats.bittorrent.tracker_scrape import scrape_url
        >>> scrape_url("http://t.example/x/announce.php?k=1", [b"h" * 20])
        'http://t.example/x/scrape.php?k=1&info_hash=hhhhhhhhhhhhhhhhhhhh'
    """
    check_hashes(info_hashes)
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"no URL: {error}") from None
    path = parts.path.split("/")
    found = [at for at, part in enumerate(path) if at and part.startswith(ANNOUNCE)]
    if not found:
        raise UsageError("it cannot be scraped: there is no /announce in its URL")
    path[found[-1]] = SCRAPE + path[found[-1]].removeprefix(ANNOUNCE)
    asked = [f"info_hash={quote(info_hash, safe='')}" for info_hash in info_hashes]
    query = "&".join([*([parts.query] if parts.query else []), *asked])
    return urlunsplit((parts.scheme, parts.netloc, "/".join(path), query, ""))


def read_scrape_reply(raw: bytes, info_hashes: Sequence[bytes]) -> ScrapeReply:
    """Read what a tracker answers to a scrape over HTTP. Torrents that it was not asked about are left out.

    Args:
        raw: The answer.
        info_hashes: What it was asked about.

    Raises:
        RemoteProtocolError: It is no answer, or the tracker says why it has failed; its words are not to be trusted.

    Example:
        >>> from librats.bittorrent.tracker_scrape import read_scrape_reply
        >>> raw = b"d5:filesd20:" + b"h" * 20 + b"d8:completei5e10:downloadedi50e10:incompletei10eeee"
        >>> read_scrape_reply(raw, [b"h" * 20]).counts[b"h" * 20].seeds
        5
    """
    fields = read_fields(raw)
    files = fields.get(b"files")
    if type(files) is not dict:
        raise RemoteProtocolError("a tracker's answer tells of no torrents")
    flags = fields.get(b"flags")
    told = {info_hash: files.get(info_hash, files.get(_as_text(info_hash))) for info_hash in info_hashes}
    return ScrapeReply(
        counts={info_hash: _counts(counts) for info_hash, counts in told.items() if type(counts) is dict},
        min_interval=count_of(flags, b"min_request_interval", MAX_INTERVAL) if type(flags) is dict else 0,
    )


def _as_text(info_hash: bytes) -> bytes:
    """Return a hash as trackers write it that take it for a text: WebTorrent's does over HTTP."""
    return info_hash.decode("latin-1").encode()


def _counts(told: dict[bytes, Any]) -> SwarmCounts:
    return SwarmCounts(
        seeds=count_of(told, b"complete"),
        leechers=count_of(told, b"incomplete"),
        downloaded=count_of(told, b"downloaded"),
        downloaders=count_of(told, b"downloaders") if type(told.get(b"downloaders")) is int else None,
        name=words_of(told.get(b"name")),
    )
