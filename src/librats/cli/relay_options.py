"""The options of ``librats relay``, and the configuration that they and a file describe."""

from __future__ import annotations

import argparse
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from librats.cli.arguments import add_data_dir, checked, positive, whole_positive
from librats.cli.dht_options import own_address
from librats.dht_config import bootstrap_address
from librats.errors import UsageError
from librats.relay.config import (
    DEFAULT_TLS_PORT,
    RelayConfig,
    make_relay_config,
    parse_alternate,
    parse_listen,
    parse_metrics,
    parse_user,
    read_relay_config,
)
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

__all__ = ["add_options", "read_arguments"]

DEFAULT_METRICS = "127.0.0.1:9641"
STATISTICS_INTERVAL = 60.0

_FIELDS = (
    *(
        "listen",
        "tcp",
        "tls_listen",
        "certificate",
        "private_key",
        "web",
        "trusted_proxies",
        "alternate",
        "relay_hosts",
        "external_hosts",
    ),
    *(
        "relay_ports",
        "users",
        "secrets",
        "realm",
        "no_auth",
        "introduce",
        "relay_for_introduced",
        "allow_peers",
        "deny_peers",
        "threads",
        "coalescing",
    ),
    *("drain_timeout", "metrics", "try_alternate", "try_alternate_tls", "fleet", "shared_relay_socket"),
    *("introduce", "relay_for_introduced", "carry", "dht", "dht_bootstrap", "dht_port", "dht_addresses"),
)
_CARRIED = {
    "bytes": ("BYTES", whole_positive, "bytes that are carried of one session (default: 262144)"),
    "seconds": ("SECONDS", positive, "seconds for which one session is carried (default: 60)"),
    "rate": ("BYTES", positive, "bytes a second that are carried of one session (default: 65536)"),
    "total_rate": ("BYTES", positive, "bytes a second that are carried of all sessions (default: 4194304)"),
    "at_once": ("N", whole_positive, "sessions that are carried at a time (default: 1024)"),
}
_QUOTAS = {
    "total_allocations": ("N", "allocations of all users together"),
    "user_allocations": ("N", "allocations of one user"),
    "introduced_allocations": ("N", "allocations of introduced nodes from one network, /24 or /48 (default: 8)"),
    "introduced_total": ("N", "allocations of all introduced nodes (default: 1024)"),
    "total_bandwidth": ("BYTES", "bytes a second that are relayed for all users together"),
    "user_bandwidth": ("BYTES", "bytes a second that are relayed for one user"),
}


def read_arguments(args: argparse.Namespace) -> RelayConfig:
    """Return the configuration that options and file describe together.

    Raises:
        StoreError: The file cannot be read.
        ConfigError: A field has a value that cannot be used.
    """
    given = {name: getattr(args, name) for name in _FIELDS if getattr(args, name) is not None}
    quotas = {name: getattr(args, name) for name in _QUOTAS if getattr(args, name) is not None}
    carried = {name: value for name in _CARRIED if (value := getattr(args, f"carry_{name}")) is not None}
    if args.config is not None:
        return read_relay_config(args.config, given, quotas, carried)
    return make_relay_config({**given, "quotas": quotas, "carry_limits": carried})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file, which the options below override")
    _add_addresses(parser.add_argument_group("addresses"))
    _add_users(parser.add_argument_group("users and peers"))
    _add_limits(parser.add_argument_group("limits"))
    _add_watching(parser.add_argument_group("watching"))


def _add_addresses(group: argparse._ArgumentGroup) -> None:
    _add_repeated(
        group,
        "--listen",
        parse_listen,
        "HOST:PORT",
        "where to listen for UDP and TCP; just a port means every interface (default: port 3478)",
    )
    group.add_argument("--no-tcp", dest="tcp", action="store_false", default=None, help="listen for UDP only")
    _add_repeated(
        group,
        "--tls",
        lambda text: parse_listen(text, DEFAULT_TLS_PORT),
        "HOST:PORT",
        "where to listen for TLS (default: port 5349 where there is a certificate)",
        dest="tls_listen",
    )
    group.add_argument(
        "--certificate", metavar="FILE", help="the certificate chain for TLS, PEM; read again when it changes"
    )
    group.add_argument("--private-key", metavar="FILE", help="its private key, PEM (default: in the same file)")
    group.add_argument(
        "--no-web",
        dest="web",
        action="store_false",
        default=None,
        help="open no WebSockets (default: at every port for TCP and TLS, where librats[web] is installed)",
    )
    _add_repeated(
        group,
        "--trusted-proxy",
        parse_network,
        "CIDR",
        "a network of reverse proxies whose X-Forwarded-For is believed",
        dest="trusted_proxies",
    )
    group.add_argument(
        "--alternate",
        type=_readable(Address.parse),
        metavar="HOST:PORT",
        help="a second address, other in host and port, with which clients find out what NAT they have (RFC 5780)",
    )
    _add_repeated(
        group,
        "--relay-host",
        str,
        "HOST",
        "an IP address to relay from (default: those it listens on)",
        dest="relay_hosts",
    )
    group.add_argument(
        "--external",
        dest="external_hosts",
        action=_Hosts,
        metavar="HOST=OUTSIDE",
        help="tell clients OUTSIDE instead of the relay address HOST; may be repeated",
    )
    group.add_argument(
        "--shared-relay-socket",
        action="store_true",
        default=None,
        help="relay for all clients of a thread from one port, and tell them apart by their peers: "
        "a peer can be one client's at a time",
    )
    group.add_argument("--relay-ports", metavar="FIRST-LAST", help="ports to relay from (default: 10240-65535)")


