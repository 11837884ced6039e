"""Which way to a peer has worked, in which network: what is tried first the next time."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from librats.peer_ids import is_peer_id
from librats.peers.keeping.known_mappings import KnownMappings
from librats.peers.keeping.store import KeptFile, Saver
from librats.types import ConnectionMethod

__all__ = ["WayThatWorked", "WhatWorked", "WorkedFile", "network_mark"]

logger = logging.getLogger("librats.peers")

MAX_NETWORKS, MAX_PEERS = 16, 512
"""Networks that are remembered, and peers in each; of more, those that were used last."""

MAX_SIZE = 4 * 1024 * 1024
VERSION = 1
PREFIXES = {4: 24, 6: 64}
MARK = re.compile(r"[0-9a-f]{32}")


def network_mark(hosts: Iterable[str], gateways: Iterable[str]) -> str:
    """Return a word for a network: the same as long as this host is in it, and one that tells no address.

    Args:
        hosts: This host's IP addresses.
        gateways: Those of its gateways.

    Example:
        >>> network_mark(["192.168.1.7", "::1"], ["192.168.1.1"]) == network_mark(["192.168.1.8"], ["192.168.1.1"])
        True
    """
    parts = {f"via {gateway}" for gateway in gateways}
    for host in hosts:
        address = ipaddress.ip_address(host.partition("%")[0])
        if not (address.is_loopback or address.is_link_local):
            parts.add(str(ipaddress.ip_network((int(address), PREFIXES[address.version]), strict=False)))
    return hashlib.blake2b("\n".join(sorted(parts)).encode(), digest_size=16).hexdigest()


class WayThatWorked(msgspec.Struct, frozen=True, kw_only=True):
    """How a peer was reached."""

    method: ConnectionMethod
    """How the session began."""

    introduced: bool = False
    """Whether somebody had introduced the two."""

    at: float = 0.0
    """When, in seconds since 1970."""


class WhatWorked:
    """The ways that have worked, by network and peer.

    Args:
        clock: Returns seconds since 1970.

    Example:
        >>> worked = WhatWorked()
        >>> worked.note("home", "ab" * 32, ConnectionMethod.UDP, introduced=True)
        >>> worked.get("home", "ab" * 32).method
        <ConnectionMethod.UDP: 'udp'>
        >>> worked.get("office", "ab" * 32) is None
        True
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._networks: dict[str, dict[str, WayThatWorked]] = {}
        self.changed: Callable[[], object] = lambda: None
        """Called when there is something new."""

    def get(self, network: str, peer_id: str) -> WayThatWorked | None:
        """Return how a peer was reached in a network the last time."""
        return self._networks.get(network, {}).get(peer_id)

    def note(self, network: str, peer_id: str, method: ConnectionMethod, *, introduced: bool) -> None:
        """Take how a peer was reached.

        Args:
            network: The network's mark.
            peer_id: Who.
            method: How the session began.
            introduced: Whether somebody had introduced the two.
        """
        peers = self._networks.pop(network, {})
        peers.pop(peer_id, None)
        peers[peer_id] = WayThatWorked(method=method, introduced=introduced, at=self._clock())
        self._networks[network] = peers
        self._drop_surplus()
        self.changed()

    def restore(self, networks: Mapping[str, Mapping[str, WayThatWorked]]) -> None:
        """Take what was kept."""
        self._networks = {mark: dict(peers) for mark, peers in networks.items()}
        for peers in self._networks.values():
            while len(peers) > MAX_PEERS:
                del peers[next(iter(peers))]
        self._drop_surplus()

    def snapshot(self) -> dict[str, dict[str, WayThatWorked]]:
        """Return everything, to be kept."""
        return {mark: dict(peers) for mark, peers in self._networks.items()}

    def _drop_surplus(self) -> None:
        while len(self._networks) > MAX_NETWORKS:
            del self._networks[next(iter(self._networks))]
        for peers in list(self._networks.values())[-1:]:
            while len(peers) > MAX_PEERS:
                del peers[next(iter(peers))]


class WorkedFile:
    """Keeps what was learnt of networks in a directory, which is this process's alone.

    Args:
        worked: What has worked there.
        mappings: How long their NATs keep mappings.
        directory: The data directory.
    """

    def __init__(self, worked: WhatWorked, mappings: KnownMappings, directory: Path) -> None:
        self._worked = worked
        self._mappings = mappings
        self._others: dict[str, Any] = {}
        self._file = KeptFile(directory / "worked.json", format="librats-worked", version=VERSION, max_size=MAX_SIZE)
        self._saver: Saver | None = None

    def load(self) -> None:
        """Read the file. It blocks. One that is damaged is set aside, one that is newer left alone."""
        document = self._file.load()
        self._others = {}
        if document is not None:
            self._worked.restore(_networks(document.get("networks")))
            self._mappings.restore(document.get("mappings"), MARK.fullmatch)
            self._others = {name: value for name, value in document.items() if name not in ("networks", "mappings")}

    def start(self) -> None:
        """Write what changes from now on, soon after."""
        self._saver = Saver(self._file.save, self._snapshot)
        self._worked.changed = self._mappings.changed = self._saver.changed

    def _snapshot(self) -> dict[str, Any]:
        return {**self._others, "networks": self._worked.snapshot(), "mappings": self._mappings.to_json()}

    async def close(self) -> None:
        """Write what has changed, and nothing more. Idempotent."""
        self._worked.changed = self._mappings.changed = _nothing
        saver, self._saver = self._saver, None
        if saver is not None:
            await saver.close()


def _nothing() -> None:
    pass


def _networks(members: object) -> dict[str, dict[str, WayThatWorked]]:
    """Return the entries that are sound: what is not costs a little time, once."""
    found: dict[str, dict[str, WayThatWorked]] = {}
    for mark, peers in members.items() if isinstance(members, dict) else ():
        if MARK.fullmatch(mark) and isinstance(peers, dict):
            found[mark] = {}
            for peer_id, form in peers.items():
                if is_peer_id(peer_id):
                    try:
                        found[mark][peer_id] = msgspec.convert(form, WayThatWorked)
                    except msgspec.ValidationError as error:
                        logger.debug("an entry of what has worked is left out: %s", error)
    return found
