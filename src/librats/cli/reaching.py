"""Reaching the peer that a user named, on the local network too."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable

from librats import Peer, PeerConnected, PeerDiscovered, RatsClient, RatsConfig
from librats.connector import Target
from librats.errors import ConnectError, UsageError
from librats.types import Address

__all__ = ["needs_mdns", "reach", "start_mdns"]


def needs_mdns(target: str) -> bool:
    """Tell whether a target is a bare peer id, or a ticket with no more, which the local network has to find."""
    parsed = Target.parse(target)
    return not parsed.addresses and (parsed.ticket is None or not parsed.ticket.introducers)


async def start_mdns(client: RatsClient, args: argparse.Namespace, targets: Iterable[str], *, connect: bool) -> bool:
    """Start mDNS where the options or the targets ask for it; False where it was asked for and does not work.

    Args:
        client: A running client.
        args: The sub-command's options.
        targets: Whom the user wants to reach.
        connect: Whether to connect to whoever is found.
    """
    by_id = any(map(needs_mdns, targets)) and not (args.introducer or args.dht)
    if args.mdns is False or not (args.mdns or by_id):
        return True
    listen: Address = args.listen
    is_one = listen.is_literal and listen.host not in ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound to
    return await client.start_mdns_discovery(args.name, interfaces=[listen.host] if is_one else None, connect=connect)


async def reach(
    client: RatsClient,
    target: str,
    args: argparse.Namespace,
    *,
    expect_id: str | None = None,
    timeout: float | None = None,
) -> Peer:
    """Connect to a peer; one that is named by its id alone is waited for until mDNS has found it.

    Args:
        client: A running client, its mDNS started where that is wanted.
        target: What names the peer.
        args: The sub-command's options.
        expect_id: The only peer id that is accepted, or None for any.
        timeout: Seconds for everything; None for the configured ``connect_timeout``.

    Raises:
        ConnectError: It cannot be reached.
        UsageError: The target names another peer id than the expected one.
    """
    if not needs_mdns(target) or ((args.introducer or args.dht) and not args.mdns):
        return await client.connect(target, strategy=args.strategy, expect_id=expect_id, timeout=timeout)
    peer_id = Target.parse(target).peer_id
    if expect_id not in (None, peer_id):
        raise UsageError("the target names another peer id than --expect-id")
    if args.mdns is False:
        raise ConnectError(
            target, reason="a peer id alone needs --introducer, --dht or --mdns; or write PEER_ID@HOST:PORT"
        )
    seconds = RatsConfig().connect_timeout if timeout is None else timeout
    try:
        async with asyncio.timeout(seconds):
            return await _meet(client, target, peer_id, args)
    except TimeoutError:
        raise ConnectError(target, reason=f"it was not found on the local network within {seconds:g} s") from None


async def _meet(client: RatsClient, target: str, peer_id: str | None, args: argparse.Namespace) -> Peer:
    news = asyncio.Event()

    def discovered(event: PeerDiscovered) -> None:
        if event.peer_id == peer_id:
            news.set()

    def connected(event: PeerConnected) -> None:
        if event.peer.id == peer_id:
            news.set()

    client.on_event(PeerDiscovered, discovered)
    client.on_event(PeerConnected, connected)
    while True:
        news.clear()
        try:
            return await client.connect(target, strategy=args.strategy)
        except ConnectError as error:
            if error.attempts:
                raise
        await news.wait()
