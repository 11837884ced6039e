"""``librats id``: who this machine is."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from librats import Identity, IdentityLock, default_data_dir
from librats.cli.arguments import add_command, add_data_dir, checked, introducer
from librats.cli.output import Output
from librats.cli.tickets import add_ticket_options, require_qr, show_qr
from librats.errors import UsageError
from librats.peers.identities.succession_file import rotate
from librats.tickets import Ticket
from librats.types import Address

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
The identity is made at the first use. The peer id is all that others need to know; the key file stays secret.

examples:
  librats id
  librats id --import ~/old-node        take over the identity of a node of the C++ library
  librats id --rotate                   become somebody new, whom peers of the old identity can follow
  librats id --ticket --introducer PEERID@relay.example.org:3478
                                        a ticket, good while a node of this identity runs with that introducer
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "id", _run, help="show this machine's peer id", epilog=EPILOG)
    add_data_dir(parser)
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--rotate",
        action="store_true",
        help="put a new identity in place of this one, with a record of that which both have signed",
    )
    ways.add_argument(
        "--import",
        dest="source",
        type=Path,
        metavar="DIR",
        help="copy the identity.key of another data directory, a C++ node's for example",
    )
    add_ticket_options(parser, what="show a ticket, with the addresses and introducers that are named here")
    parser.add_argument(
        "--address",
        action="append",
        type=checked(Address.parse),
        default=[],
        metavar="HOST:PORT",
        help="where a node of this identity is reached, for the ticket; may be repeated",
    )
    parser.add_argument(
        "--introducer",
        action="append",
        type=checked(introducer),
        default=[],
        metavar="PEERID@HOST:PORT",
        help="an introducer that a node of this identity stays connected to, for the ticket; may be repeated",
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    folder: Path = args.data_dir or default_data_dir()
    if not (args.ticket or args.qr) and (args.address or args.introducer):
        raise UsageError("--address and --introducer go with --ticket")
    require_qr(args)
    if args.rotate:
        return _rotate(folder, output)
    imported = args.source is not None
    identity = Identity.import_from(args.source, folder) if imported else Identity.load_or_create(folder)
    if args.ticket or args.qr:
        return _ticket(args, identity, output)
    output.tell(identity.peer_id, peer_id=identity.peer_id, data_dir=str(folder), imported=imported)
    if not output.as_json:
        output.hint(f"kept in {folder}")
    return 0


def _ticket(args: argparse.Namespace, identity: Identity, output: Output) -> int:
    ticket = Ticket(
        public_key=identity.public_key,
        verify_key=identity.verify_key,
        addresses=tuple(args.address),
        introducers=tuple(args.introducer),
    )
    output.tell(str(ticket), peer_id=identity.peer_id, ticket=str(ticket))
    show_qr(args, output, ticket)
    if not (args.address or args.introducer) and not output.as_json:
        output.hint("it names no address and no introducer: whoever has it finds this peer in the DHT or nearby only")
    return 0


def _rotate(folder: Path, output: Output) -> int:
    with IdentityLock.acquire(folder):
        record = rotate(folder, Identity.load(folder), created=int(time.time()))
    output.tell(
        record.new_id, peer_id=record.new_id, data_dir=str(folder), imported=False, old_id=record.old_id, rotated=True
    )
    if not output.as_json:
        output.hint(f"was {record.old_id}; peers that knew it are told at the next session")
    return 0
