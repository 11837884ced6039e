"""The command ``librats``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import librats
from librats.cli.logs import start_logging
from librats.cli.output import Output, plain
from librats.cli.running import Interrupted
from librats.errors import RatsError, UsageError

__all__ = ["main"]

SUCCESS, FAILURE, WRONG_USAGE = 0, 1, 2
INTERRUPTED = 130

EPILOG = """\
examples:
  librats demo                          see it work: two nodes on this machine meet and talk
  librats node --listen 0.0.0.0:8080    run a node that tells what it hears
  librats connect 192.0.2.7:8080 --ping 3
  librats send photo.jpg                a file or a folder to whoever has the code that is shown
  librats receive 7-acorn-tiger         take it
  librats relay --user bob:secret       run a STUN and TURN server
  librats doctor                        what network this is, and whom one can reach from it
  librats chat                          chat with whoever is on the local network
  librats dht peers HASH                who has announced a hash in the BitTorrent DHT
  librats torrent download LINK         download a torrent from a magnet link or a torrent file

Exit status: 0 success, 1 a failure (told in one line), 2 wrong usage.
`librats COMMAND --help` tells more of each.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process where it is None.

    Returns:
        The exit status.
    """
    parser = _parser()
    try:
        args = parser.parse_args(argv)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_USAGE
    if args.run is None:
        parser.print_help(sys.stderr)
        return WRONG_USAGE
    start_logging(args.log_level)
    return _run(args, Output(as_json=args.json))


def _run(args: argparse.Namespace, output: Output) -> int:
    try:
        status: int = args.run(args, output)
    except UsageError as error:
        return _fail(error, WRONG_USAGE)
    except (RatsError, OSError) as error:
        return _fail(error, FAILURE)
    except Interrupted as signal:
        return signal.status
    except KeyboardInterrupt:
        return INTERRUPTED
    return _fail(output.trouble, FAILURE) if output.trouble else status


def _fail(problem: object, status: int) -> int:
    Output.hint(f"librats: {plain(str(problem)) or type(problem).__name__}")
    return status


def _parser() -> argparse.ArgumentParser:
    # Whoever imports one part of this package does without the others.
    from librats.cli import (  # noqa: PLC0415
        bench,
        chat,
        connect,
        demo,
        dht,
        doctor,
        id,
        node,
        receive,
        relay,
        send,
        torrent,
    )

    parser = argparse.ArgumentParser(
        prog="librats",
        description="Peer-to-peer networking: peers that meet, prove who they are, encrypt, and talk.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"librats {librats.__version__}")
    parser.set_defaults(run=None, json=False, log_level="warning")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in (demo, id, node, connect, chat, send, receive, relay, doctor, dht, torrent, bench):
        command.add_parser(commands)
    return parser
