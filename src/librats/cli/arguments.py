"""Options that several sub-commands share, and the client that they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from librats import CarryLimits, RatsClient, RatsConfig, ReconnectConfig, TurnServer
from librats.cli.checked import checked
from librats.cli.dht_options import add_dht_options, dht_config
from librats.connector import Target
from librats.errors import StoreError, UsageError
from librats.peers.keeping.config_file import StoredConfig, read_config
from librats.servers import introducer_place, stun_address
from librats.types import Address, ConnectionStrategy, Encryption, PathPolicy
from librats.web_uris import OFF, SYSTEM, ProxyUri

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    from librats.cli.output import Output

__all__ = [
    "JsonPair",
    "add_command",
    "add_data_dir",
    "add_node_options",
    "byte_rate",
    "checked",
    "introducer",
    "listen_address",
    "make_client",
    "peer_id",
    "positive",
    "proxy",
    "stun_server",
    "target",
    "whole_positive",
]

LEVELS = ("debug", "info", "warning", "error", "critical")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace, Output], int], *, help: str, epilog: str
) -> argparse.ArgumentParser:
    """Add a sub-command with the options that every one has."""
    parser = commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="write JSON on standard output, one object a line")
    parser.add_argument("--log-level", choices=LEVELS, default="warning", help="what to log on standard error")
    return parser


def add_data_dir(parser: argparse._ActionsContainer, *, folder: str = "") -> None:
    """Add ``--data-dir``, whose default is a folder of that name in the user's directory, or this itself."""
    within = f", {folder} in it" if folder else ""
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help=f"where the identity is kept (default: $LIBRATS_DATA_DIR, else this user's data directory{within})",
    )


