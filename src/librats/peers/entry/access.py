"""Whom a client talks to: lists of peer ids and networks, which may change while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator

from librats.config import RatsConfig
from librats.errors import ConfigError, PeerDenied, UsageError
from librats.peer_ids import is_peer_id
from librats.peers.entry.networks import IPAddress, IPNetwork, ip_of, network_of

__all__ = ["AccessList"]

MAX_OWN = 1024


class AccessList:
    """Peer ids and networks. Comes from a client: :attr:`~librats.RatsClient.allow`, :attr:`~librats.RatsClient.deny`.

    An entry is a peer id (64 lower-case hex digits), an IP address, or a network in CIDR notation. An IPv4 address
    that is written as IPv6 (``::ffff:192.0.2.7``) is the same as the IPv4 address, here and where it is compared.
    It may be changed from any thread.

    Example:
        .. code-block:: python

            client.deny.add("203.0.113.0/24", "2001:db8::/32")
            client.deny.remove("203.0.113.0/24")
            print(list(client.deny))
    """

    def __init__(self, entries: Iterable[str] = (), *, changed: Callable[[], object] | None = None) -> None:
        # Both are replaced, never changed, so that who reads them needs no lock.
        self._ids: dict[str, None] = {}
        self._networks: dict[IPNetwork, None] = {}
        self._lock = threading.Lock()
        self._changed = changed
        self._put(entries)

    def __repr__(self) -> str:
        """Show how many entries there are."""
        return f"<AccessList of {len(self._ids)} peer ids and {len(self._networks)} networks>"

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self._ids) + len(self._networks)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the entries as text: peer ids, then networks, each in the order in which they were added."""
        return iter([*self._ids, *map(str, self._networks)])

    def __contains__(self, entry: object) -> bool:
        """Whether exactly that entry is in the list; what lies inside one of its networks is not."""
        if not isinstance(entry, str):
            return False
        try:
            key = _read(entry)
        except UsageError:
            return False
        return key in self._ids or key in self._networks

    def add(self, *entries: str) -> None:
        """Add entries; those that are there already stay. Sessions that are no longer allowed end.

        Args:
            entries: Peer ids, IP addresses or networks.

        Raises:
            UsageError: One of them is none of these; nothing was added then.
        """
        self._put(entries)
        self._tell()

    def _put(self, entries: Iterable[str]) -> None:
        if isinstance(entries, str):
            raise UsageError("a list of entries is wanted, not one text")
        keys = [_read(entry) for entry in entries]
        with self._lock:
            self._ids = self._ids | {key: None for key in keys if isinstance(key, str)}
            self._networks = self._networks | {key: None for key in keys if not isinstance(key, str)}

    def remove(self, *entries: str) -> None:
        """Remove entries; those that are not there are ignored. Sessions that are no longer allowed end.

        Args:
            entries: As they were added, or another spelling of the same.

        Raises:
            UsageError: One of them is no peer id, IP address or network; nothing was removed then.
        """
        keys = {_read(entry) for entry in entries}
        with self._lock:
            self._ids = {key: None for key in self._ids if key not in keys}
            self._networks = {key: None for key in self._networks if key not in keys}
        self._tell()

    def clear(self) -> None:
        """Remove every entry."""
        with self._lock:
            self._ids = {}
            self._networks = {}
        self._tell()

    def _tell(self) -> None:
        if self._changed is not None:
            self._changed()

    # What admission asks

    @property
    def has_ids(self) -> bool:
        """True where there are peer ids in it."""
        return bool(self._ids)

    @property
    def has_networks(self) -> bool:
        """True where there are networks in it."""
        return bool(self._networks)

    def has_id(self, peer_id: str) -> bool:
        """Whether a peer id is in it."""
        return peer_id in self._ids

    def network_around(self, address: IPAddress) -> IPNetwork | None:
        """Return the first network in it that an address lies in, or None."""
        return next((network for network in self._networks if address in network), None)


def _read(entry: str) -> str | IPNetwork:
    if not isinstance(entry, str):
        raise UsageError(f"not a peer id or network: {entry!r}")
    if is_peer_id(entry):
        return entry
    try:
        return network_of(entry)
    except ValueError as error:
        raise UsageError(
            f"not a peer id (64 lower-case hex digits), an IP address or a network: {entry!r}: {error}"
        ) from None


class Access:
    """Both lists of a client.

    What is in ``deny`` is never talked to. Networks in ``allow`` leave out every address outside of them, peer ids in
    ``allow`` every other peer; each of the two is without effect while there is none in it.

    Args:
        allow: The first entries of the list of those that are talked to.
        deny: The first entries of the list of those that are not.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self.changed: Callable[[], object] | None = None
        """Called when one of the lists has changed."""
        self.allow = AccessList(allow, changed=self._tell)
        self.deny = AccessList(deny, changed=self._tell)
        self.ignores_own = False
        """Whether hosts that this client was seen at are dialled no more, those learnt from now on included."""
        self._own: set[IPAddress] = set()

    @classmethod
    def of(cls, config: RatsConfig) -> Access:
        """Make the lists that a configuration begins with.

        Raises:
            ConfigError: An entry is no peer id, IP address or network.
        """
        _check_lists(config)
        return cls(config.allow, config.deny)

    def adopt(self, before: RatsConfig, config: RatsConfig) -> None:
        """Take the lists of another configuration; what the application has added itself stays.

        Args:
            before: The configuration until now, whose entries go.
            config: The one from now on.

        Raises:
            ConfigError: An entry is no peer id, IP address or network; nothing was changed then.
        """
        _check_lists(config)
        self.allow.remove(*before.allow)
        self.allow.add(*config.allow)
        self.deny.remove(*before.deny)
        self.deny.add(*config.deny)

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()

    def learn_own(self, host: str) -> None:
        """Note an address that this client was seen at from outside."""
        address = ip_of(host)
        if address is not None and len(self._own) < MAX_OWN:
            self._own.add(address)

    def check_dial(self, host: str) -> PeerDenied | None:
        """Return why a host is not dialled, or None. A host name lies in no network."""
        if self.ignores_own and ip_of(host) in self._own:
            return PeerDenied(f"{host} is this client's own public address", "own")
        return self.check_address(host)

    def check_address(self, host: str) -> PeerDenied | None:
        """Return why a host is not talked to, or None. A host name lies in no network."""
        if not (self.deny.has_networks or self.allow.has_networks):
            return None
        address = ip_of(host)
        if address is None:
            return None
        network = self.deny.network_around(address)
        if network is not None:
            return PeerDenied(f"{address} is in {network}, which is on the deny list", "deny")
        if self.allow.has_networks and self.allow.network_around(address) is None:
            return PeerDenied(f"{address} is in no network of the allow list", "allow")
        return None

    def check_id(self, peer_id: str) -> PeerDenied | None:
        """Return why a peer is not talked to, or None."""
        if self.deny.has_id(peer_id):
            return PeerDenied(f"peer {peer_id[:8]} is on the deny list", "deny")
        if self.allow.has_ids and not self.allow.has_id(peer_id):
            return PeerDenied(f"peer {peer_id[:8]} is not on the allow list", "allow")
        return None


def _check_lists(config: RatsConfig) -> None:
    """Check the entries of both lists.

    Raises:
        ConfigError: One is no peer id, IP address or network.
    """
    for name in ("allow", "deny"):
        try:
            AccessList(getattr(config, name))
        except UsageError as error:
            raise ConfigError(name, str(error)) from error
