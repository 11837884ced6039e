"""librats for code without asyncio: the same client, peers and streams, whose verbs wait instead of being awaited.

Each client runs its own event loop on a thread of its own, so that it works beside any other loop, in a notebook for
example. Its verbs may be called from every thread, several at once.

Handlers are plain functions. They run on worker threads, at most 32 at once beside those of streams, which have a
thread for each stream; so they may call every verb, and wait, without holding up the client. Messages of one type from
one peer are handled one at a time, in the order they arrived.

Example:
    .. code-block:: python

        from librats.blocking import RatsClient

        with RatsClient(8080) as client:
            @client.on("chat")
            def chat(peer, data):
                print(peer.id[:8], data["message"])

            client.connect("192.0.2.7:8081")
            client.send("chat", {"message": "hi"})
            client.wait_closed()
"""

from __future__ import annotations

from librats.blocking.book import PeerBook
from librats.blocking.client import RatsClient
from librats.blocking.dht import DhtHandle
from librats.blocking.message_iterator import MessageIterator
from librats.blocking.nat import NatHandle
from librats.blocking.paths import PathsHandle
from librats.blocking.peer import Peer
from librats.blocking.stream import Stream

__all__ = ["DhtHandle", "MessageIterator", "NatHandle", "PathsHandle", "Peer", "PeerBook", "RatsClient", "Stream"]
