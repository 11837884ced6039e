"""Whether and how a client takes part in the DHT: a part of its configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from librats.checks import require, require_positive
from librats.errors import ConfigError, UsageError
from librats.types import Address

__all__ = ["DhtConfig"]

DHT_PORT = 6881
MAX_PORT = 65535
MAX_ADDRESSES = 256

PUBLIC_DHT_ROUTERS = (
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "router.utorrent.com:6881",
    "dht.libtorrent.org:25401",
    "dht.aelitis.com:6881",
)


def bootstrap_address(text: str) -> Address:
    """Read ``"host"`` or ``"host:port"``, an IPv6 address with a port in brackets.

    Raises:
        ConfigError: It is neither.

    Example:
        >>> bootstrap_address("dht.example.org"), bootstrap_address("[2001:db8::7]:6882").port
        (Address(host='dht.example.org', port=6881), 6882)
    """
    name = text.strip()
    bare = name.count(":") != 1 and not name.startswith("[")
    try:
        address = Address(name, DHT_PORT) if bare else Address.parse(name)
    except UsageError as error:
        raise ConfigError("bootstrap", str(error)) from None
    is_named = bool(address.host) and not any(letter.isspace() for letter in address.host)
    is_named = is_named and (":" not in address.host or address.is_literal)
    require(is_named and address.port > 0, "bootstrap", f"not a node of the DHT: {text!r}; write HOST or HOST:PORT")
    return address


def checked_addresses(addresses: object) -> None:
    """Check addresses of this host.

    Raises:
        ConfigError: They are no addresses that a host may have, the same one is there twice, or there are too many.
    """
    texts = isinstance(addresses, tuple) and all(isinstance(address, str) for address in addresses)
    require(texts, "addresses", f"must be a tuple of texts, not {addresses!r}")
    found = set()
    for text in addresses if isinstance(addresses, tuple) else ():
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise ConfigError("addresses", f"not an IP address: {text!r}") from None
        is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
        is_mine = not (address.is_multicast or address.is_unspecified or address.is_link_local or is_mapped)
        require(is_mine, "addresses", f"{text} is not an address that nodes of the DHT can have")
        require(address not in found, "addresses", f"{text} is there twice")
        found.add(address)
    require(len(found) <= MAX_ADDRESSES, "addresses", f"must be {MAX_ADDRESSES} at the most, not {len(found)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DhtConfig:
    """Whether and how a client takes part in the BitTorrent DHT, where peers find each other without servers.

    Nobody is contacted before the DHT is started: by ``enabled``, or by
    :meth:`~librats.RatsClient.start_dht_discovery`.

    Example:
        >>> DhtConfig(enabled=True, bootstrap=("dht.example.org", "192.0.2.7:25401")).bootstrap_addresses
        (Address(host='dht.example.org', port=6881), Address(host='192.0.2.7', port=25401))
    """

    enabled: bool = False
    """Whether the DHT is started with the client, in the background."""

    bootstrap: tuple[str, ...] = PUBLIC_DHT_ROUTERS
    """Nodes to begin with, each ``"host"`` or ``"host:port"``, the port 6881 where none is given. Public ones where it
    is left out. With an empty tuple nobody is contacted but the nodes that an earlier run has saved."""

    read_only: bool = False
    """Whether to ask and not to answer (BEP 43): for hosts that others cannot reach, or that pay for what they send."""

    port: int | None = None
    """UDP port of a socket for the DHT alone, 6881 for example; 0 picks one. None: the client's own UDP port, so that
    one mapping of a NAT serves both."""

    addresses: tuple[str, ...] = ()
    """IP addresses of this host, each of which is to have a node of the DHT on a socket and under an id of its own
    (BEP 45), for hosts with several public ones. ``port`` is that of each; one is picked for each where it is None. Let
    the client listen on every interface then: it is announced from each of them."""

    publish: bool = False
    """Whether to publish a signed record of where this client can be reached, for everybody who knows its key. It
    tells the client's addresses."""

    require_bound: bool = False
    """Whether only nodes count whose id is bound to their address (BEP 42)."""

    announce_interval: float = 600.0
    """Seconds after which what was announced is announced again; nodes forget it after half an hour."""

    search_interval: float = 30.0
    """Seconds between two searches for peers of the same application, while there are too few."""

    lookup_timeout: float = 30.0
    """Seconds that a lookup may take where the caller names no timeout."""

    def __post_init__(self) -> None:
        """Check every field.

        Raises:
            ConfigError: One of them has a value that cannot be used.
        """
        for switch in ("enabled", "read_only", "publish", "require_bound"):
            require(isinstance(getattr(self, switch), bool), switch, "must be True or False")
        nodes = self.bootstrap
        texts = isinstance(nodes, tuple) and all(isinstance(node, str) for node in nodes)
        require(texts, "bootstrap", f"must be a tuple of texts, not {nodes!r}")
        for node in nodes:
            bootstrap_address(node)
        checked_addresses(self.addresses)
        port = self.port
        is_port = port is None or (type(port) is int and 0 <= port <= MAX_PORT)
        require(is_port, "port", f"must be a whole number from 0 to {MAX_PORT}, or None, not {port!r}")
        require_positive(self, "announce_interval", "search_interval", "lookup_timeout")

    @property
    def bootstrap_addresses(self) -> tuple[Address, ...]:
        """The nodes to begin with, host and port."""
        return tuple(bootstrap_address(node) for node in self.bootstrap)
