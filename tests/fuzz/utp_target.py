"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.utp_target [libFuzzer's options] [CORPUS]``.

An input is a list of datagrams, each behind its length, for a table of uTP in the middle of streams. Whatever comes,
nothing is raised, what is kept is bounded, and nobody gets more than came in his name.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris
from tests.simulation.joined_tables import FILLER, Seeded, World

from librats._core import utp
from librats._core.utp_packets import is_packet, parse
from librats.errors import DecodeError
from librats.types import Address

STRANGER = Address("203.0.113.9", 999)
MOST_KEPT = 8 << 20
HALF_OPEN = 3


def streams() -> World:
    """Return a world with streams half way, of which one waits for what is behind a gap."""
    world = World("fuzz")
    server = world.end("10.0.0.1", kind=utp.UtpTable, max_half_open=HALF_OPEN)
    for index in range(3):
        client = world.end(f"10.0.1.{index}", kind=utp.UtpTable)
        world.join(client, server, delay=0.01)
        stream = client.dial(server)
        world.run(0.2)
        client.links[server.address].loss = 0.5 if index else 0.0
        stream.write(FILLER[:9000])
        client.wake()
        world.run(0.03)
    return world


def test_one_input(data: bytes) -> None:
    """Try one input."""
    world = streams()
    server = world.ends[Address("10.0.0.1", 4000)]
    fresh = utp.UtpTable(Seeded("fuzz"), max_half_open=HALF_OPEN)
    at = heard = said = 0
    while at < len(data):
        size = data[at]
        datagram = data[at + 1 : at + 1 + size]
        at += 1 + size
        with contextlib.suppress(DecodeError):
            parse(datagram)
        for source in (STRANGER, *(Address(f"10.0.1.{index}", 4000) for index in range(3))):
            server.table.receive([(datagram, source)], world.now)
            assert len([1 for _, target in server.table.transmit(world.now) if target == STRANGER]) <= 1
        assert (fresh.receive([(datagram, STRANGER)], world.now) == []) == is_packet(datagram)
        answers = fresh.transmit(world.now)
        heard += len(datagram)
        said += sum(len(answer) for answer, _ in answers)
        assert said <= heard
    assert len(fresh) <= HALF_OPEN
    assert len(server.table) <= 3 + HALF_OPEN
    assert all(stream.statistics()["memory"] < MOST_KEPT for stream in server.streams)
    server.table.handle_timer(world.now + 400)
    server.table.transmit(world.now + 400)


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    assert Path(utp.__file__).suffix in {".so", ".pyd"}
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
