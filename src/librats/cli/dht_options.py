"""The options about the DHT that several sub-commands share, and what they ask for."""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
from typing import Any

from librats import DhtConfig, DhtUnreachable, RatsClient
from librats.cli.checked import checked
from librats.cli.output import Output, plain
from librats.dht_config import bootstrap_address, checked_addresses
from librats.errors import RatsError
from librats.types import Address

__all__ = [
    "add_bootstrap_option",
    "add_dht_options",
    "dht_config",
    "dht_node",
    "own_address",
    "start_dht",
    "tell_unreachable",
]

NOBODY = "none"


def dht_node(text: str) -> str:
    """Return what names a node of the DHT to begin with, once it is clear that it does.

    Raises:
        ConfigError: It names none.
    """
    if text != NOBODY:
        bootstrap_address(text)
    return text


def own_address(text: str) -> str:
    """Return an address for a node of the DHT, once it is clear that it is one.

    Raises:
        ConfigError: It is none.
    """
    checked_addresses((text,))
    return text


def add_bootstrap_option(options: argparse._ActionsContainer) -> None:
    """Add ``--dht-bootstrap``."""
    options.add_argument(
        "--dht-bootstrap",
        action="append",
        type=checked(dht_node),
        metavar="HOST:PORT",
        help="a node of the DHT to begin with, instead of public ones, or none to wait for others; may be repeated",
    )


def add_dht_options(options: argparse._ActionsContainer) -> None:
    """Add ``--dht``, ``--dht-bootstrap``, ``--dht-address`` and ``--publish``."""
    options.add_argument(
        "--dht",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="take part in the DHT: others find this node there, and it finds them (default: no, unless one of its "
        "nodes is named)",
    )
    add_bootstrap_option(options)
    options.add_argument(
        "--dht-address",
        action="append",
        type=checked(own_address),
        metavar="IP",
        help="an address of this host at which to have a node of the DHT, instead of the port of this node; may be "
        "repeated, for hosts with several public ones",
    )
    options.add_argument(
        "--publish",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="let this node be found by its id: introducers announce in the DHT that they introduce it, and with --dht "
        "it publishes its addresses there (default: no)",
    )


def dht_config(args: argparse.Namespace, configured: DhtConfig, listen: Address) -> DhtConfig:
    """Return the settings that the options ask for, and note in them whether the DHT is to be started.

    Args:
        args: The options.
        configured: What holds where they say nothing.
        listen: Where the node listens. One on the loopback reaches no public nodes, and none are asked there.
    """
    own: list[str] | None = getattr(args, "dht_address", None)  # not every sub-command has that option
    if args.dht is None:
        args.dht = configured.enabled or args.dht_bootstrap is not None or own is not None
    nodes = configured.bootstrap
    if args.dht_bootstrap is not None:
        nodes = tuple(node for node in args.dht_bootstrap if node != NOBODY)
    elif (
        args.dht
        and nodes == DhtConfig().bootstrap
        and listen.is_literal
        and ipaddress.ip_address(listen.host).is_loopback
    ):
        nodes = ()
    # The command starts it, since it tells what comes of that.
    publish = configured.publish if args.publish is None else args.publish
    addresses = configured.addresses if own is None else tuple(own)
    return dataclasses.replace(configured, enabled=False, bootstrap=nodes, publish=publish, addresses=addresses)


def tell_unreachable(client: RatsClient, output: Output) -> None:
    """Tell each time when nobody in the DHT answers any more."""

    @client.on_event(DhtUnreachable)
    def unreachable(event: DhtUnreachable) -> None:
        _tell(output, f"no DHT: {event.reason}; it is tried again", reachable=False, reason=event.reason)


async def start_dht(client: RatsClient, args: argparse.Namespace, output: Output, *, topic: str | None) -> None:
    """Start the DHT where the options ask for it, meet others there, and tell once somebody has answered.

    Args:
        client: A running client.
        args: The sub-command's options.
        output: Where to tell it.
        topic: Whom to meet there; everybody of the protocol where it is None.
    """
    if not args.dht:
        return
    try:
        is_in = await client.start_dht_discovery(meet=topic is None)
        if topic is not None and client.dht.is_running:
            await client.join_topic(topic)
        nodes = client.dht.statistics()["nodes"] if is_in else 0
    except RatsError as error:  # its port is taken, or the client is being stopped
        _tell(output, f"no DHT: {error}", reachable=False, reason=str(error))
        return
    if is_in:
        _tell(output, f"in the DHT; nodes known there so far: {nodes}", reachable=True, nodes=nodes)


def _tell(output: Output, text: str, **event: Any) -> None:
    """Tell programs an event, and people a remark."""
    if output.as_json:
        output.emit(event="dht", **event)
    else:
        output.hint(plain(text))
