"""Nodes that know nothing of each other but an id and a node of the DHT; each tells what happens in lines of JSON.

first ADDRESS                  a node of the DHT at ADDRESS, port 6881, for others to begin with
public ADDRESS BOOTSTRAP       a node of the application at ADDRESS, which introduces: tells whom it has announced
home BOOTSTRAP                 a node that wants to be found by its id, and meets others by the DHT alone
find BOOTSTRAP PEER_ID         reaches that one, and tells how long each step has taken, in milliseconds
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from librats import DhtConfig, Identity, NatTraversalConfig, NatTraversalProgress, RatsClient, RatsConfig
from librats.errors import RatsError

DHT_PORT = 6881
PORT = 8080


def tell(**event: Any) -> None:
    print(json.dumps(event), flush=True)  # noqa: T201 - what the test reads


def client(*, bootstrap: str = "", host: str = "", publish: bool = False, port: int = 0) -> RatsClient:
    dht = DhtConfig(bootstrap=(bootstrap,) if bootstrap else (), publish=publish)
    config = RatsConfig(listen_host=host, nat=NatTraversalConfig.offline(), dht=dht, transports=("udp", "tcp"))
    return RatsClient(port, config=config, identity=Identity.generate())


async def first(host: str) -> None:
    async with client(host=host, port=DHT_PORT) as node:
        await node.start_dht_discovery(connect=False)
        tell(event="ready", peer_id=node.peer_id)
        await node.wait_closed()


async def public(host: str, bootstrap: str) -> None:
    async with client(host=host, bootstrap=bootstrap, port=PORT) as node:
        await node.start_dht_discovery(connect=False)
        await node.announce_for_hash(node.get_discovery_hash())
        tell(event="ready", peer_id=node.peer_id)
        announced = 0
        while True:
            counted = node.statistics()["introductions"]["announcer"]
            if counted.get("announced", 0) != announced:
                announced = counted["announced"]
                tell(event="announced", announced=announced, peers=counted["peers"])
            await asyncio.sleep(0.05)


async def home(bootstrap: str) -> None:
    async with client(bootstrap=bootstrap, publish=True) as node:
        node.on("greet", lambda peer, name: f"hello {name}")
        await node.start_dht_discovery()
        while not node.peers:  # noqa: ASYNC110 - whoever comes first will do
            await asyncio.sleep(0.05)
        tell(event="ready", peer_id=node.peer_id)
        await node.wait_closed()


class Steps(logging.Handler):
    """When what was logged the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.times: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        for words in ("announce that they introduce", "is there", "knows it"):
            if words in record.getMessage():
                self.note(words)

    def note(self, words: str) -> None:
        self.times.setdefault(words, asyncio.get_running_loop().time())


async def find(bootstrap: str, peer_id: str) -> None:
    steps = Steps()
    logger = logging.getLogger("librats.finding")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(steps)
    async with client(bootstrap=bootstrap) as node:
        node.on_event(NatTraversalProgress, lambda event: steps.note(str(event.step)))
        steps.note("began")
        is_in = await node.start_dht_discovery(connect=False)
        steps.note("in the DHT")
        try:
            peer = await node.connect(peer_id, timeout=30)
            steps.note("session")
            reply = await peer.request("greet", "finder")
        except RatsError as error:
            tell(event="failed", error=str(error), is_in=is_in)
            return
        steps.note("reply")
        began = steps.times["began"]
        tell(
            event="found",
            reply=reply,
            method=peer.method,
            address=str(peer.address),
            steps={words: round(1000 * (at - began), 1) for words, at in steps.times.items()},
            peer=peer.explain(),
        )


ROLES: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "first": first,
    "public": public,
    "home": home,
    "find": find,
}

if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))
