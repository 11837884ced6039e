"""``librats dht``: ask the BitTorrent DHT, and keep something there."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from librats import (
    Address,
    DhtError,
    DhtNodeInfo,
    Identity,
    NatTraversalConfig,
    RatsClient,
    RatsConfig,
    default_data_dir,
)
from librats.cli.arguments import add_command, add_data_dir, checked, listen_address, positive, whole_positive
from librats.cli.dht_options import add_bootstrap_option, dht_config
from librats.cli.output import Output, as_text
from librats.cli.running import run
from librats.cli.values import json_of, value_of
from librats.errors import UsageError
from librats.runtime.tasks import end_all
from librats.services.dht_handle import hash_of

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

ANYWHERE = Address("", 0)
MAX_SALT = 64

EPILOG = """\
The public DHT is asked unless --dht-bootstrap names nodes of another one. This host only asks: it is no node for
others, and it is gone when the command is. A hash and a target have 40 hex digits.

In JSON, bytes that are no UTF-8 are texts that begin with "hex:"; so are those that begin with "hex:" themselves.

examples:
  librats dht find 0123456789abcdef0123456789abcdef01234567
  librats dht peers 0123456789abcdef0123456789abcdef01234567 --json
  librats dht put "hello" --dht-bootstrap 192.0.2.7:6881
  librats dht put --mutable --salt news '{"title": "hi", "number": 7}' --parse
  librats dht ping 192.0.2.7:6881
"""

Work = Callable[[RatsClient, argparse.Namespace, Output], Awaitable[int]]


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "dht",
        help="ask the BitTorrent DHT, and keep values there",
        description="Ask the BitTorrent DHT, and keep values there.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add(
        *(actions, "ping", _ping, "ask one node whether it is there"),
        example="librats dht ping 192.0.2.7:6881",
    ).add_argument("address", type=checked(_node_address), metavar="HOST:PORT", help="where the node is")
    _add(
        *(actions, "find", _find, "find the nodes nearest to a target"),
        example="librats dht find 0123456789abcdef0123456789abcdef01234567 --json",
    ).add_argument("target", type=checked(_target), metavar="TARGET", help="40 hex digits")
    peers = _add(
        *(actions, "peers", _peers, "find the peers that have announced a hash"),
        example="librats dht peers 0123456789abcdef0123456789abcdef01234567 --enough 10",
    )
    peers.add_argument("hash", type=checked(_target), metavar="HASH", help="40 hex digits")
    peers.add_argument("--enough", type=whole_positive, metavar="N", help="end when so many were found")
    announce = _add(
        *(actions, "announce", _announce, "announce this host under a hash, for half an hour"),
        example="librats dht announce 0123456789abcdef0123456789abcdef01234567 --port 8080",
    )
    announce.add_argument("hash", type=checked(_target), metavar="HASH", help="40 hex digits")
    announce.add_argument(
        "--port", type=_port, metavar="PORT", help="the port to announce (default: the one that this command asks from)"
    )
    get = _add(
        *(actions, "get", _get, "read a value that is kept at a target"),
        example="librats dht get 0123456789abcdef0123456789abcdef01234567 --salt news",
    )
    get.add_argument("target", type=checked(_target), metavar="TARGET", help="40 hex digits: what put has told")
    _add_salt(get)
    put = _add(
        *(actions, "put", _put, "keep a value for some two hours, and tell where"),
        example='librats dht put --mutable --salt news --parse \'{"title": "hi"}\'',
    )
    put.add_argument("value", metavar="VALUE", help="a text, at most 1,000 bytes with what encoding adds")
    put.add_argument(
        "--parse", action="store_true", help="VALUE is JSON: whole numbers, texts, lists, objects of these"
    )
    put.add_argument(
        "--mutable",
        action="store_true",
        help="sign it with this machine's key (--data-dir), so that it can be replaced",
    )
    _add_salt(put)
    put.add_argument("--seq", type=_number, metavar="N", help="its number; the highest counts (default: by the clock)")
    put.add_argument("--cas", type=_number, metavar="N", help="replace only the value with this number")
    add_data_dir(put)


def _add(commands: Commands, name: str, work: Work, help: str, *, example: str) -> argparse.ArgumentParser:
    def start(args: argparse.Namespace, output: Output) -> int:
        if work is _put:
            _check_put(args)
        return run(_with_client(work, args, output), output)

    parser = add_command(commands, name, start, help=help, epilog=f"example:\n  {example}\n")
    parser.add_argument(
        "--listen",
        type=checked(listen_address),
        default=ANYWHERE,
        metavar="HOST:PORT",
        help="where to ask from (default: every network, any free port)",
    )
    parser.add_argument("--timeout", type=positive, metavar="S", help="seconds that it may take (default: 30)")
    add_bootstrap_option(parser)
    return parser


def _add_salt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--salt", type=_salt, default=b"", metavar="TEXT", help="tells apart mutable values under one key"
    )


async def _with_client(work: Work, args: argparse.Namespace, output: Output) -> int:
    args.dht, args.publish = True, False
    if work is _ping and args.dht_bootstrap is None:
        args.dht_bootstrap = [str(args.address)]  # nobody else is needed
    listen: Address = args.listen
    config = RatsConfig(
        listen_host=listen.host,
        transports=("udp",),
        nat=NatTraversalConfig.offline(),
        dht=dht_config(args, RatsConfig().dht, listen),
    )
    client = RatsClient(listen.port, config=config, identity=_identity(args))
    async with client:
        if not output.as_json:
            output.hint("asking the DHT…")
        starting = asyncio.ensure_future(client.start_dht_discovery(meet=False))
        try:
            await asyncio.wait([starting], timeout=args.timeout)
            if starting.done():
                starting.result()
            return await work(client, args, output)
        finally:
            await end_all([starting])


def _identity(args: argparse.Namespace) -> Identity:
    """Return who signs: this machine's identity, also while a node of it runs, where that matters; else anybody."""
    if not getattr(args, "mutable", False):
        return Identity.generate()
    return Identity.load_or_create(args.data_dir or default_data_dir())


