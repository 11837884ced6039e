"""Chat with whoever is connected, line by line.

    python examples/chat.py alice                       # prints where it can be reached
    python examples/chat.py bob 127.0.0.1:8080          # in another terminal, with that address

End it with Ctrl-D (on Windows Ctrl-Z and Enter).
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
    if len(sys.argv) not in {2, 3}:
        print(__doc__, file=sys.stderr)
        return 2
    nick, *targets = sys.argv[1:]
    client = RatsClient(identity=Identity.generate())

    @client.on("chat")
    def chat(_peer: Peer, data: dict[str, str]) -> None:
        print(f"{printable(data.get('nick'))}: {printable(data.get('message'))}", flush=True)

    @client.on_connect
    def joined(peer: Peer) -> None:
        print(f"* {peer.id[:8]} joined", flush=True)

    @client.on_disconnect
    def left(peer: Peer, reason: str) -> None:
        print(f"* {peer.id[:8]} left: {printable(reason)}", flush=True)

    with client:
        print("* listening on", *client.addresses, flush=True)
        try:
            for target in targets:
                client.connect(target)
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
