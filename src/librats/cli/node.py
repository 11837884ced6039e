"""``librats node``: run a node, and tell what happens to it."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING, Any

from librats import (
    IceCandidateFound,
    IdentityRotated,
    IncomingRefused,
    NatTraversalProgress,
    PathChanged,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerDiscovered,
    PortMapped,
    PortMappingFailed,
    RatsClient,
    ReconnectFailed,
    Reconnecting,
)
from librats.cli.arguments import add_command, add_node_options, checked, make_client, target
from librats.cli.dht_options import start_dht, tell_unreachable
from librats.cli.output import Output, as_text, plain
from librats.cli.reaching import needs_mdns, reach, start_mdns
from librats.cli.running import run
from librats.cli.tickets import add_ticket_options, require_qr, show_qr
from librats.discovery.topics import checked_name
from librats.errors import RatsError

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser", "tell_events", "tell_ready"]

EPILOG = """\
Tells what happens until Ctrl-C or SIGTERM ends it: ready, connected, disconnected, message, path, nat, candidate,
with --mdns and --dht discovered, and with --dht dht. With --json each is an object with a member "event"; the first is
  {"event": "ready", "peer_id": "...", "addresses": ["HOST:PORT", ...]}

examples:
  librats node --listen 8080
  librats node --listen 127.0.0.1:0 --echo --json
  librats node --mdns --name attic --connect 192.0.2.7:8080
  librats node --dht --topic garden
  librats node --listen 127.0.0.1:6881 --dht        a DHT of one's own begins with this one
  librats node --ticket --introducer PEER_ID@relay.example.org:3478
  librats node --turn turn:ann:secret@turn.example.org --path-policy relay_only
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "node", _run, help="run a node and tell what it hears", epilog=EPILOG)
    parser.add_argument(
        "--connect",
        action="append",
        type=checked(target),
        default=[],
        metavar="TARGET",
        help="connect to HOST:PORT, PEER_ID@HOST:PORT, PEER_ID or a ticket; may be repeated",
    )
    parser.add_argument("--echo", action="store_true", help='answer every request of type "echo" with its payload')
    parser.add_argument(
        "--topic", type=checked(checked_name), metavar="T", help="meet only those in the DHT who are on the same topic"
    )
    add_ticket_options(parser, what="tell a ticket, with which others connect to this node")
    add_node_options(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    require_qr(args)
    if args.topic is not None and args.dht is None:
        args.dht = True
    return run(_node(args, output), output, endless=True)


async def _node(args: argparse.Namespace, output: Output) -> int:
    client = make_client(args)
    tell_events(client, output)
    if args.echo:

        @client.on("echo")
        def echo(peer: Peer, data: Any) -> Any:
            _tell_message(output, peer, "echo", data)
            return data

    async with client:
        await tell_ready(client, output)
        if args.ticket or args.qr:
            ticket = client.ticket()
            output.tell(f"ticket: {ticket}", event="ticket", ticket=str(ticket))
            show_qr(args, output, ticket)
        if not await start_mdns(client, args, args.connect, connect=True):
            output.hint("no mDNS: this machine's network does not let it")
        async with asyncio.TaskGroup() as dials:
            meeting = dials.create_task(start_dht(client, args, output, topic=args.topic))
            for wanted in args.connect:
                dials.create_task(_dial(client, wanted, args, output, meeting))
        await client.wait_closed()
    return 0


async def _dial(
    client: RatsClient, wanted: str, args: argparse.Namespace, output: Output, meeting: asyncio.Task[None]
) -> None:
    if needs_mdns(wanted):  # the DHT knows it perhaps
        await asyncio.wait([meeting])
    try:
        await reach(client, wanted, args)
    except RatsError as error:
        output.tell(plain(str(error)), event="unreachable", target=wanted, error=str(error))


async def tell_ready(client: RatsClient, output: Output) -> None:
    """Tell who this node is and where it can be dialled, which for one that hides is on a TURN server.

    Raises:
        TurnError: There is no relayed address to be had; likewise ConnectError and OperationTimeout.
    """
    if client.paths.hides_us:
        await client.paths.relays.open()
    addresses = [str(address) for address in client.addresses]
    output.tell(
        f"this node is {client.peer_id}\nlistening on {', '.join(addresses)}",
        event="ready",
        peer_id=client.peer_id,
        addresses=addresses,
    )


def tell_events(client: RatsClient, output: Output) -> None:
    """Tell whatever happens to a client, and what nobody else handles."""

    @client.on_event(PeerConnected)
    def connected(event: PeerConnected) -> None:
        peer = event.peer
        output.tell(
            f"{peer.id[:8]} connected, {'dialled at' if peer.outgoing else 'from'} {peer.address}",
            event="connected",
            peer_id=peer.id,
            address=str(peer.address),
            method=peer.method,
            outgoing=peer.outgoing,
            agent=peer.agent,
        )

    @client.on_event(PeerDisconnected)
    def disconnected(event: PeerDisconnected) -> None:
        output.tell(
            f"{event.peer.id[:8]} disconnected: {plain(event.reason)} [{plain(event.code)}]",
            event="disconnected",
            peer_id=event.peer.id,
            code=event.code,
            reason=event.reason,
        )

    @client.on_event(PathChanged)
    def path(event: PathChanged) -> None:
        output.tell(
            f"{event.peer.id[:8]} is now at {event.new} over {event.method}, before at {event.old}",
            event="path",
            peer_id=event.peer.id,
            address=str(event.new),
            old_address=str(event.old),
            method=event.method,
        )

    _tell_mappings(client, output)
    _tell_traversal(client, output)
    tell_unreachable(client, output)

    @client.on_event(PeerDiscovered)
    def discovered(event: PeerDiscovered) -> None:
        addresses = [str(address) for address in event.addresses]
        called = " ".join(filter(None, (event.peer_id[:8], plain(event.name)))) or "a node"
        output.tell(
            f"found {called} at {', '.join(addresses)}",
            event="discovered",
            peer_id=event.peer_id,
            addresses=addresses,
            name=event.name,
            source=event.source,
        )

    @client.on_event(IncomingRefused)
    def refused(event: IncomingRefused) -> None:
        output.tell(
            f"refused {event.address}: {plain(event.reason)}",
            event="refused",
            address=str(event.address),
            reason=event.reason,
        )

    @client.on_event(Reconnecting)
    def reconnecting(event: Reconnecting) -> None:
        output.tell(
            f"{event.peer_id[:8]} is dialled in {event.delay:.1f} s, try {event.attempt}",
            event="reconnecting",
            peer_id=event.peer_id,
            attempt=event.attempt,
            delay_ms=round(event.delay * 1000, 3),
        )

    @client.on_event(ReconnectFailed)
    def given_up(event: ReconnectFailed) -> None:
        output.tell(
            f"{event.peer_id[:8]} is given up after {event.attempts} tries: {plain(event.error)}",
            event="given_up",
            peer_id=event.peer_id,
            attempts=event.attempts,
            error=event.error,
        )

    @client.on_event(IdentityRotated)
    def rotated(event: IdentityRotated) -> None:
        old, new = event.succession.old_id, event.succession.new_id
        output.tell(f"{old[:8]} is now {new[:8]}", event="rotated", peer_id=event.peer.id, old_id=old, new_id=new)

    @client.on_unhandled
    def message(peer: Peer, name: str, data: Any) -> None:
        _tell_message(output, peer, name, data)

    @client.on_datagram
    def datagram(peer: Peer, data: bytes) -> None:
        output.tell(f"{peer.id[:8]} datagram: {as_text(data)}", event="datagram", bytes=len(data), **{"from": peer.id})


def _tell_traversal(client: RatsClient, output: Output) -> None:
    """Tell how far ways to peers are that somebody introduces, and what they are told of this node."""

    @client.on_event(NatTraversalProgress)
    def progress(event: NatTraversalProgress) -> None:
        words = f": {plain(event.words)}" if event.words else ""
        output.tell(
            f"{event.peer_id[:8]}, the way to it: {event.step}{words}",
            event="nat",
            peer_id=event.peer_id,
            step=event.step,
            words=event.words,
        )

    @client.on_event(IceCandidateFound)
    def candidate(event: IceCandidateFound) -> None:
        found = event.candidate
        output.tell(
            f"{event.peer_id[:8]} is told {found}",
            event="candidate",
            peer_id=event.peer_id,
            type=found.type,
            address=str(found.address),
            transport=found.transport,
        )


def _tell_mappings(client: RatsClient, output: Output) -> None:
    """Tell which ports gateways let others in at, and why not."""

    @client.on_event(PortMapped)
    def mapped(event: PortMapped) -> None:
        mapping = event.mapping
        output.tell(
            f"{mapping.transport} {mapping.internal} is reached at {mapping.external}, by {mapping.protocol}",
            event="nat",
            mapped=True,
            transport=mapping.transport,
            internal=str(mapping.internal),
            external=str(mapping.external),
            protocol=mapping.protocol,
            gateway=mapping.gateway,
            public=mapping.is_public,
        )

    @client.on_event(PortMappingFailed)
    def failed(event: PortMappingFailed) -> None:
        output.tell(
            f"{event.transport} {event.internal} is not mapped: {plain(event.reason)} [{plain(event.code)}]",
            event="nat",
            mapped=False,
            transport=event.transport,
            internal=str(event.internal),
            gateway=event.gateway,
            code=event.code,
            reason=event.reason,
        )


def _tell_message(output: Output, peer: Peer, name: str, data: Any) -> None:
    content = {"bytes": len(data)} if isinstance(data, bytes) else {"data": data}
    output.tell(
        f"{peer.id[:8]} {plain(name) or '-'}: {as_text(data)}",
        event="message",
        type=name,
        **{"from": peer.id},
        **content,
    )
