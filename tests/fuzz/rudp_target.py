"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.rudp_target [libFuzzer's options] [CORPUS]``.

An input is a list of datagrams, each behind its length, for a table in the middle of sessions. Whatever comes, nothing
is raised, nobody gets more than one packet for one, and what was agreed under a key stays as it was.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris
from tests.simulation.joined_tables import FILLER, Seeded, World

from librats._core import rudp
from librats._core.rudp_packets import parse
from librats.errors import DecodeError
from librats.types import Address

STRANGER = Address("203.0.113.9", 999)
KEYS = bytes(32), bytes(range(32))


def sessions() -> tuple[World, list[bytes]]:
    """Return a world with streams of every kind half way, and what was sent in it."""
    world = World("fuzz")
    server = world.end("10.0.0.1")
    for index, extended in enumerate((True, True, False)):
        client = world.end(f"10.0.1.{index}", extended=extended)
        client.keeps_sent = True
        world.join(client, server, delay=0.01)
        stream = client.dial(server)
        world.run(0.2)
        stream.write(FILLER[:5000])
        if index == 1:
            far = server.streams[-1]
            stream.set_key(*KEYS)
            far.set_key(KEYS[1], KEYS[0])
        client.wake()
        world.run(0.2)
    return world, [data for end in world.ends.values() for _, data in end.sent]


def test_one_input(data: bytes) -> None:
    """Try one input."""
    world, _ = sessions()
    server = world.ends[Address("10.0.0.1", 4000)]
    agreed = server.streams[1]
    before = (agreed.readable, agreed.is_open)
    fresh = rudp.RudpTable(entropy=Seeded("fuzz"), cookie_after=2)
    at = heard = said = 0
    while at < len(data):
        size = data[at]
        datagram = data[at + 1 : at + 1 + size]
        at += 1 + size
        with contextlib.suppress(DecodeError):
            parse(datagram)
        for source in (STRANGER, Address("10.0.1.0", 4000), Address("10.0.1.1", 4000), Address("10.0.1.2", 4000)):
            server.table.receive([(datagram, source)], world.now)
            assert len([1 for _, target in server.table.transmit(world.now) if target == STRANGER]) <= 1
        fresh.receive([(datagram, STRANGER)], world.now)
        answers = fresh.transmit(world.now)
        assert len(answers) <= 1
        heard += len(datagram)
        said += sum(len(answer) for answer, _ in answers)
        assert said * 4 <= heard * 5
    assert (agreed.readable, agreed.is_open) == before
    server.table.handle_timer(world.now + 50)
    server.table.transmit(world.now + 50)


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    assert Path(rudp.__file__).suffix in {".so", ".pyd"}
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
