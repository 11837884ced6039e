"""``librats relay``: run a STUN and TURN server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from librats.cli.arguments import add_command
from librats.cli.output import Output, plain
from librats.cli.relay_events import Reporter
from librats.cli.relay_options import add_options, read_arguments
from librats.cli.relay_top import Top
from librats.cli.running import run
from librats.errors import RatsError
from librats.peers.identity import Identity, default_data_dir
from librats.relay.server import RelayServer
from librats.runtime.tasks import TaskSet

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
Relays for whoever has a user name and password, to public addresses only. Without --user, --secret or a file nobody
may use it; --no-auth lets everybody, and is not for a public address. Nodes that name it as their --introducer are
introduced to each other; with --relay-for-introduced they relay without a password, bounded by network.

SIGTERM makes no new allocations and ends once the last one is gone (a second one ends it at once), SIGHUP reads the
configuration file and the certificate again. With --json each event is an object: ready, allocation, released,
statistics, reloaded, draining. The first is
  {"event": "ready", "peer_id": "...", "addresses": ["HOST:PORT", ...], ...}

examples:
  librats relay --user bob:secret
  librats relay --listen 192.0.2.1:3478 --secret S --realm example.org --threads 4 --metrics 9641
  librats relay --relay-for-introduced    nodes then say --introducer PEERID@HOST:3478
  librats relay --config /etc/librats/relay.toml --top
  librats relay --listen 127.0.0.1:3478 --user bob:secret --allow-peer 127.0.0.0/8    a test on one machine
"""

FAILURE = 1

# Allocations are many objects that live long: the collector need not look at them all the time. But each connection of
# asyncio that has ended is a cycle of seven objects and 1 kB that waits for it.
_COLLECT_AFTER = (10_000, 20, 100)


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    add_options(add_command(commands, "relay", _run, help="run a STUN and TURN server", epilog=EPILOG))


def _run(args: argparse.Namespace, output: Output) -> int:
    return run(_relay(args, output), output, endless=True)


async def _relay(args: argparse.Namespace, output: Output) -> int:
    config = read_arguments(args)
    directory = args.data_dir or default_data_dir() / "relay"
    identity = Identity.load_or_create(directory)
    reporter = Reporter(output)
    server = RelayServer(config, reporter if output.as_json else None, identity=identity, directory=Path(directory))
    tasks = TaskSet()
    async with server:
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)
        reporter.ready(server, identity.peer_id)
        stopping, at_once = _heed_signals(server, args, output)
        tasks.create(reporter.report(server, interval=args.statistics), name="report")
        if args.top:
            tasks.create(Top(server).show(), name="top")
        failing = tasks.create(server.failed(), name="watch the threads")
        draining = tasks.create(_drain(server, stopping, output), name="drain")
        ending = tasks.create(at_once.wait(), name="end")
        try:
            await asyncio.wait([failing, draining, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed = failing.done() and not failing.cancelled()
            await tasks.close()
        reporter.tell_last(server)
    return FAILURE if failed else 0


async def _drain(server: RelayServer, stopping: asyncio.Event, output: Output) -> None:
    """Wait until the relay is to stop, and then for its last allocation."""
    await stopping.wait()
    server.drain()
    left = server.statistics().allocations
    output.tell(f"draining: {left} allocations are left", event="draining", allocations=left)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(server.config.drain_timeout):
            await server.drained()


def _heed_signals(server: RelayServer, args: argparse.Namespace, output: Output) -> tuple[asyncio.Event, asyncio.Event]:
    """Return what the first and the second SIGTERM set; reload at SIGHUP."""
    stopping, at_once = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def terminate() -> None:
        (at_once if stopping.is_set() else stopping).set()

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
    return stopping, at_once