def add_node_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of sub-commands that run a node."""
    options = parser.add_argument_group("node")
    add_data_dir(options)
    options.add_argument(
        "--listen",
        type=checked(listen_address),
        metavar="HOST:PORT",
        help="where to listen; just a port means every network (default: every network, any free port)",
    )
    options.add_argument(
        "--mdns",
        action=argparse.BooleanOptionalAction,
        help="announce this node on the local network and find others there",
    )
    add_dht_options(options)
    options.add_argument("--name", default="", help="what to call this node on the local network")
    options.add_argument(
        "--protocol",
        metavar="NAME/VERSION",
        help="the application's network; only peers of the same one can connect (default: librats/1.0)",
    )
    options.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="a configuration file, of which the other options override what they name",
    )
    options.add_argument(
        "--strategy",
        choices=[strategy.value for strategy in ConnectionStrategy],
        default=ConnectionStrategy.AUTO_ADAPTIVE.value,
        help="how to reach peers (default: %(default)s)",
    )
    options.add_argument(
        "--turn",
        action="append",
        type=checked(TurnServer.from_uri),
        metavar="URI",
        help="a TURN server to go through where peers cannot be reached directly, "
        "turn:USER:PASSWORD@HOST:PORT[?transport=udp|tcp|tls|wss]; may be repeated",
    )
    options.add_argument(
        "--introducer",
        action="append",
        type=checked(introducer),
        metavar="PEERID@HOST:PORT",
        help="a `librats relay` to be reached through, and to reach others by their ids, or its WebSocket, "
        "wss://PEERID@HOST; may be repeated",
    )
    options.add_argument(
        "--proxy",
        type=checked(proxy),
        metavar="URI",
        help="the proxy for WebSockets and for TURN over TCP and TLS, http://USER:PASSWORD@HOST:PORT, or the same with "
        "https, socks5 or socks5h, or off "
        "(default: that of the system's settings)",
    )
    options.add_argument(
        "--ca-file",
        metavar="FILE",
        help="certificates (PEM) that those of introducers over wss must come from (default: those the system trusts)",
    )
    options.add_argument(
        "--stun",
        action="append",
        type=checked(stun_server),
        metavar="HOST:PORT",
        help="a STUN server to ask how others see this node, instead of public ones; may be repeated",
    )
    options.add_argument(
        "--path-policy",
        choices=[policy.value for policy in PathPolicy],
        help="auto: direct ways first; direct_only: no TURN servers; relay_only: peers never see this host "
        "(default: auto)",
    )
    options.add_argument(
        "--peer-exchange",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="ask peers for others and dial these, and tell others when they ask (default: no)",
    )
    options.add_argument(
        "--port-mapping",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="have the router let others in at the port that is listened on (default: yes)",
    )
    options.add_argument(
        "--carry",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="carry the sessions of peers that this node introduces to each other, while they have no other way: they "
        "pass through it encrypted (default: no)",
    )
    options.add_argument(
        "--carry-bytes", type=whole_positive, metavar="BYTES", help="of each of them, so much (default: 262144)"
    )
    options.add_argument(
        "--carry-seconds", type=positive, metavar="SECONDS", help="of each of them, so long (default: 60)"
    )
    options.add_argument(
        "--encryption",
        choices=[choice.value for choice in Encryption],
        help="off: readable for everybody on the path, nobody proves who they are, and the other side must have set it "
        "too (default: required)",
    )


def make_client(
    args: argparse.Namespace, *, reconnects: bool = True, saved_peers: bool = True, hidden: bool = False
) -> RatsClient:
    """Return the client that the options of :func:`add_node_options` describe, and note in them where it listens.

    Args:
        args: The options.
        reconnects: Whether it may dial lost and saved peers by itself.
        saved_peers: Whether saved ones, where it may.
        hidden: Whether to take files whose names begin with a dot, whatever the configuration says.

    Raises:
        StoreError: The configuration file is missing or damaged.
        UsageError: The options do not go together.
        ConfigError: A field in it has a value that cannot be used.
    """
    stored = StoredConfig(config=RatsConfig()) if args.config is None else read_config(args.config)
    if stored is None:
        raise StoreError(args.config, "does not exist")
    config, port = stored.config, stored.listen_port or 0
    if args.listen is None:
        args.listen = Address(config.listen_host, port)
    config, port = dataclasses.replace(config, listen_host=args.listen.host), args.listen.port
    config = dataclasses.replace(config, dht=dht_config(args, config.dht, args.listen))
    if args.protocol is not None:
        name, slash, version = args.protocol.rpartition("/")
        config = dataclasses.replace(
            config, protocol_name=name if slash else version, protocol_version=version if slash else ""
        )
    if args.encryption is not None:
        config = dataclasses.replace(config, encryption=Encryption(args.encryption))
    given = {"turn_servers": args.turn, "introducers": args.introducer, "stun_servers": args.stun}
    nat: dict[str, Any] = {name: tuple(values) for name, values in given.items() if values is not None}
    nat |= {name: getattr(args, name) for name in ("proxy", "ca_file") if getattr(args, name) is not None}
    if args.path_policy is not None:
        nat["path_policy"] = PathPolicy(args.path_policy)
        if args.path_policy == PathPolicy.RELAY_ONLY and not nat.get("turn_servers", config.nat.turn_servers):
            raise UsageError("--path-policy relay_only needs --turn")
    nat |= _carrying(args, config.nat.carry)
    config = dataclasses.replace(config, nat=dataclasses.replace(config.nat, **nat))
    args.introducer = config.nat.introducers
    if args.peer_exchange is not None:
        config = dataclasses.replace(config, peer_exchange=args.peer_exchange)
    if args.port_mapping is not None:
        config = dataclasses.replace(config, nat=dataclasses.replace(config.nat, enable_port_mapping=args.port_mapping))
    if hidden:
        config = dataclasses.replace(config, files=dataclasses.replace(config.files, hidden=True))
    if not reconnects:
        config = dataclasses.replace(config, reconnect=ReconnectConfig(enabled=False, saved_peers=False))
    elif not saved_peers:
        config = dataclasses.replace(config, reconnect=dataclasses.replace(config.reconnect, saved_peers=False))
    return RatsClient(port, config=config, data_dir=args.data_dir)


def _carrying(args: argparse.Namespace, configured: CarryLimits | None) -> dict[str, Any]:
    """Return what the options say of carrying the sessions of others.

    Raises:
        UsageError: They limit what is not done.
    """
    given = {"bytes": args.carry_bytes, "seconds": args.carry_seconds}
    given = {name: value for name, value in given.items() if value is not None}
    if args.carry is None and not given:
        return {}
    wanted = configured is not None if args.carry is None else args.carry
    if not wanted:
        if given:
            raise UsageError("--carry-bytes and --carry-seconds go with --carry")
        return {"carry": None}
    return {"carry": dataclasses.replace(configured or CarryLimits(), **given)}


def byte_rate(text: str) -> float:
    """Return bytes a second of a text as ``"500k"``, ``"2M"`` or ``"1.5G"``, by thousands.

    Example:
        >>> byte_rate("500k"), byte_rate("2M"), byte_rate("1200")
        (500000.0, 2000000.0, 1200.0)
    """
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)([kKmMgG]?)", text)
    rate = float(found[1]) * 1000 ** " kmg".index(found[2].lower() or " ") if found is not None else 0.0
    if rate < 1:
        raise argparse.ArgumentTypeError(f"no bytes a second, as 500k or 2M: {text}")
    return rate


def target(text: str) -> str:
    """Return what names a peer, once it is clear that it does."""
    Target.parse(text)
    return text


def peer_id(text: str) -> str:
    """Return a peer id, once it is clear that it is one."""
    Target.parse(("localhost", 1), text)
    return text


def positive(text: str) -> float:
    """Read a finite number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0: {text}")
    return number


def whole_positive(text: str) -> int:
    """Read a whole number above 0."""
    number = int(text)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0: {text}")
    return number


def introducer(text: str) -> str:
    """Return what names an introducer, once it is clear that it does."""
    introducer_place(text)
    return text


def proxy(text: str) -> str:
    """Return what names a proxy, once it is clear that it does."""
    if text not in (OFF, SYSTEM):
        ProxyUri.parse(text)
    return text


def stun_server(text: str) -> str:
    """Return what names a STUN server, once it is clear that it does."""
    stun_address(text)
    return text


def listen_address(text: str) -> Address:
    """Read where to listen: ``HOST:PORT``, or a port alone for every network."""
    bare = text.removeprefix(":")
    if bare.isdigit():
        return Address.parse(f"0:{bare}")._replace(host="")
    address = Address.parse(text)
    if not address.is_literal:
        raise UsageError(f"not an IP address to listen on: {address.host!r}")
    return address


class JsonPair(argparse.Action):
    """Collects ``TYPE JSON`` pairs as tuples of a type and what the JSON says."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Append one pair."""
        type_, text = list(values or ("", ""))
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise argparse.ArgumentError(self, f"not JSON: {text!r} ({error})") from None
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), (type_, data)])
