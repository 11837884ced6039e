"""What libFuzzer runs, by atheris: ``python -m tests.fuzz.punch_target [libFuzzer's options] [CORPUS]``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["librats.session.librats2_punch", "librats.punch.rendezvous"]):
    from librats.punch.rendezvous import Dial, PunchRelay, Rendezvous, Say
    from librats.session.librats2_punch import Envelope, PunchOp, decode_inner

from librats.errors import DecodeError
from librats.punch.sightings import Sightings
from librats.types import Address

OURS, VIA = "0a" * 32, "0b" * 32
SEEN = Sightings([Address("192.0.2.7", 5000)])


def test_one_input(data: bytes) -> None:
    """Read the bytes as Punch messages, each behind its length, and give them to both ends and to a relay."""
    machine = Rendezvous(lambda: SEEN, lambda: [VIA], answers_per_minute=6000.0)
    relay = PunchRelay(lambda _peer_id: True)
    place, now = 0, 0.0
    while place < len(data):
        size = data[place]
        payload = data[place + 1 : place + 1 + size]
        place += 1 + size
        now += 0.1 if size % 2 else 3.0
        machine.handle_timer(now=now)
        try:
            envelope = Envelope.decode(payload)
        except DecodeError:
            machine.open(f"{size:064x}", now=now)
            continue
        assert envelope.encode() == payload
        if envelope.op is PunchOp.TO_RELAY:
            said = relay.take(VIA, envelope, own_id=OURS, now=now)
            assert said is None or said.envelope.inner == envelope.inner
        machine.take(VIA, envelope, own_id=OURS, now=now)
        for action in machine.take_actions():
            if isinstance(action, Say) and action.to == VIA:
                decode_inner(action.envelope.inner)
            assert not isinstance(action, Dial) or 0 < len(action.addresses) <= 4
        assert len(machine) <= 32


def main() -> None:
    """Run libFuzzer until it finds something or its time is over."""
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
