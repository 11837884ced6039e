"""Chat with whoever is on the same topic, without any server: they find each other in the BitTorrent DHT.

    python examples/topic_chat.py ada garden                    # begins with public nodes of the DHT
    python examples/topic_chat.py bob garden 127.0.0.1:6881     # or with one of yours: librats node --dht --listen 6881

The DHT shows your IP address to whoever looks for the topic. End it with Ctrl-D (on Windows Ctrl-Z and Enter).
"""

from __future__ import annotations

import sys

from librats import Identity, RatsError
from librats.blocking import Peer, RatsClient


def printable(text: object) -> str:
    """Leave out what could play tricks on a terminal: the text comes from somebody else."""
    return "".join(character for character in str(text) if character.isprintable())


def main() -> int:
    """Run the chat."""
    if len(sys.argv) not in {3, 4}:
        print(__doc__, file=sys.stderr)
        return 2
    nick, topic, *bootstrap = sys.argv[1:]
    client = RatsClient(identity=Identity.generate())
    client.set_protocol_name("topic-chat")  # peers of other programs do not connect

    @client.on("chat")
    def chat(_peer: Peer, data: dict[str, str]) -> None:
        print(f"{printable(data.get('nick'))}: {printable(data.get('message'))}", flush=True)

    @client.on_connect
    def joined(peer: Peer) -> None:
        print(f"* {peer.id[:8]} is here", flush=True)

    @client.on_disconnect
    def left(peer: Peer, _reason: str) -> None:
        print(f"* {peer.id[:8]} has left", flush=True)

    with client:
        try:
            if not client.start_dht_discovery(bootstrap=bootstrap or None, meet=False):
                print("* nobody answers in the DHT yet; it is tried again", flush=True)
            client.join_topic(topic)
            print(f"* on topic {topic}", flush=True)
            for line in sys.stdin:
                client.send("chat", {"nick": nick, "message": line.rstrip("\n")})
        except RatsError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
