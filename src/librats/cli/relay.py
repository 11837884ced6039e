"""``librats relay``: run a STUN and TURN server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats.cli.arguments import add_command, add_data_dir, checked, positive, whole_positive
from librats.cli.output import Output, plain
from librats.cli.relay_events import Reporter
from librats.cli.relay_top import Top
from librats.cli.running import run
from librats.errors import ConfigError, RatsError, UsageError
from librats.peers.identity import Identity, default_data_dir
from librats.relay.config import (
    RelayConfig,
    make_relay_config,
    parse_listen,
    parse_metrics,
    parse_user,
    read_relay_config,
)
from librats.relay.server import RelayServer
from librats.turn.serving.peer_policy import parse_network
from librats.types import Address

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

DEFAULT_METRICS = "127.0.0.1:9641"
STATISTICS_INTERVAL = 60.0

EPILOG = """\
Relays for whoever has a user name and password, to public addresses only. Without --user, --secret or --config nobody
may use it; --no-auth lets everybody, and is not for a public address.

SIGTERM makes no new allocations and ends once the last one is gone (a second one ends it at once), SIGHUP reads the
configuration file and the certificate again. With --json each event is an object: ready, allocation, released,
statistics, reloaded, draining. The first is
  {"event": "ready", "peer_id": "...", "addresses": ["HOST:PORT", ...], ...}

examples:
  librats relay --user bob:secret
  librats relay --listen 192.0.2.1:3478 --secret S --realm example.org --threads 4 --metrics 9641
  librats relay --config /etc/librats/relay.toml --top
  librats relay --listen 127.0.0.1:3478 --user bob:secret --allow-peer 127.0.0.0/8    for a test on one machine
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "relay", _run, help="run a STUN and TURN server", epilog=EPILOG)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file, which the options below override")
    _add_addresses(parser.add_argument_group("addresses"))
    _add_users(parser.add_argument_group("users and peers"))
    _add_limits(parser.add_argument_group("limits"))
    _add_watching(parser.add_argument_group("watching"))


def _add_addresses(group: argparse._ArgumentGroup) -> None:
    _repeated(group, "--listen", parse_listen, "HOST:PORT", "where to listen for UDP and TCP; just a port means every interface (default: port 3478)")
    group.add_argument("--no-tcp", dest="tcp", action="store_false", default=None, help="listen for UDP only")
    _repeated(group, "--tls", lambda text: parse_listen(text, 5349), "HOST:PORT", "where to listen for TLS (default: port 5349 where there is a certificate)", "tls_listen")
    group.add_argument("--certificate", metavar="FILE", help="the certificate chain for TLS, PEM; read again when it changes")
    group.add_argument("--private-key", metavar="FILE", help="its private key, PEM (default: in the same file)")
    group.add_argument("--alternate", type=_checked_text(Address.parse), metavar="HOST:PORT", help="a second address, other in host and port, with which clients find out what NAT they are behind (RFC 5780)")
    _repeated(group, "--relay-host", str, "HOST", "an IP address to relay from (default: those it listens on)", "relay_hosts")
    group.add_argument("--external", dest="external_hosts", action=_Pairs, metavar="HOST=OUTSIDE", help="tell clients OUTSIDE instead of the relay address HOST; may be repeated")
    group.add_argument("--relay-ports", metavar="FIRST-LAST", help="ports to relay from (default: 10240-65535)")


