"""``librats chat``: talk with a peer, or with whoever is on a topic, on the local network or in the DHT."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from librats import Peer, PeerConnected, PeerDisconnected, RatsClient
from librats.cli.arguments import add_command, add_node_options, checked, make_client, target
from librats.cli.dht_options import start_dht, tell_unreachable
from librats.cli.input_lines import input_lines
from librats.cli.node import tell_ready
from librats.cli.output import Output, plain
from librats.cli.reaching import needs_mdns, reach, start_mdns
from librats.cli.running import run
from librats.discovery.topics import checked_name
from librats.errors import ConnectError, RatsError

if TYPE_CHECKING:
    from librats.cli.arguments import Commands

__all__ = ["add_parser"]

EPILOG = """\
Type a line to send it; Ctrl-D or Ctrl-C ends the chat. Without a peer you meet whoever runs `librats chat` with the
same topic: on the local network, by mDNS, and with --topic in the BitTorrent DHT as well, unless --no-dht is given. The
DHT shows your IP address to whoever looks for the topic. Lines are messages of type "chat": {"topic", "nick",
"message"}.

With --json events are told as objects: ready, joined, left, message, dht.

examples:
  librats chat --nick ada
  librats chat --topic garden
  librats chat --topic garden --no-dht              on the local network only
  librats chat 192.0.2.7:8080
"""

LOBBY = "lobby"
CHAT, HELLO = "chat", "chat.hello"
SEND_TIMEOUT = 5.0
LONGEST_NICK = 40


def add_parser(commands: Commands) -> None:
    """Add the sub-command."""
    parser = add_command(commands, "chat", _run, help="chat with a peer, or with whoever is on a topic", epilog=EPILOG)
    parser.add_argument("target", nargs="?", type=checked(target), metavar="PEER|ADDR", help="whom to talk to")
    parser.add_argument(
        "--topic",
        type=checked(checked_name),
        metavar="T",
        help=f"what to talk about; others on it are met in the DHT, too (default: {LOBBY}, on the local network only)",
    )
    parser.add_argument("--nick", metavar="NICK", help="how to be called (default: the start of the peer id)")
    add_node_options(parser)


def _run(args: argparse.Namespace, output: Output) -> int:
    if args.target is None:
        args.mdns = True if args.mdns is None else args.mdns
        args.dht = True if args.dht is None and args.topic is not None else args.dht
    args.topic = args.topic or LOBBY
    return run(_chat(args, output), output, endless=True)


async def _chat(args: argparse.Namespace, output: Output) -> int:
    client = make_client(args)
    tell_unreachable(client, output)
    room = _Room(client, args.topic, args.nick or client.peer_id[:8], output)
    async with client:
        await tell_ready(client, output)
        targets = [] if args.target is None else [args.target]
        is_local = await start_mdns(client, args, targets, connect=args.target is None)
        if not is_local and args.target is None and not args.dht:
            raise ConnectError("anybody", reason="mDNS does not work here; name a peer: librats chat HOST:PORT")
        if not is_local:
            output.hint("no mDNS: this machine's network does not let it")
        meeting = asyncio.ensure_future(start_dht(client, args, output, topic=args.topic))
        try:
            if args.target is not None:
                if needs_mdns(args.target):  # the DHT knows it perhaps
                    await asyncio.wait([meeting])
                await room.invite(await reach(client, args.target, args))
            else:
                output.hint(f"waiting for others on topic {plain(args.topic)!r}; type a line to send it")
            await _talk(room, input_lines())
        finally:
            meeting.cancel()
            await asyncio.wait([meeting])
    return 0


async def _talk(room: _Room, lines: AsyncIterator[str]) -> None:
    """Send the lines until they end, or until the one peer that was invited has left."""

    async def send_all() -> None:
        async for line in lines:
            if line.strip():
                await room.say(line)

    talking = asyncio.ensure_future(send_all())
    alone = asyncio.ensure_future(room.over.wait())
    try:
        await asyncio.wait([talking, alone], return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()
    finally:
        room.over.set()
        talking.cancel()
        alone.cancel()
        await asyncio.wait([talking, alone])


class _Room:
    """Who talks about one topic, as far as this node sees."""

    def __init__(self, client: RatsClient, topic: str, nick: str, output: Output) -> None:
        self._client = client
        self._topic = topic
        self._nick = nick
        self._output = output
        self._members: dict[str, str] = {}
        self._invited: Peer | None = None
        self.over = asyncio.Event()
        """Set when the invited peer has left, or this side wants to."""
        client.on(CHAT, self._heard)
        client.on(HELLO, self._greeted)
        client.on_event(PeerConnected, self._greet)
        client.on_event(PeerDisconnected, self._left)

    async def invite(self, peer: Peer) -> None:
        """Talk to that peer whether it says that it is on the topic or not."""
        self._invited = peer
        self._join(peer, "")
        if not peer.is_connected:
            self.over.set()

    async def say(self, line: str) -> None:
        """Send a line to everybody in the room."""
        members = [peer for id_, peer in self._client.peers.items() if id_ in self._members]
        if not members:
            self._output.hint("nobody is here yet, nobody has read that")
        message = {"topic": self._topic, "nick": self._nick, "message": line}
        await asyncio.gather(*(self._send(peer, message) for peer in members))

    async def _send(self, peer: Peer, message: dict[str, str]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await peer.send(CHAT, message)
        except TimeoutError:
            self._output.hint(f"{peer.id[:8]} does not keep up and has missed a line")
        except RatsError as error:
            self._output.hint(plain(str(error)))

    def _greet(self, event: PeerConnected) -> None:
        event.peer.try_send(HELLO, {"topic": self._topic, "nick": self._nick})

    def _greeted(self, peer: Peer, data: Any) -> None:
        if _member(data, "topic") == self._topic:
            self._join(peer, _member(data, "nick"))

    def _heard(self, peer: Peer, data: Any) -> None:
        message = _member(data, "message")
        if _member(data, "topic") not in (self._topic, ""):
            return
        nick = _member(data, "nick")
        self._join(peer, nick)
        self._output.tell(
            f"{self._called(peer, nick)}: {plain(message)}",
            event="message",
            topic=self._topic,
            nick=nick,
            message=message,
            **{"from": peer.id},
        )

    def _join(self, peer: Peer, nick: str) -> None:
        if peer.id in self._members:
            self._members[peer.id] = nick or self._members[peer.id]
            return
        self._members[peer.id] = nick
        self._output.tell(f"* {self._called(peer, nick)} is here", event="joined", peer_id=peer.id, nick=nick)

    def _left(self, event: PeerDisconnected) -> None:
        nick = self._members.pop(event.peer.id, None)
        if nick is not None and not self.over.is_set():
            called = self._called(event.peer, nick)
            self._output.tell(f"* {called} has left", event="left", peer_id=event.peer.id, nick=nick)
        if self._invited is not None and event.peer.id == self._invited.id:
            self.over.set()

    @staticmethod
    def _called(peer: Peer, nick: str) -> str:
        """Name a peer such that nobody can pass for somebody else: with the start of its id."""
        shown = plain(nick[:LONGEST_NICK]).strip()
        return f"{shown} ({peer.id[:8]})" if shown and shown != peer.id[:8] else peer.id[:8]


def _member(data: Any, name: str) -> str:
    """Return a text member of what somebody sent; empty where it has none."""
    value = data.get(name, "") if isinstance(data, dict) else ""
    return value if isinstance(value, str) else ""
