"""Ask a peer, get its answer, and see what happens when it fails. Both peers run in this program.

python examples/request_reply.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from librats import Identity, Peer, RatsClient, RatsConfig, RemoteError

HERE_ONLY = RatsConfig(listen_host="127.0.0.1")


async def main() -> None:
    """Start two peers and let one ask the other."""
    async with (
        RatsClient(config=HERE_ONLY, identity=Identity.generate()) as server,
        RatsClient(config=HERE_ONLY, identity=Identity.generate()) as client,
    ):

        @server.on("word_count")
        async def word_count(peer: Peer, data: Any) -> dict[str, int]:
            print(f"{peer.id[:8]} asks for {len(data)} characters")
            return {"words": len(data.split())}

        peer = await client.connect(("127.0.0.1", server.listen_port), expect_id=server.peer_id)
        answer = await peer.request("word_count", "the quick brown fox", timeout=10)
        print("answer:", answer["words"], "words")
        try:
            await peer.request("word_count", 42)
        except RemoteError as error:
            print("error:", error.code, "-", error.message)
        print(f"round trip: {await peer.ping() * 1000:.2f} ms")


if __name__ == "__main__":
    asyncio.run(main())