# The actions


async def _ping(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    info = await client.dht.ping(args.address, timeout=args.timeout)
    rtt = 0.0 if info.rtt is None else info.rtt * 1000
    output.tell(
        f"{info.node_id.hex()} at {info.address}, {rtt:.2f} ms",
        id=info.node_id.hex(),
        address=str(info.address),
        rtt_ms=round(rtt, 3),
    )
    return 0


async def _find(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    nodes = await client.dht.find_nodes(args.target, timeout=args.timeout)
    output.tell(
        "\n".join(f"{node.node_id.hex()} at {node.address}" for node in nodes),
        target=args.target.hex(),
        nodes=[_node(node) for node in nodes],
    )
    return 0


def _node(node: DhtNodeInfo) -> dict[str, str]:
    return {"id": node.node_id.hex(), "address": str(node.address)}


async def _peers(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    peers = [str(peer) for peer in await client.find_peers(args.hash, enough=args.enough, timeout=args.timeout)]
    if peers or output.as_json:
        output.tell("\n".join(peers), hash=args.hash.hex(), peers=peers)
    else:
        output.hint("nobody has announced it")
    return 0


async def _announce(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    stored = await client.dht.announce(args.hash, args.port, timeout=args.timeout)
    port = args.port or client.listen_port
    output.tell(f"{stored} nodes have taken it", hash=args.hash.hex(), port=port, stored=stored)
    return 0


async def _get(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    item = await client.dht.get(args.target, salt=args.salt, timeout=args.timeout)
    if item is None:
        raise DhtError(f"nothing is kept at {args.target.hex()}")
    value = json_of(item.value)
    is_mutable = item.key is not None
    output.tell(
        value if isinstance(value, str) and "\n" not in value and value.isprintable() else as_text(value),
        target=args.target.hex(),
        value=value,
        seq=item.sequence if is_mutable else None,
        key=None if item.key is None else item.key.hex(),
        salt=json_of(item.salt),
    )
    if is_mutable and not output.as_json:
        output.hint(f"number {item.sequence}, signed by {item.key.hex() if item.key else ''}")
    return 0


async def _put(client: RatsClient, args: argparse.Namespace, output: Output) -> int:
    stored = await client.dht.put(
        args.value, salt=args.salt, mutable=args.mutable, sequence=args.seq, compare=args.cas, timeout=args.timeout
    )
    output.tell(
        stored.target.hex(),
        target=stored.target.hex(),
        seq=stored.sequence if args.mutable else None,
        key=client.identity.verify_key.hex() if args.mutable else None,
        stored=stored.nodes,
    )
    if not output.as_json:
        number = f", as number {stored.sequence}" if args.mutable else ""
        output.hint(f"{stored.nodes} nodes keep it{number}")
    return 0


def _check_put(args: argparse.Namespace) -> None:
    """Read the value, before anybody is asked.

    Raises:
        UsageError: It is not what --parse takes, or options do not go together.
    """
    if not args.mutable and (args.salt or args.seq is not None or args.cas is not None):
        raise UsageError("--salt, --seq and --cas go with --mutable")
    if args.parse:
        args.value = value_of(_parsed(args.value))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not JSON: {text!r} ({error})") from None


# What the arguments say


def _target(text: str) -> bytes:
    return hash_of(text, "a hash")


def _node_address(text: str) -> Address:
    address = Address.parse(text)
    if not address.port:
        raise UsageError(f"a node has a port, unlike {text}")
    return address


def _port(text: str) -> int:
    port = whole_positive(text)
    if port >= 1 << 16:
        raise argparse.ArgumentTypeError(f"a port is at most 65535: {text}")
    return port


def _number(text: str) -> int:
    number = int(text)
    if not 0 <= number < 1 << 63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**63 - 1: {text}")
    return number


def _salt(text: str) -> bytes:
    salt = text.encode(errors="surrogateescape")
    if len(salt) > MAX_SALT:
        raise argparse.ArgumentTypeError(f"a salt has at most {MAX_SALT} bytes: {text}")
    return salt
