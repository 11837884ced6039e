"""``librats doctor``: what network this host is on, with whom it can go direct, and what to do."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from librats import FindingSeverity, NatTraversalConfig, StoreError, TurnServer, diagnose
from librats.cli.arguments import add_command, checked, introducer, proxy, stun_server
from librats.cli.output import Output, plain
from librats.cli.running import run
from librats.doctor.picture import picture_of
from librats.doctor.wording import lines_of
from librats.errors import ConfigError

if TYPE_CHECKING:
    from librats import NetworkReport
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

TIME_SERVER = "time.cloudflare.com"

EPILOG = """\
It asks STUN servers how they see this host, the routers whether they map ports, and a time server for the time, all at
once, and takes about three seconds. Exit status: 0, and 1 where something does not work at all.

examples:
  librats doctor
  librats doctor --stun stun.example.org --turn turn:ann:secret@turn.example.org --svg network.svg
  librats doctor --lifetime             how long the NAT keeps a silent socket's address, too: five minutes
  librats doctor --json --no-time
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(
        commands,
        "doctor",
        _run,
        help="what network this is, with whom one can go direct, and what to do",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--stun",
        action="append",
        type=checked(stun_server),
        metavar="HOST[:PORT]",
        help="a STUN server to ask; may be repeated (default: public ones)",
    )
    parser.add_argument(
        "--turn",
        action="append",
        type=checked(TurnServer.from_uri),
        default=[],
        metavar="URI",
        help="a TURN server to try to reach over TCP; may be repeated",
    )
    parser.add_argument(
        "--introducer",
        action="append",
        type=checked(introducer),
        default=[],
        metavar="PEERID@HOST:PORT",
        help="an introducer to try to reach over TCP, or wss://PEERID@HOST; may be repeated",
    )
    parser.add_argument(
        "--proxy",
        type=checked(proxy),
        default="system",
        metavar="URI",
        help="the proxy to try, http://USER:PASSWORD@HOST:PORT, or the same with https, socks5 or socks5h, or off "
        "(default: that of the system's settings)",
    )
    parser.add_argument(
        "--time-server",
        default=TIME_SERVER,
        metavar="HOST[:PORT]",
        help="whom to ask for the time (default: %(default)s)",
    )
    parser.add_argument("--no-time", action="store_true", help="ask nobody for the time")
    parser.add_argument("--no-port-mapping", action="store_true", help="do not ask the routers to map a port")
    parser.add_argument(
        "--lifetime", action="store_true", help="find out how long the NAT keeps a silent socket's address, too"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw a picture of it, too")


def _run(args: argparse.Namespace, output: Output) -> int:
    return run(_examine(args, output), output)


async def _examine(args: argparse.Namespace, output: Output) -> int:
    nat = NatTraversalConfig(
        turn_servers=tuple(args.turn),
        introducers=tuple(args.introducer),
        proxy=args.proxy,
        enable_port_mapping=not args.no_port_mapping,
    )
    if args.stun is not None:
        nat = dataclasses.replace(nat, stun_servers=tuple(args.stun))

    def show(step: str, done: int, total: int) -> None:
        output.hint(f"  {done} of {total}: {step}")

    try:
        report = await diagnose(
            nat, time_server=None if args.no_time else args.time_server, lifetime=args.lifetime, progress=show
        )
    except ConfigError as error:
        output.emit(error=str(error))
        raise
    if args.svg is not None:
        _draw(report, args.svg)
    output.tell("\n".join(plain(line) for line in lines_of(report)), **report.to_json())
    return int(any(finding.severity is FindingSeverity.PROBLEM for finding in report.findings))


def _draw(report: NetworkReport, path: Path) -> None:
    try:
        path.write_text(picture_of(report), encoding="utf-8")
    except OSError as error:
        raise StoreError(path, f"cannot be written: {error.strerror or error}") from None
