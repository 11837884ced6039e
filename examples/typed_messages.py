"""Handlers that take a type: what a peer sends is validated before they see it. Both peers run in this program.

python examples/typed_messages.py
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import msgspec

from librats import Identity, MessageRefused, Peer, RatsClient, RatsConfig, RemoteError, ValidationError

HERE_ONLY = RatsConfig(listen_host="127.0.0.1")


class Bid(msgspec.Struct):
    """What a bidder sends."""

    item: str
    amount: Annotated[int, msgspec.Meta(gt=0)]


@dataclass
class Standing:
    """What the auctioneer answers."""

    item: str
    highest: int
    yours: bool


async def main() -> None:
    """Start an auctioneer and a bidder, and let them talk."""
    async with (
        RatsClient(config=HERE_ONLY, identity=Identity.generate()) as auctioneer,
        RatsClient(config=HERE_ONLY, identity=Identity.generate()) as bidder,
    ):
        highest: dict[str, tuple[int, Peer]] = {}

        @auctioneer.on("bid")
        async def bid(peer: Peer, data: Bid) -> Standing:
            if data.amount > highest.get(data.item, (0, peer))[0]:
                highest[data.item] = (data.amount, peer)
            amount, who = highest[data.item]
            return Standing(data.item, amount, yours=who is peer)

        @auctioneer.on_event(MessageRefused)
        def refused(event: MessageRefused) -> None:
            print(f"the auctioneer refuses a {event.name}: {event.error}")

        peer = await bidder.connect(("127.0.0.1", auctioneer.listen_port), expect_id=auctioneer.peer_id)
        standing = await peer.request("bid", Bid("clock", 20), model=Standing)
        print(f"highest bid: {standing.highest}, {'mine' if standing.yours else 'somebody else'}")
        try:
            await peer.request("bid", {"item": "clock", "amount": -5})
        except RemoteError as error:
            print(f"the bidder hears: {error.code} - {error.message}")
        try:
            await peer.request("bid", Bid("clock", 30), model=Bid)
        except ValidationError as error:
            print(f"not the expected answer: {error.what}")


if __name__ == "__main__":
    asyncio.run(main())
