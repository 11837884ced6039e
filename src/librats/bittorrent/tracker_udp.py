"""A tracker over UDP, as a machine: get a connection, then announce or scrape, each until it is answered (BEP 15)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from struct import Struct, error
from typing import Final

from librats.bittorrent.extensions import compact_peers
from librats.bittorrent.tracker_http import AnnounceReply, AnnounceRequest
from librats.bittorrent.tracker_scrape import SwarmCounts, check_hashes
from librats.errors import RemoteProtocolError, UsageError
from librats.types import Entropy

__all__ = ["CONNECTION_LIFETIME", "MAX_TRIES", "UdpTracker"]

CONNECTION_LIFETIME: Final = 60.0
"""Seconds that a connection id is used for."""

MAX_TRIES: Final = 8
"""How often the waiting time is doubled before a tracker is given up: after 15 s, 30 s, … 3840 s."""

FIRST_WAIT = 15.0
PROTOCOL_ID = 0x41727101980
CONNECT, ANNOUNCE, SCRAPE, ERROR = range(4)
EVENTS = {"": 0, "completed": 1, "started": 2, "stopped": 3}  # "paused" (BEP 21) has no number: 0
MAX_WORDS = 512
MAX_INTERVAL = 86_400
REQUEST_PATH, MAX_OPTION = 2, 255

_CONNECT = Struct(">QII")
_CONNECTED = Struct(">IIQ")
_ANNOUNCE = Struct(">QII20s20sQQQIIIiH")
_ANNOUNCED = Struct(">IIIII")
_HEADER = Struct(">II")
_SCRAPE = Struct(">QII")
_COUNTS = Struct(">iii")


class UdpTracker:
    """What is asked of one tracker, over one address family.

    After each call there may be datagrams to send (:meth:`datagrams_to_send`), and a time when :meth:`handle_timer` is
    to be called (:attr:`next_time`). What comes of it is in :attr:`reply`, or an error is raised.

    Args:
        entropy: Where the numbers of transactions come from: whoever guesses them could answer instead.
        ipv6: Whether the tracker is reached over IPv6, and so tells peers of IPv6.
        path: What follows the host and port in its URL; it is told (BEP 41).
        first_wait: Seconds until the first request is sent again; twice as long each time.

    Example:
        >>> from librats.bittorrent.tracker_http import AnnounceRequest
        >>> from librats.bittorrent.tracker_udp import UdpTracker
        >>> from librats.runtime.entropy import SystemEntropy
        >>> tracker = UdpTracker(SystemEntropy())
        >>> tracker.announce(AnnounceRequest(info_hash=bytes(20), peer_id=bytes(20), port=6881), now=0.0)
        >>> [len(datagram) for datagram in tracker.datagrams_to_send()], tracker.next_time
        ([16], 15.0)
    """

    def __init__(self, entropy: Entropy, *, ipv6: bool = False, path: str = "", first_wait: float = FIRST_WAIT) -> None:
        self._entropy = entropy
        self._ip_size = 16 if ipv6 else 4
        self._options = _path_option(path)
        self._first_wait = first_wait
        self._connection: int | None = None
        self._connected_until = -math.inf
        self._question: Callable[[int, int], bytes] | None = None
        self._wanted = ANNOUNCE
        self._scraped = 0
        self._is_fresh = True
        self._action = CONNECT
        self._transaction = b""
        self._tries = 0
        self._outgoing: list[bytes] = []
        self.next_time = math.inf
        """When :meth:`handle_timer` is to be called; infinity for never."""
        self.reply: AnnounceReply | None = None
        """The answer to the last announcement, once it has come."""
        self.counts: tuple[SwarmCounts, ...] | None = None
        """The answer to the last scrape, once it has come: for each hash, in their order."""

    def announce(self, request: AnnounceRequest, now: float) -> None:
        """Begin to announce; what was asked before and is not answered yet is dropped.

        Raises:
            UsageError: A number of it has no room.
        """
        _announcement(0, 0, request)
        self._ask(ANNOUNCE, lambda connection, number: _announcement(connection, number, request) + self._options, now)

    def scrape(self, info_hashes: Sequence[bytes], now: float) -> None:
        """Begin to ask how many peers torrents have; what was asked before and is not answered yet is dropped.

        Args:
            info_hashes: Of the torrents, 20 bytes each; 74 at the most, which is what a packet has room for.
            now: The time.

        Raises:
            UsageError: There are none, too many, or one of another length.
        """
        check_hashes(info_hashes)
        hashes = b"".join(info_hashes)
        self._scraped = len(info_hashes)
        self._ask(SCRAPE, lambda connection, number: _SCRAPE.pack(connection, SCRAPE, number) + hashes, now)

    def _ask(self, action: int, question: Callable[[int, int], bytes], now: float) -> None:
        self._wanted, self._question = action, question
        self.reply = self.counts = None
        self._is_fresh = False
        self._tries = 0
        self._send(now)

    def datagrams_to_send(self) -> list[bytes]:
        """Return what is to be sent, once."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def handle_timer(self, now: float) -> None:
        """Send again what was not answered in time.

        Raises:
            TimeoutError: It was sent often enough.
        """
        if now < self.next_time:
            return
        self._tries += 1
        if self._tries > MAX_TRIES:
            self._stop()
            raise TimeoutError("the tracker does not answer")
        self._send(now)

    def receive_datagram(self, data: bytes, now: float) -> None:
        """Take a datagram from the tracker's address. What belongs to nothing that is asked is dropped.

        Raises:
            RemoteProtocolError: The tracker says why it has failed; its words are not to be trusted. Or it has left out
                some of the torrents that it was asked about.
        """
        if self._question is None or self.next_time == math.inf or len(data) < _HEADER.size:
            return
        if data[4:8] != self._transaction:
            return
        action = int.from_bytes(data[:4])
        if action == ERROR and self._action != CONNECT and not self._is_fresh:
            self._connection = None  # it may have forgotten it, or hold it to be another socket's
            self._send(now)
            return
        if action == ERROR:
            self._stop()
            raise RemoteProtocolError(f"the tracker refuses: {data[8 : 8 + MAX_WORDS].decode('utf-8', 'replace')}")
        if action != self._action:
            return
        if action == CONNECT and len(data) >= _CONNECTED.size:
            self._connection = _CONNECTED.unpack_from(data)[2]
            self._connected_until = now + CONNECTION_LIFETIME
            self._is_fresh = True
            self._tries = 0
            self._send(now)
        elif action == ANNOUNCE and len(data) >= _ANNOUNCED.size:
            _, _, interval, leechers, seeds = _ANNOUNCED.unpack_from(data)
            peers = compact_peers(bytes(data[_ANNOUNCED.size :]), self._ip_size)
            self.reply = AnnounceReply(
                peers=tuple(dict.fromkeys(peers)),
                interval=min(max(interval, 1), MAX_INTERVAL),
                seeds=min(seeds, (1 << 31) - 1),
                leechers=min(leechers, (1 << 31) - 1),
            )
            self._stop()
        elif action == SCRAPE:
            self._stop()
            self.counts = _read_counts(data[_HEADER.size :], self._scraped)

    def _stop(self) -> None:
        self._question, self.next_time = None, math.inf

    def _send(self, now: float) -> None:
        question = self._question
        if question is None:
            return
        self._transaction = self._entropy.token_bytes(4)
        number = int.from_bytes(self._transaction)
        if self._connection is None or now >= self._connected_until:
            self._connection = None
            self._action = CONNECT
            datagram = _CONNECT.pack(PROTOCOL_ID, CONNECT, number)
        else:
            self._action = self._wanted
            datagram = question(self._connection, number)
        self._outgoing = [datagram]
        self.next_time = now + self._first_wait * 2**self._tries


