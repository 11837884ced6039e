"""``librats connect``: connect to one peer, say or ask something, and tell what came of it."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from librats import ConnectionAttempt, ConnectionAttemptResult, NatType, Peer, RatsClient, RatsConfig
from librats.attempts.accounts import failure_of, success_of
from librats.cli.arguments import (
    JsonPair,
    add_command,
    add_node_options,
    checked,
    make_client,
    peer_id,
    positive,
    target,
    whole_positive,
)
from librats.cli.output import Output, as_text, plain
from librats.cli.reaching import reach, start_mdns
from librats.cli.running import run
from librats.errors import ConnectError, RatsError, UsageError

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

PING_TIMEOUT = 10.0

EPILOG = """\
A target is HOST:PORT, PEER_ID@HOST:PORT (nobody else is accepted), a ticket, or a PEER_ID alone, which is looked for
through the introducers and in the DHT, or on the local network where there are neither. Messages go first, then
requests, then pings.

With --json the first object is the outcome of the connection, durations in milliseconds; then comes one for each
message, request and ping.

examples:
  librats connect 192.0.2.7:8080
  librats connect 192.0.2.7:8080 --message chat '{"message": "hi"}'
  librats connect 192.0.2.7:8080 --request echo '[1, 2]' --ping 3 --json
  librats connect PEER_ID --introducer PEER_ID@relay.example.org:3478
  librats connect PEER_ID --dht
  librats connect 192.0.2.7:8080 --turn turn:ann:secret@turn.example.org
"""


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "connect", _run, help="connect to a peer, and say or ask something", epilog=EPILOG)
    parser.add_argument("target", type=checked(target), metavar="PEER|ADDR|TICKET", help="whom to connect to")
    pair = ("TYPE", "JSON")
    parser.add_argument(
        "--message", action=JsonPair, nargs=2, default=[], metavar=pair, help="send a message; may be repeated"
    )
    parser.add_argument(
        "--request",
        action=JsonPair,
        nargs=2,
        default=[],
        metavar=pair,
        help="make a request and show the reply; may be repeated",
    )
    parser.add_argument("--ping", type=whole_positive, default=0, metavar="N", help="measure N round trips")
    parser.add_argument("--expect-id", type=checked(peer_id), metavar="ID", help="accept only the peer with this id")
    parser.add_argument(
        "--timeout",
        type=positive,
        metavar="S",
        help="seconds to try to connect, and to wait for each reply (default: 30; for a ping 10)",
    )
    add_node_options(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    return run(_connect(args, output), output)


async def _connect(args: argparse.Namespace, output: Output) -> int:
    async with make_client(args, reconnects=False) as client:
        peer = await _reach(client, args, output)
        for type_, data in args.message:
            await peer.send(type_, data)
            output.tell(f"sent {plain(type_)}", event="message", type=type_, data=data)
        for type_, data in args.request:
            await _request(peer, type_, data, args.timeout, output)
        for number in range(1, args.ping + 1):
            await _ping(peer, number, args.timeout, output)
        await peer.close("done")
    return 0


async def _reach(client: RatsClient, args: argparse.Namespace, output: Output) -> Peer:
    started = time.monotonic()
    try:
        if not await start_mdns(client, args, [args.target], connect=False):
            raise ConnectError(args.target, reason="mDNS does not work on this machine's network")
        if args.dht:
            await client.start_dht_discovery(meet=False)
        peer = await reach(client, args.target, args, expect_id=args.expect_id, timeout=args.timeout)
    except UsageError:
        raise
    except RatsError as error:
        output.emit(**_members(failure_of(error, duration=time.monotonic() - started, nat_type=_nat_type(client))))
        raise
    result = success_of(peer, duration=time.monotonic() - started, nat_type=_nat_type(client))
    output.tell("\n".join(map(plain, peer.explain().splitlines())), **_members(result))
    return peer


async def _request(peer: Peer, type_: str, data: Any, timeout: float | None, output: Output) -> None:
    started = time.monotonic()
    try:
        reply = await peer.request(type_, data, timeout=RatsConfig().request_timeout if timeout is None else timeout)
    except RatsError as error:
        output.emit(event="reply", type=type_, error=str(error))
        raise
    spent = _ms(time.monotonic() - started)
    content = {"bytes": len(reply)} if isinstance(reply, bytes) else {"data": reply}
    output.tell(f"reply to {plain(type_)}: {as_text(reply)}", event="reply", type=type_, duration_ms=spent, **content)


async def _ping(peer: Peer, number: int, timeout: float | None, output: Output) -> None:
    try:
        rtt = await peer.ping(timeout=PING_TIMEOUT if timeout is None else timeout)
    except RatsError as error:
        output.emit(event="ping", number=number, error=str(error))
        raise
    output.tell(f"ping {number}: {rtt * 1000:.2f} ms", event="ping", number=number, rtt_ms=_ms(rtt))


def _nat_type(client: RatsClient) -> NatType:
    return NatType.UNKNOWN if client.nat.last is None else client.nat.last.type


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _members(result: ConnectionAttemptResult) -> dict[str, Any]:
    return {
        "success": result.success,
        "method": result.method,
        "duration_ms": _ms(result.duration),
        "error": result.error,
        "error_message": result.error_message,
        "reason": result.reason,
        "peer_id": result.peer_id,
        "local_nat_type": result.local_nat_type,
        "remote_nat_type": result.remote_nat_type,
        "used_candidates": list(result.used_candidates),
        "attempts": [_attempt(attempt) for attempt in result.attempts],
    }


def _attempt(attempt: ConnectionAttempt) -> dict[str, Any]:
    return {
        "address": str(attempt.address),
        "method": attempt.method,
        "duration_ms": _ms(attempt.duration),
        "error": attempt.error,
        "technique": attempt.technique,
        "reason": attempt.reason,
        "started_ms": _ms(attempt.started),
        "pair": None if attempt.pair is None else list(attempt.pair),
    }
