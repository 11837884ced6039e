"""``librats receive``: take what somebody sends, by its ticket or code, or by being there when it is offered."""

from __future__ import annotations

import argparse
import asyncio
from typing import TYPE_CHECKING

from librats.cli.arguments import add_command, add_node_options, checked, make_client, peer_id
from librats.cli.output import Output, plain
from librats.cli.progress import readable_size
from librats.cli.reaching import reach
from librats.cli.running import run
from librats.cli.transferring import begin_finding, follow, tell_done
from librats.errors import TransferError, UsageError
from librats.peer_ids import is_peer_id
from librats.tickets import Ticket

if TYPE_CHECKING:
    from librats import RatsClient
    from librats.cli.arguments import Commands
    from librats.services.transferring.handle import Transfer
    from librats.services.transferring.offer import Offer

__all__ = ["add_parser"]

KEPT = "what has come is kept: the same command goes on from there"
NO_WAY = "without an introducer, and without mDNS, there is no way to meet whoever gives the code"
AGAIN = frozenset({"peer_lost", "closed", "stalled", "no_space", "busy", "gone"})
"""Codes after which it may be worth to try it again."""

EPILOG = """\
A ticket or a code comes from `librats send`. A code is good on the local network, or where both sides name the same
--introducer. Without either, it waits for what a peer offers (`librats send --to`): of whom, --from says.

What has come is kept in a hidden folder beside until all is there, so that the same command goes on after Ctrl-C, a
crash or a loss of the connection, and sends nothing twice. Files that are there already are not fetched again.

With --json the last object is {"event": "done", "bytes": ..., "seconds": ..., "hash": ..., "path": ...}.

examples:
  librats receive 7-acorn-tiger
  librats receive rats1... --folder Downloads
  librats receive --from PEER_ID --listen 8080
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "receive", _run, help="receive a file or a folder", epilog=EPILOG)
    parser.add_argument(
        "what", nargs="*", metavar="TICKET|CODE", help="what `librats send` shows; the words of a code may stand apart"
    )
    parser.add_argument("--folder", default=".", metavar="DIR", help="where to put it (default: here)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files of the same names, which are kept otherwise"
    )
    parser.add_argument(
        "--hidden", action="store_true", help="take what has a name that begins with a dot, which is refused otherwise"
    )
    parser.add_argument(
        "--from",
        dest="senders",
        action="append",
        type=checked(peer_id),
        metavar="ID",
        help="take what this peer offers, without ticket or code; may be repeated",
    )
    parser.add_argument("--anyone", action="store_true", help="take the next offer, whoever makes it")
    add_node_options(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    text = " ".join(args.what)
    waits = bool(args.senders or args.anyone)
    if bool(text) == waits:
        raise UsageError("receive takes a ticket or a code, or else --from or --anyone")
    if not text:
        return run(_wait_for_offer(args, output), output)
    is_code = _is_code(text)
    if not is_code:
        _content_ticket(text)
    elif not _can_meet(args):
        raise UsageError(f"{NO_WAY}: --no-mdns takes an --introducer, or the ticket instead of the code")
    return run(_receive(args, text, output, is_code=is_code), output)


def _is_code(text: str) -> bool:
    """Tell whether a text is a code.

    Raises:
        UsageError: It looks like one, and is none.
    """
    from librats.codes.code import Code  # noqa: PLC0415 - other commands do without its words

    return Code.is_one(text) and bool(Code.parse(text))


def _content_ticket(text: str) -> Ticket:
    """Read the ticket of some content.

    Raises:
        UsageError: It is none, or one of a peer alone.
    """
    if is_peer_id(text):
        raise UsageError("that is a peer id: --from takes it, and waits for what this peer offers")
    if not Ticket.is_one(text):
        raise UsageError(f"neither a ticket nor a code: {plain(text)[:40]!r}")
    ticket = Ticket.parse(text)
    if not ticket.content:
        raise UsageError("that ticket is of a peer, and not of files: `librats connect` takes it")
    return ticket


def _can_meet(args: argparse.Namespace) -> bool:
    """Tell whether whoever gives a code can be met: through an introducer, or on the local network."""
    return bool(args.introducer) or args.mdns is not False


async def _receive(args: argparse.Namespace, text: str, output: Output, *, is_code: bool) -> int:
    async with make_client(args, saved_peers=False, hidden=args.hidden) as client:
        await begin_finding(client, args, connect=is_code)
        if is_code and not _can_meet(args):  # mDNS was to be used, and does not work here
            raise TransferError("unknown_code", NO_WAY)
        ticket = await _ticket_for(client, text, output) if is_code else _content_ticket(text)
        peer = await reach(client, str(ticket), args)
        transfer = await client.files.fetch(peer, ticket.content, args.folder, overwrite=args.overwrite)
        await _finish(transfer, output)
    return 0


async def _ticket_for(client: RatsClient, code: str, output: Output) -> Ticket:
    """Return the ticket that somebody gives by a code."""
    output.hint("    looking for who has the code")
    ticket = await client.files.take_code(code)
    output.emit(event="ticket", ticket=str(ticket))
    return ticket


async def _finish(transfer: Transfer, output: Output) -> None:
    output.emit(event="transfer", peer_id=transfer.peer_id, transfer=transfer.id, hash=transfer.content_id)
    try:
        result = await follow(transfer, output)
    except TransferError as error:
        output.emit(event="failed", peer_id=transfer.peer_id, code=error.code, reason=error.reason)
        if error.code in AGAIN and transfer.snapshot().bytes:
            output.hint(f"    {KEPT}")
        raise
    except asyncio.CancelledError:
        output.emit(event="stopped", bytes=transfer.snapshot().bytes, total=transfer.size)
        output.hint(f"    stopped; {KEPT}")
        raise
    tell_done(result, output, words=f"received {result.path}", reused=transfer.snapshot().reused)


async def _wait_for_offer(args: argparse.Namespace, output: Output) -> int:
    loop = asyncio.get_running_loop()
    async with make_client(args, saved_peers=False, hidden=args.hidden) as client:
        accepted: asyncio.Future[Transfer] = loop.create_future()
        taking: list[Offer] = []  # the one that is being accepted, or was

        @client.files.on_offer
        async def offered(offer: Offer) -> None:
            wanted = (args.anyone or offer.peer_id in args.senders) and not taking
            output.emit(
                event="offer",
                peer_id=offer.peer_id,
                name=offer.name,
                bytes=offer.size,
                files=offer.files,
                message=offer.message,
                accepted=wanted,
            )
            told = f"{offer.peer_id[:8]} offers {offer.name}: {readable_size(offer.size)}, {offer.files} files"
            output.hint(plain(f"    {told}" + (f" ({offer.message})" if offer.message else "")))
            if not wanted:
                await offer.refuse("it is not expected")
                return
            taking.append(offer)
            try:
                accepted.set_result(await offer.accept(args.folder, overwrite=args.overwrite))
            except TransferError as error:  # it is withdrawn: another one may come
                taking.clear()
                output.hint(plain(f"    {error.reason}"))

        await begin_finding(client, args, connect=False)
        output.tell(
            "\n".join([f"waiting as {client.peer_id}", *(f"    at {address}" for address in client.addresses)]),
            event="ready",
            peer_id=client.peer_id,
            addresses=[str(address) for address in client.addresses],
        )
        await _finish(await accepted, output)
    return 0
