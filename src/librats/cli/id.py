"""``librats id``: who this machine is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from librats import Identity, default_data_dir
from librats.cli.arguments import add_command, add_data_dir
from librats.cli.output import Output

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
The identity is made at the first use. The peer id is all that others need to know; the key file stays secret.

examples:
  librats id
  librats id --import ~/old-node        take over the identity of a node of the C++ library
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "id", _run, help="show this machine's peer id", epilog=EPILOG)
    add_data_dir(parser)
    parser.add_argument(
        "--import",
        dest="source",
        type=Path,
        metavar="DIR",
        help="copy the identity.key of another data directory, a C++ node's for example",
    )


def _run(args: argparse.Namespace, output: Output) -> int:
    folder: Path = args.data_dir or default_data_dir()
    imported = args.source is not None
    identity = Identity.import_from(args.source, folder) if imported else Identity.load_or_create(folder)
    output.tell(identity.peer_id, peer_id=identity.peer_id, data_dir=str(folder), imported=imported)
    if not output.as_json:
        output.hint(f"kept in {folder}")
    return 0