def _announcement(connection: int, number: int, request: AnnounceRequest) -> bytes:
    try:
        return _ANNOUNCE.pack(
            *(connection, ANNOUNCE, number, request.info_hash, request.peer_id),
            *(request.downloaded, request.left, request.uploaded, EVENTS.get(request.event, 0)),
            *(0, request.key, request.wanted, request.port),
        )
    except error as problem:
        raise UsageError(f"a field of an announcement is out of range: {problem}") from None


def _read_counts(told: bytes, size: int) -> tuple[SwarmCounts, ...]:
    if len(told) < size * _COUNTS.size:
        raise RemoteProtocolError("the tracker leaves out torrents that it was asked about")
    counts = (_COUNTS.unpack_from(told, at * _COUNTS.size) for at in range(size))
    return tuple(
        SwarmCounts(seeds=max(seeds, 0), downloaded=max(downloaded, 0), leechers=max(leechers, 0))
        for seeds, downloaded, leechers in counts
    )


def _path_option(path: str) -> bytes:
    """Return the option of BEP 41 that tells the rest of the URL, in parts of 255 bytes; nothing for none."""
    raw = path.encode()
    if raw in {b"", b"/"}:
        return b""
    parts = (raw[at : at + MAX_OPTION] for at in range(0, len(raw), MAX_OPTION))
    return b"".join(bytes([REQUEST_PATH, len(part)]) + part for part in parts) + b"\0"
