"""Mutated handshakes: only the documented error, no channel, and no memory beyond one message."""

from __future__ import annotations

import gc

import pytest
from tests.hostile.mutations import FULL, QUICK, Mutator, peak_memory

from librats.errors import DecodeError, HandshakeError
from librats.session.greeting import MAX_GREETING, Greeting
from librats.session.opening import Opening
from librats.session.path_keys import JOIN_SIZE

MIB = 1024 * 1024
LONGEST = 4 + 96 + MAX_GREETING
COUNTS = [QUICK, pytest.param(FULL, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]


def opening(*, initiator: bool, fresh: int = 0, who: int = 0, own_greeting: bytes | None = None) -> Opening:
    made = Opening(
        initiator=initiator,
        private_key=bytes([1 + initiator]) * 28 + who.to_bytes(4),
        ephemeral=bytes([3 + initiator]) * 28 + fresh.to_bytes(4),
        protocol="librats/1.0",
        greeting=Greeting(incarnation=bytes(8), message_window=1 << 20, max_message=1 << 20, agent="test"),
    )
    if own_greeting is not None:
        made._own_greeting = own_greeting
    return made


def recorded() -> list[bytes]:
    """Return the three messages of a handshake, in their blocks."""
    a, b = opening(initiator=True), opening(initiator=False)
    blocks = [a.data_to_send()]
    b.receive_data(blocks[0])
    blocks.append(b.data_to_send())
    a.receive_data(blocks[1])
    blocks.append(a.data_to_send())
    b.receive_data(blocks[2])
    assert a.result is not None
    assert b.result is not None
    return blocks


def feed(side: Opening, data: bytes, mutator: Mutator) -> bool:
    """Give bytes to a side in pieces; False where it has given up, which only the documented error may tell."""
    held = 0
    for piece in mutator.pieces(data):
        held += len(piece)
        try:
            side.receive_data(piece)
        except HandshakeError:
            assert side.result is None
            return False
        if side.result is None:
            assert len(side.leftover) <= max(LONGEST, len(piece))
    return True


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_handshakes_end_with_the_documented_error(count: int) -> None:
    mutator = Mutator(1)
    blocks = recorded()
    gc.collect()
    before = peak_memory()
    outcomes = {"refused": 0, "waiting": 0, "opened": 0, "joining": 0}
    for _ in range(count):
        initiator = mutator.chance.random() < 0.4
        side = opening(initiator=initiator)
        script = [blocks[1]] if initiator else [blocks[0], blocks[2]]
        at = mutator.chance.randrange(len(script))
        hostile = mutator.mutate(script[at], blocks)
        alive = all(feed(side, data, mutator) for data in [*script[:at], hostile, *script[at + 1 :]])
        if side.result is not None:
            # Only what came behind the last message, whole and as it was, may differ.
            sent = b"".join(script[:at]) + hostile + b"".join(script[at + 1 :])
            assert sent.startswith(b"".join(script))
            outcomes["opened"] += 1
        elif side.join is not None:
            # What came has the length of a request to join a session; if there is such a session is asked elsewhere.
            assert hostile.startswith(JOIN_SIZE.to_bytes(4))
            assert not side.data_to_send()
            outcomes["joining"] += 1
        else:
            outcomes["waiting" if alive else "refused"] += 1
            if alive:
                with pytest.raises(HandshakeError):
                    side.receive_eof()
    assert outcomes["refused"] > count // 2, outcomes
    assert peak_memory() - before < 32 * MIB


@pytest.mark.parametrize("count", COUNTS)
def test_greetings_that_were_mutated_before_they_were_sealed_are_read_or_refused(count: int) -> None:
    mutator = Mutator(2)
    valid = opening(initiator=True)._own_greeting
    outcomes = {"ours": 0, "librats 2": 0, "refused": 0}
    # The parser by itself for most, and inside a whole handshake for some, which takes a hundred times as long.
    for turn in range(count):
        payload = mutator.mutate(valid)[:MAX_GREETING]
        try:
            greeting = Greeting.decode(payload)
            outcome = "librats 2" if greeting is None else "ours"
        except DecodeError:
            outcome = "refused"
        outcomes[outcome] += 1
        if turn % 20:
            continue
        a, b = opening(initiator=True, own_greeting=payload), opening(initiator=False)
        b.receive_data(a.data_to_send())
        a.receive_data(b.data_to_send())
        alive = feed(b, a.data_to_send(), mutator)
        assert alive == (outcome != "refused")
        assert (b.result is not None) == alive
        if b.result is not None:
            assert (b.result.greeting is None) == (outcome == "librats 2")
    assert min(outcomes.values()) > 0


def test_messages_of_another_handshake_and_in_another_order_are_refused() -> None:
    blocks = recorded()
    for script in ([blocks[0], blocks[0]], [blocks[2]], [blocks[1]], [blocks[2], blocks[0]], [blocks[0], blocks[1]]):
        side = opening(initiator=False)
        mutator = Mutator(3)
        assert not all(feed(side, data, mutator) for data in script) or side.result is None
        assert side.result is None
    # A whole handshake replayed to a responder with a fresh key of its own gets nowhere.
    side = opening(initiator=False, fresh=7)
    side.receive_data(blocks[0])
    with pytest.raises(HandshakeError):
        side.receive_data(blocks[2])