def _add_users(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--user", dest="users", action=_Users, metavar="NAME:PASSWORD", help="a user; may be repeated. Others on this machine can see it in the list of processes: a file hides it")
    _repeated(group, "--secret", str, "SECRET", "a secret that vouches for time-limited user names, as coturn's static-auth-secret", "secrets")
    group.add_argument("--realm", metavar="REALM", help="the realm of the users (default: rats)")
    group.add_argument("--no-auth", action="store_true", default=None, help="let everybody relay without a password")
    _repeated(group, "--allow-peer", parse_network, "CIDR", "a network of peers to open, though it is not public", "allow_peers")
    _repeated(group, "--deny-peer", parse_network, "CIDR", "a network of peers to close", "deny_peers")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--threads", type=whole_positive, metavar="N", help="threads that relay (default: 1)")
    for name, unit, text in (
        ("--total-allocations", "N", "allocations of all users together"),
        ("--user-allocations", "N", "allocations of one user"),
        ("--total-bandwidth", "BYTES", "bytes a second that are relayed for all users together"),
        ("--user-bandwidth", "BYTES", "bytes a second that are relayed for one user"),
    ):
        group.add_argument(name, type=whole_positive, metavar=unit, help=f"{text} (default: any number)")
    group.add_argument("--coalescing", type=int, choices=(0, 50, 200), metavar="US", help="microseconds, 0, 50 or 200, to wait for more packets while few come: saves CPU, costs latency (default: 0)")
    group.add_argument("--drain-timeout", type=positive, metavar="SECONDS", help="how long to wait for the last allocation after SIGTERM (default: 3600)")


def _add_watching(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--metrics", nargs="?", const=DEFAULT_METRICS, type=_checked_text(parse_metrics), metavar="HOST:PORT", help=f"serve /metrics for Prometheus and /health; just a port means the loopback (default: off; {DEFAULT_METRICS} where no address is given)")
    group.add_argument("--top", action="store_true", help="show what happens, live")
    group.add_argument("--statistics", type=positive, default=STATISTICS_INTERVAL, metavar="SECONDS", help="how often to tell statistics with --json (default: 60)")
    add_data_dir(group)


def _repeated(group: argparse._ArgumentGroup, name: str, parse: Callable[[str], Any], metavar: str, text: str, dest: str | None = None) -> None:
    group.add_argument(name, dest=dest or name.strip("-").replace("-", "_"), action="append", type=_checked_text(parse), metavar=metavar, help=f"{text}; may be repeated")


def _checked_text(parse: Callable[[str], Any]) -> Callable[[str], str]:
    """Return a function that lets a text through once it is clear that it can be read."""
    check = checked(parse)

    def read(text: str) -> str:
        check(text)
        return text

    return read


class _Pairs(argparse.Action):
    """Collects ``A=B`` in a mapping."""

    separator = "="

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: str | Sequence[Any] | None, option_string: str | None = None) -> None:
        """Add one pair."""
        try:
            first, second = self.split(str(values))
        except UsageError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), first: second})

    def split(self, text: str) -> tuple[str, str]:
        """Return the two sides."""
        first, separator, second = text.partition("=")
        if not (separator and Address(first, 0).is_literal and Address(second, 0).is_literal):
            raise UsageError("write HOST=OUTSIDE with two IP addresses")
        return first, second


class _Users(_Pairs):
    """Collects ``NAME:PASSWORD`` in a mapping."""

    def split(self, text: str) -> tuple[str, str]:
        """Return the two sides."""
        return parse_user(text)


_FIELDS = (
    *("listen", "tcp", "tls_listen", "certificate", "private_key", "alternate", "relay_hosts", "external_hosts"),
    *("relay_ports", "users", "secrets", "realm", "no_auth", "allow_peers", "deny_peers", "threads", "coalescing"),
    *("drain_timeout", "metrics"),
)
_QUOTAS = ("total_allocations", "user_allocations", "total_bandwidth", "user_bandwidth")


def read_arguments(args: argparse.Namespace) -> RelayConfig:
    """Return the configuration that options and file describe together.

    Raises:
        StoreError: The file cannot be read.
        ConfigError: A field has a value that cannot be used.
    """
    given = {name: getattr(args, name) for name in _FIELDS if getattr(args, name) is not None}
    quotas = {name: getattr(args, name) for name in _QUOTAS if getattr(args, name) is not None}
    if args.config is not None:
        return read_relay_config(args.config, given, quotas)
    return make_relay_config({**given, "quotas": quotas})


def _run(args: argparse.Namespace, output: Output) -> int:
    return run(_relay(args, output), output, endless=True)


async def _relay(args: argparse.Namespace, output: Output) -> int:
    config = read_arguments(args)
    identity = Identity.load_or_create(args.data_dir or default_data_dir() / "relay")
    reporter = Reporter(output)
    server = RelayServer(config, reporter if output.as_json else None)
    async with server:
        reporter.ready(server, identity.peer_id)
        stopping = _heed_signals(server, args, output)
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(server.failed()),
                tasks.create_task(reporter.report(server, interval=args.statistics)),
            ]
            if args.top:
                watching.append(tasks.create_task(Top(server).show()))
            await stopping.wait()
            server.drain()
            output.tell(
                f"draining: {server.statistics().allocations} allocations are left",
                event="draining",
                allocations=server.statistics().allocations,
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(config.drain_timeout):
                    await server.drained()
            for task in watching:
                task.cancel()
        reporter.tell_last(server)
    return 0


def _heed_signals(server: RelayServer, args: argparse.Namespace, output: Output) -> asyncio.Event:
    """Drain at the first SIGTERM, end at the second; reload at SIGHUP. Returns what is set at the first."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - called from a coroutine

    def terminate() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    def reload() -> None:
        try:
            fixed = server.reload(read_arguments(args))
        except (RatsError, OSError) as error:
            output.tell(f"not reloaded: {plain(str(error))}", event="not_reloaded", error=str(error))
            return
        left = f"; restart for {', '.join(fixed)}" if fixed else ""
        output.tell(f"reloaded{left}", event="reloaded", needs_restart=fixed)

    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, terminate)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, reload)
    return stopping
