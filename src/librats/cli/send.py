"""``librats send``: a file or a folder to whoever has the ticket or the code, or to a peer that is named."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from librats.cli.arguments import add_command, add_node_options, checked, make_client, target
from librats.cli.output import Output, plain
from librats.cli.progress import readable_size
from librats.cli.reaching import reach
from librats.cli.running import run
from librats.cli.tickets import require_qr, show_qr
from librats.cli.transferring import ReadingShown, begin_finding, follow, tell_done
from librats.errors import IntroductionError, TransferError, UsageError

if TYPE_CHECKING:
    from librats import RatsClient, Ticket
    from librats.cli.arguments import Commands
    from librats.services.introduction.code_meetings import GivenCode
    from librats.services.transferring.handle import Transfer
    from librats.services.transferring.offer import Shared

__all__ = ["add_parser"]

INTRODUCER_PATIENCE = 5.0
LOOK_EVERY = 0.1
TOLD = {
    "taken": "somebody has used the code",
    "burnt": "somebody has tried a wrong code: it is of no use any more, but the ticket is",
    "expired": "the code is of no use any more, but the ticket is",
}

EPILOG = """\
Without --to, a ticket and a code are shown. Whoever has one of them gets what is sent, once; it ends then, or goes on
with --keep. The code is a number and two words to be told over the telephone: it is good for ten minutes and one try,
on the local network or where both sides name the same --introducer. The ticket is good as long as this runs.

With --to, what is sent is offered to that peer, which takes it with `librats receive`, or whatever it runs.

With --json the first object is {"event": "ticket", "ticket": ..., "code": ...}, the last one {"event": "done", ...}.
Where the files take longer than a second to read, {"event": "hashing", ...} comes before, and tells how far that is.

