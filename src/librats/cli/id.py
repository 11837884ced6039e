"""``librats id``: who this machine is."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from librats import Identity, IdentityLock, default_data_dir
from librats.cli.arguments import add_command, add_data_dir
from librats.cli.output import Output
from librats.peers.succession_file import rotate

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
The identity is made at the first use. The peer id is all that others need to know; the key file stays secret.

examples:
  librats id
  librats id --import ~/old-node        take over the identity of a node of the C++ library
  librats id --rotate                   become somebody new, whom peers of the old identity can follow
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


def _run(args: argparse.Namespace, output: Output) -> int:
    folder: Path = args.data_dir or default_data_dir()
    if args.rotate:
        return _rotate(folder, output)
    imported = args.source is not None
    identity = Identity.import_from(args.source, folder) if imported else Identity.load_or_create(folder)
    output.tell(identity.peer_id, peer_id=identity.peer_id, data_dir=str(folder), imported=imported)
    if not output.as_json:
        output.hint(f"kept in {folder}")
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
