"""What a relay can be told, in code and in a file."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from librats.config import CarryLimits, DhtConfig
from librats.dht_config import PUBLIC_DHT_ROUTERS
from librats.errors import ConfigError, StoreError, UsageError
from librats.turn.serving.alternates import Alternate
from librats.turn.serving.peer_policy import IPNetwork, parse_network
from librats.turn.serving.quotas import QuotaLimits
from librats.turn.serving.tables import Settings
from librats.types import Address

__all__ = [
    "RelayConfig",
    "make_relay_config",
    "parse_alternate",
    "parse_listen",
    "parse_metrics",
    "parse_user",
    "read_relay_config",
]

DEFAULT_PORT = 3478
DEFAULT_TLS_PORT = 5349
_FLEET_SCHEMES = ("redis://", "rediss://", "unix://")
_LAST_PORT = 65535
_MOST_COALESCING = 1000
_LEAST_GRANT = 60.0
_MOST_SECONDS = 1 << 31
"""Of lifetimes: what the protocol has 32 bits for, with room for sums."""

_MOST_OF_QUOTAS = 10**15
"""What the data plane takes for a rate, less one."""

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - a public server


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayConfig:
    """Everything a relay can be told. Seconds, and bytes a second."""

    listen: tuple[Address, ...] = tuple(Address(host, DEFAULT_PORT) for host in _ANYWHERE)
    """Where it listens for UDP and TCP; port 0 picks one."""

    tcp: bool = True
    """Whether it listens for TCP, too."""

    tls_listen: tuple[Address, ...] = ()
    """Where it listens for TLS; every interface and port 5349 where a certificate is given and this is not."""

    certificate: Path | None = None
    """The certificate chain, PEM. It is read again when it changes."""

    private_key: Path | None = None
    """The certificate's private key, PEM; None where it is in the same file."""

    web: bool = True
    """Whether WebSockets are opened at the ports for TCP and TLS, where ``librats[web]`` is installed: what comes by
    itself otherwise comes inside of them through networks that let nothing but the web out."""

    trusted_proxies: tuple[IPNetwork, ...] = ()
    """Networks of reverse proxies that pass WebSockets on to this relay: of connections from there it is believed what
    the last entry of ``X-Forwarded-For`` says, since limits go by the client's address."""

    alternate: Address | None = None
    """A second address of this machine, of another host and another port than the first of `listen`: with it, clients
    can find out how their NATs behave (RFC 5780)."""

    try_alternate: tuple[Alternate, ...] = ()
    """Other relays, to which clients over UDP and TCP are sent while this one drains or is full."""

    try_alternate_tls: tuple[Alternate, ...] = ()
    """Other relays, to which clients over TLS are sent while this one drains or is full."""

    relay_hosts: tuple[str, ...] = ()
    """The IP addresses to relay from; those it listens on where empty."""

    external_hosts: Mapping[str, str] = field(default_factory=dict)
    """What clients are told instead of an address of `relay_hosts`, where a router translates one to one."""

    relay_ports: tuple[int, int] = (10240, _LAST_PORT)
    """The first and the last port to relay from."""

    shared_relay_socket: bool = False
    """Whether all allocations of a thread relay from one port of each host, and are told apart by their peers'
    addresses and ports: no descriptor for each, and one allocation for a peer at a time."""

    realm: str = "rats"
    """The realm. A short one leaves room for SHA-256 in the answers to strangers."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Passwords by user name."""

    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Secrets that vouch for time-limited user names, the newest first."""

    introduce: bool = True
    """Whether nodes that are connected are introduced to each other, over UDP and TCP on the same ports."""

    relay_for_introduced: bool = False
    """Whether such nodes may relay without a password: they are granted time-limited user names. Everybody can be such
    a node, so what they take is bounded by network and altogether, by `introduced_allocations` and `introduced_total`
    of `quotas`."""

    carry: bool = True
    """Whether the beginnings of their sessions are carried, until the two have found a way: they begin sooner, and who
    finds none has something for a while. The relay sees nothing but ciphertext."""

    carry_limits: CarryLimits = field(default_factory=CarryLimits)
    """How much of that."""

    dht: bool = False
    """Whether the relay takes part in the DHT, and announces itself there as the introducer of those connected nodes
    that want to be found by their ids."""

    dht_bootstrap: tuple[str, ...] = PUBLIC_DHT_ROUTERS
    """Nodes of the DHT to begin with, each ``"HOST"`` or ``"HOST:PORT"``; public ones where it is left out."""

    dht_port: int = 6881
    """UDP port of its node; 0 picks one."""

    dht_addresses: tuple[str, ...] = ()
    """IP addresses of this host, each of which is to have a node of the DHT of its own (BEP 45); one for the first
    address that is listened on where it is left out."""

    introduced_lifetime: float = 600.0
    """Seconds for which such a user name is good; others are granted in time."""

    no_auth: bool = False
    """Whether everybody may relay without a password. Not for a public address."""

    allow_peers: tuple[IPNetwork, ...] = ()
    """Networks of peers to open though they are not public."""

    deny_peers: tuple[IPNetwork, ...] = ()
    """Networks of peers to close."""

    threads: int = 1
    """Threads that relay UDP."""

    quotas: QuotaLimits = field(default_factory=QuotaLimits)
    """How much each user and all together may take."""

    settings: Settings = field(default_factory=Settings)
    """How requests are answered."""

    nonce_lifetime: float = 3600.0
    """Seconds for which a nonce is good."""

    coalescing: int = 0
    """Microseconds to wait for more packets while few come, at most 1000: saves CPU, costs half as much latency. 50 to
    200 are useful."""

    max_allocations: int = 100_000
    """Allocations of one thread, for which its tables are made."""

    max_connections: int = 20_000
    """TCP and TLS connections at a time."""

    metrics: Address | None = None
    """Where to serve ``/metrics`` and ``/health``; None for nowhere."""

    fleet: str | None = field(default=None, repr=False)
    """The URL of a Redis or Valkey server, through which relays of one realm share the quotas by user; None: none."""

    drain_timeout: float = 3600.0
    """Seconds that it waits, once told to stop, for the allocations there are."""

    def __post_init__(self) -> None:
        """Check what does not go together.

        Raises:
            ConfigError: A field has a value that cannot be used.
        """
        _require(bool(self.listen or self.tls_listen), "listen", "must name at least one address")
        for address in (*self.listen, *self.tls_listen):
            _require(address.is_literal, "listen", f"must be IP addresses, not {address.host!r}")
        first, last = self.relay_ports
        _require(1024 <= first < last <= _LAST_PORT, "relay_ports", "must be two ports, from 1024 to 65535")  # noqa: PLR2004
        _require(self.threads >= 1, "threads", "must be at least 1")
        _require(bool(self.realm), "realm", "must not be empty")
        _require(self.introduced_lifetime >= _LEAST_GRANT, "introduced_lifetime", "must be at least 60 seconds")
        for name in ("introduced_lifetime", "nonce_lifetime"):
            _require(getattr(self, name) <= _MOST_SECONDS, name, f"must be at most {_MOST_SECONDS} seconds")
        self._check_hosts()
        _require(all(self.users) and all(self.users.values()), "users", "has an empty name or password")
        _require(all(self.secrets), "secrets", "has an empty one, with which everybody could vouch for himself")
        _require(self.introduce or not self.dht, "dht", "is of use to a relay that introduces")
        _require(self.tcp or not self.dht, "dht", "needs TCP, over which the relay introduces")
        _ = self.dht_settings  # which checks the others
        somebody = bool(self.users or self.secrets) or self.no_auth or self.relay_for_introduced
        _require(somebody, "users", "names nobody: give a user or a secret, or say relay_for_introduced, or no_auth")
        _require(not (self.no_auth and (self.users or self.secrets)), "no_auth", "goes without users and secrets")
        _require(0 <= self.coalescing <= _MOST_COALESCING, "coalescing", "must be 0 to 1000 microseconds")
        _require(self.certificate is not None or not self.tls_listen, "tls_listen", "needs a certificate")
        known = self.fleet is None or self.fleet.startswith(_FLEET_SCHEMES)
        _require(known, "fleet", f"must begin with one of {', '.join(_FLEET_SCHEMES)}")
        if self.alternate is not None:
            self._check_alternate(self.alternate)

    @property
    def dht_settings(self) -> DhtConfig:
        """How its node of the DHT takes part.

        Raises:
            ConfigError: ``dht_bootstrap``, ``dht_port`` or ``dht_addresses`` has a value that cannot be used.
        """
        try:
            return DhtConfig(bootstrap=self.dht_bootstrap, port=self.dht_port, addresses=self.dht_addresses)
        except ConfigError as error:
            raise ConfigError(f"dht_{error.field}", str(error).partition(": ")[2]) from None

    def _check_hosts(self) -> None:
        for host in self.relay_hosts:
            _require(Address(host, 0).is_literal, "relay_hosts", f"must be IP addresses, not {host!r}")
        for host in (*self.external_hosts, *self.external_hosts.values()):
            _require(Address(host, 0).is_literal, "external_hosts", f"must be IP addresses, not {host!r}")
        where = self.metrics
        _require(
            where is None or where.is_literal, "metrics", f"must be at an IP address, not {where and where.host!r}"
        )

    def _check_alternate(self, alternate: Address) -> None:
        _require(bool(self.listen), "alternate", "needs a first address to listen on")
        main = self.listen[0]
        apart = main.host != alternate.host and main.port != alternate.port
        _require(apart, "alternate", "must differ from the first of listen in both host and port")
        _require(main.host not in _ANYWHERE, "alternate", "goes with one address as the first of listen")
        _require(bool(main.port and alternate.port), "alternate", "needs ports that are known")


def read_relay_config(
    path: Path,
    overrides: Mapping[str, Any] | None = None,
    quotas: Mapping[str, int] | None = None,
    carry_limits: Mapping[str, Any] | None = None,
) -> RelayConfig:
    """Read a TOML file.

    Args:
        path: The file.
        overrides: Fields, as the file would name them and of the same form, that are to hold instead of the file's.
        quotas: Quotas that are to hold instead of the file's.
        carry_limits: The same of the limits of what is carried.

    Raises:
        StoreError: The file cannot be read, or is no TOML.
        ConfigError: A field is unknown or has a value that cannot be used.
    """
    try:
        with path.open("rb") as file:
            stored = tomllib.load(file)
    except OSError as error:
        raise StoreError(path, (error.strerror or str(error)).lower()) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StoreError(path, f"is not TOML: {error}") from None
    for name, given in (("quotas", quotas), ("carry_limits", carry_limits)):
        table = stored.get(name, {})
        if given and isinstance(table, dict):
            stored[name] = {**table, **given}
    return make_relay_config({**stored, **(overrides or {})})


def make_relay_config(values: Mapping[str, Any]) -> RelayConfig:
    """Return the configuration that a mapping describes, as a TOML file does.

    Raises:
        ConfigError: A field is unknown or has a value that cannot be used.
    """
    wanted = dict(values)
    quotas = _nested(QuotaLimits, "quotas", wanted.pop("quotas", {}), most=_MOST_OF_QUOTAS)
    settings = _nested(Settings, "settings", wanted.pop("settings", {}), most=_MOST_SECONDS)
    carry_limits = _nested(CarryLimits, "carry_limits", wanted.pop("carry_limits", {}), most=math.inf)
    fields_: dict[str, Any] = {"quotas": quotas, "settings": settings, "carry_limits": carry_limits}
    for name, value in wanted.items():
        reader = _READERS.get(name)
        if reader is None:
            raise ConfigError(name, "no such field")
        try:
            fields_[name] = reader(value)
        except (UsageError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(name, str(error)) from None
    if fields_.get("certificate") is not None and "tls_listen" not in fields_:
        fields_["tls_listen"] = tuple(Address(host, DEFAULT_TLS_PORT) for host in _ANYWHERE)
    return RelayConfig(**fields_)


def parse_listen(text: str, port: int = DEFAULT_PORT) -> tuple[Address, ...]:
    """Read where to listen: ``HOST:PORT``, ``HOST`` with the usual port, or a port alone for every interface.

    Raises:
        UsageError: It is none of these.

    Example:
        >>> parse_listen("192.0.2.1"), parse_listen("5000")[1]
        ((Address(host='192.0.2.1', port=3478),), Address(host='::', port=5000))
    """
    bare = text.strip()
    if bare.removeprefix(":").isdigit():
        number = Address.parse(f"0:{bare.removeprefix(':')}").port
        return tuple(Address(host, number) for host in _ANYWHERE)
    alone = Address(bare.removeprefix("[").removesuffix("]"), port)
    address = alone if alone.is_literal else Address.parse(bare)
    if not address.is_literal:
        raise UsageError(f"not an IP address to listen on: {address.host!r}")
    return (address,)


def parse_alternate(text: str) -> Alternate:
    """Read another relay: ``HOST:PORT``, or ``DOMAIN=HOST:PORT`` with the name that its certificate has.

    Raises:
        UsageError: It is neither, or HOST is no IP address.

    Example:
        >>> parse_alternate("relay.example.org=192.0.2.1:5349")
        Alternate(address=Address(host='192.0.2.1', port=5349), domain='relay.example.org')
    """
    domain, _, place = text.strip().rpartition("=")
    address = Address.parse(place)
    if not address.is_literal or not address.port:
        raise UsageError(f"not an IP address and port to send clients to: {place!r}")
    return Alternate(address, domain)


def parse_user(text: str) -> tuple[str, str]:
    """Read ``NAME:PASSWORD``.

    Raises:
        UsageError: One of the two is missing.
    """
    name, _, password = text.partition(":")
    if not name or not password:
        raise UsageError("write NAME:PASSWORD")
    return name, password


def _nested(kind: type[Any], name: str, values: Mapping[str, Any], *, most: float) -> Any:
    if not isinstance(values, Mapping):
        raise ConfigError(name, "must be a table")
    known = {each.name: each.default for each in dataclasses.fields(kind)}
    for key, value in values.items():
        default = known.get(key)
        if default is None:
            raise ConfigError(f"{name}.{key}", "no such field")
        fits = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
        if not fits or isinstance(value, bool) is not isinstance(default, bool) or value < 0:
            raise ConfigError(f"{name}.{key}", f"must be a {type(default).__name__} that is not negative")
        if not value <= most:
            raise ConfigError(f"{name}.{key}", f"must be at most {most:g}")
    return kind(**values)


def _require(condition: bool, name: str, problem: str) -> None:
    if not condition:
        raise ConfigError(name, problem)


def _strings(value: Any) -> tuple[str, ...]:
    items = (value,) if isinstance(value, str) else tuple(value)
    for item in items:
        if not isinstance(item, str):
            raise TypeError(f"must be strings, not {item!r}")
    return items


def _listening(port: int) -> Callable[[Any], tuple[Address, ...]]:
    def read(value: Any) -> tuple[Address, ...]:
        return tuple(address for text in _strings(value) for address in parse_listen(text, port))

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be a string, not {value!r}")
    return value


def _texts_by_name(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError("must be a table of strings")
    return {_text(name): _text(text) for name, text in value.items()}


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("must be true or false")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"must be a whole number, not {value!r}")
    return value


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        raise TypeError(f"must be a number of seconds, not {value!r}")
    return float(value)


def _port_range(value: Any) -> tuple[int, int]:
    parts = value.split("-") if isinstance(value, str) else list(value)
    if len(parts) != 2:  # noqa: PLR2004 - the first and the last
        raise UsageError("write FIRST-LAST")
    return int(parts[0]), int(parts[1])


def _alternates(value: Any) -> tuple[Alternate, ...]:
    return tuple(parse_alternate(text) for text in _strings(value))


def _networks(value: Any) -> tuple[IPNetwork, ...]:
    return tuple(parse_network(text) for text in _strings(value))


def parse_metrics(text: str) -> Address:
    """Read where to serve metrics: ``HOST:PORT``, or a port alone for the loopback.

    Raises:
        UsageError: It is neither, or HOST is no IP address.
    """
    address = Address.parse(text if ":" in text else f"127.0.0.1:{text}")
    if not address.is_literal:
        raise UsageError(f"not an IP address to serve metrics at: {address.host!r}")
    return address


_READERS: dict[str, Callable[[Any], Any]] = {
    "listen": _listening(DEFAULT_PORT),
    "tcp": _switch,
    "tls_listen": _listening(DEFAULT_TLS_PORT),
    "certificate": lambda value: Path(_text(value)),
    "private_key": lambda value: Path(_text(value)),
    "web": _switch,
    "trusted_proxies": _networks,
    "alternate": lambda value: Address.parse(_text(value)),
    "try_alternate": _alternates,
    "try_alternate_tls": _alternates,
    "relay_hosts": _strings,
    "external_hosts": _texts_by_name,
    "relay_ports": _port_range,
    "shared_relay_socket": _switch,
    "realm": _text,
    "users": _texts_by_name,
    "secrets": _strings,
    "introduce": _switch,
    "carry": _switch,
    "dht": _switch,
    "dht_bootstrap": _strings,
    "dht_port": _whole,
    "dht_addresses": _strings,
    "relay_for_introduced": _switch,
    "introduced_lifetime": _seconds,
    "no_auth": _switch,
    "allow_peers": _networks,
    "deny_peers": _networks,
    "threads": _whole,
    "nonce_lifetime": _seconds,
    "coalescing": _whole,
    "max_allocations": _whole,
    "max_connections": _whole,
    "metrics": lambda value: parse_metrics(_text(value)),
    "fleet": _text,
    "drain_timeout": _seconds,
}