examples:
  librats send photo.jpg
  librats send holiday/ --introducer PEER_ID@relay.example.org:3478 --qr
  librats send report.pdf --to PEER_ID@192.0.2.7:8080
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "send", _run, help="send a file or a folder", epilog=EPILOG)
    parser.add_argument("path", metavar="PATH", help="the file or folder")
    parser.add_argument(
        "--to", type=checked(target), metavar="PEER|ADDR|TICKET", help="offer it to this peer, without ticket and code"
    )
    parser.add_argument("--as", dest="other_name", metavar="NAME", help="what it is called at the other side")
    parser.add_argument("--message", default="", metavar="TEXT", help="words that go with the offer, with --to")
    parser.add_argument("--keep", action="store_true", help="go on after somebody has it, until Ctrl-C")
    parser.add_argument(
        "--code", action=argparse.BooleanOptionalAction, default=True, help="show a code, too (default: yes)"
    )
    parser.add_argument("--qr", action="store_true", help="show the ticket as a QR code too, which takes librats[cli]")
    add_node_options(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    require_qr(args)
    if not args.path:  # as of a shell's variable that is not set: it would be all of the current folder
        raise UsageError("name a file or a folder")
    if args.to is not None and (args.keep or args.qr):
        raise UsageError("--keep and --qr are for tickets, and there is none with --to")
    if args.to is None and args.message:
        raise UsageError("--message goes with --to")
    return run(_send_to(args, output) if args.to is not None else _share(args, output), output, endless=args.keep)


async def _send_to(args: argparse.Namespace, output: Output) -> int:
    async with make_client(args, saved_peers=False) as client:
        await begin_finding(client, args, connect=False)
        peer = await reach(client, args.to, args)
        transfer = await client.files.send(peer, args.path, name=args.other_name, message=args.message)
        result = await follow(transfer, output)
        tell_done(result, output, words=f"sent to {peer.id[:8]}", reused=transfer.snapshot().reused)
    return 0


async def _share(args: argparse.Namespace, output: Output) -> int:
    async with make_client(args, saved_peers=False) as client:
        hashing = ReadingShown(output, asyncio.get_running_loop().time)
        try:
            shared = await client.files.share(args.path, name=args.other_name, on_progress=hashing.update)
        finally:
            hashing.end()
        await begin_finding(client, args, connect=False)
        ticket = client.files.ticket(shared)
        given = await _code_for(client, shared, args)
        _tell_ticket(ticket, given, shared, args, output)
        waiting = None
        if given is not None:
            waiting = asyncio.get_running_loop().create_task(_watch_code(given, output))
        try:
            await _serve(client, shared, args, output)
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.wait([waiting])
    return 0


async def _code_for(client: RatsClient, shared: Shared, args: argparse.Namespace) -> GivenCode | None:
    """Return a code for what is shared; None where nobody could use one, or none is wanted."""
    if not args.code:
        return None
    loop = asyncio.get_running_loop()
    until = loop.time() + INTRODUCER_PATIENCE
    while args.introducer and not client.introducers and loop.time() < until:  # noqa: ASYNC110 - no event tells it
        await asyncio.sleep(LOOK_EVERY)
    if args.introducer and not client.introducers:
        Output.hint("librats: no introducer is connected: the code is good on the local network alone")
    if not client.introducers and args.mdns is False:
        Output.hint("librats: without --introducer, and without mDNS, nobody could use a code")
        return None
    try:
        return await client.files.give_code(shared)
    except (IntroductionError, UsageError) as error:
        Output.hint(f"librats: there is no code: {plain(str(error))}")
        return None


def _tell_ticket(
    ticket: Ticket, given: GivenCode | None, shared: Shared, args: argparse.Namespace, output: Output
) -> None:
    manifest = shared.source.manifest
    lines = [plain(f"{manifest.name}: {readable_size(shared.size)} in {len(manifest.files)} files")]
    if given is not None:
        lines.append(f"\nOn the other machine:\n\n    librats receive {given.text}\n\nor, with the ticket:")
    else:
        lines.append("\nOn the other machine:")
    lines.append(f"\n    librats receive {ticket}\n")
    output.tell(
        "\n".join(lines),
        event="ticket",
        ticket=str(ticket),
        code=None if given is None else given.text,
        name=manifest.name,
        bytes=shared.size,
        files=len(manifest.files),
        hash=shared.content_id,
    )
    show_qr(args, output, ticket)


async def _watch_code(given: GivenCode, output: Output) -> None:
    outcome = await given.wait()
    output.emit(event="code", outcome=str(outcome))
    output.hint(f"    {TOLD[outcome]}")


async def _serve(client: RatsClient, shared: Shared, args: argparse.Namespace, output: Output) -> None:
    """Show who gets it, until somebody has it, or for ever.

    Raises:
        TransferError: Nobody can get it any more.
    """
    followed: dict[str, asyncio.Task[bool]] = {}
    loop = asyncio.get_running_loop()
    try:
        while True:
            ended = [task.result() for task in followed.values() if task.done()]
            if any(ended) and not args.keep:
                return
            transfers = dict(client.files.transfers)
            followed = {number: task for number, task in followed.items() if number in transfers or not task.done()}
            for transfer in transfers.values():
                if transfer.id not in followed and transfer.content_id == shared.content_id:
                    followed[transfer.id] = loop.create_task(_give(transfer, shared, output))
            await asyncio.sleep(LOOK_EVERY)
    finally:
        for task in followed.values():
            task.cancel()
        if followed:
            await asyncio.wait(followed.values())


async def _give(transfer: Transfer, shared: Shared, output: Output) -> bool:
    """Show a transfer to its end; False where it did not end well, and somebody may come again.

    Raises:
        TransferError: What is sent is not there any more as it was hashed.
    """
    output.emit(event="transfer", peer_id=transfer.peer_id, transfer=transfer.id)
    output.hint(f"    to {transfer.peer_id[:8]}:")
    try:
        result = await follow(transfer, output)
    except TransferError as error:
        output.emit(event="failed", peer_id=transfer.peer_id, code=error.code, reason=error.reason)
        if shared.source.change is not None:  # what the taker says about it does not count
            raise shared.source.change from None
        output.hint(f"    {transfer.peer_id[:8]} has not got it: {plain(str(error))}")
        return False
    tell_done(result, output, words=f"sent to {transfer.peer_id[:8]}", reused=transfer.snapshot().reused)
    return True