def _add_users(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--user",
        dest="users",
        action=_Users,
        metavar="NAME:PASSWORD",
        help="a user; may be repeated. Others on this machine see it in the list of processes: a file hides it",
    )
    _add_repeated(
        group,
        "--secret",
        str,
        "SECRET",
        "a secret that vouches for time-limited user names, as coturn's static-auth-secret",
        dest="secrets",
    )
    group.add_argument("--realm", metavar="REALM", help="the realm of the users (default: rats)")
    group.add_argument(
        "--no-introductions",
        dest="introduce",
        action="store_false",
        default=None,
        help="do not introduce the nodes that are connected to each other",
    )
    group.add_argument(
        "--no-carry",
        dest="carry",
        action="store_false",
        default=None,
        help="do not carry the beginnings of their sessions either, which then begin later",
    )
    group.add_argument(
        "--dht",
        action="store_true",
        default=None,
        help="take part in the DHT, and announce there whom it introduces, where they want to be found by their ids",
    )
    _add_repeated(
        group,
        "--dht-bootstrap",
        bootstrap_address,
        "HOST:PORT",
        "a node of the DHT to begin with (default: public ones)",
        dest="dht_bootstrap",
    )
    group.add_argument(
        "--dht-port", type=int, metavar="PORT", help="the UDP port of its node of the DHT (default: 6881)"
    )
    _add_repeated(
        group,
        "--dht-address",
        own_address,
        "IP",
        "an address of this host at which to have a node of the DHT (default: the first that is listened on)",
        dest="dht_addresses",
    )
    group.add_argument(
        "--relay-for-introduced",
        action="store_true",
        default=None,
        help="let such nodes relay without a password, within the bounds of --introduced-allocations",
    )
    group.add_argument("--no-auth", action="store_true", default=None, help="let everybody relay without a password")
    for name, text in (("--allow-peer", "open, though it is not public"), ("--deny-peer", "close")):
        _add_repeated(group, name, parse_network, "CIDR", f"a network of peers to {text}", dest=f"{name[2:-5]}_peers")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--threads", type=whole_positive, metavar="N", help="threads that relay (default: 1)")
    for name, (unit, text) in _QUOTAS.items():
        option = f"--{name.replace('_', '-')}"
        words = text if "default" in text else f"{text} (default: any number)"
        group.add_argument(option, type=whole_positive, metavar=unit, help=words)
    for name, (unit, read, text) in _CARRIED.items():
        group.add_argument(f"--carry-{name.replace('_', '-')}", type=read, metavar=unit, help=text)
    group.add_argument(
        "--coalescing",
        type=int,
        metavar="MICROSECONDS",
        help="how long to wait for more packets while few come, 0 to 1000: saves CPU, costs latency (default: 0)",
    )
    group.add_argument(
        "--fleet",
        metavar="URL",
        help="share the limits by user with the other relays of the realm through a Redis or Valkey server, "
        "redis://HOST:PORT (default: off)",
    )
    _add_repeated(
        group,
        "--try-alternate",
        parse_alternate,
        "HOST:PORT",
        "another relay, to which clients over UDP and TCP are sent while this one drains or is full",
        dest="try_alternate",
    )
    _add_repeated(
        group,
        "--try-alternate-tls",
        parse_alternate,
        "DOMAIN=HOST:PORT",
        "the same for clients over TLS, with the name that the other relay's certificate has",
        dest="try_alternate_tls",
    )
    group.add_argument(
        "--drain-timeout",
        type=positive,
        metavar="SECONDS",
        help="how long to wait for the last allocation after SIGTERM (default: 3600)",
    )


def _add_watching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metrics",
        nargs="?",
        const=DEFAULT_METRICS,
        type=_readable(parse_metrics),
        metavar="HOST:PORT",
        help="serve /metrics for Prometheus and /health; just a port means the loopback (default: off; "
        f"{DEFAULT_METRICS} where no address is given)",
    )
    group.add_argument("--top", action="store_true", help="show what happens, live")
    group.add_argument(
        "--statistics",
        type=positive,
        default=STATISTICS_INTERVAL,
        metavar="SECONDS",
        help="how often to tell statistics with --json (default: 60)",
    )
    add_data_dir(group, folder="relay")


def _add_repeated(
    group: argparse._ArgumentGroup,
    name: str,
    parse: Callable[[str], Any],
    metavar: str,
    text: str,
    *,
    dest: str | None = None,
) -> None:
    group.add_argument(
        name,
        dest=dest or name.strip("-"),
        action="append",
        type=_readable(parse),
        metavar=metavar,
        help=f"{text}; may be repeated",
    )


def _readable(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Return a function that lets a text through once it is clear that it can be read."""
    check = checked(parse)

    def read(text: str) -> str:
        check(text)
        return text

    return read


class _Pairs(argparse.Action):
    """Collects pairs in a mapping."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one pair."""
        try:
            first, second = self.split(str(values))
        except UsageError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), first: second})

    @abstractmethod
    def split(self, text: str) -> tuple[str, str]:
        """Return the two sides.

        Raises:
            UsageError: There are no two.
        """


class _Hosts(_Pairs):
    """Collects ``HOST=OUTSIDE``."""

    def split(self, text: str) -> tuple[str, str]:
        """Return the two hosts."""
        first, _, second = text.partition("=")
        if not (Address(first, 0).is_literal and Address(second, 0).is_literal):
            raise UsageError("write HOST=OUTSIDE, two IP addresses")
        return first, second


class _Users(_Pairs):
    """Collects ``NAME:PASSWORD``."""

    def split(self, text: str) -> tuple[str, str]:
        """Return name and password."""
        return parse_user(text)
