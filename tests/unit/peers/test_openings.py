"""Handshakes that are made ahead of time: each for one link, of who we are by then, and whose keys wait for nobody."""

from __future__ import annotations

import asyncio
import os

import pytest

from librats.errors import HandshakeError
from librats.peers.entry import openings as module
from librats.peers.entry.openings import Openings
from librats.peers.identity import Identity
from librats.session.greeting import Greeting
from librats.session.opening import BlockOpening, Opened
from librats.session.plaintext import PlaintextOpening
from librats.types import Encryption

PROTOCOL = "librats/1.0"


def greeting(agent: str) -> Greeting:
    return Greeting(incarnation=bytes(8), message_window=1 << 20, max_message=1 << 20, agent=agent)


class Keys:
    """Makes keys, and counts them."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, size: int) -> bytes:
        self.made += 1
        return os.urandom(size)


def openings_of(
    name: str, new_key: Keys | None = None, encryption: Encryption = Encryption.REQUIRED
) -> tuple[Identity, Openings]:
    identity = Identity.generate()
    made = Openings(identity, greeting(name), protocol=PROTOCOL, encryption=encryption, new_key=new_key or Keys())
    return identity, made


def joined(initiator: BlockOpening, responder: BlockOpening) -> tuple[Opened, Opened]:
    responder.receive_data(initiator.data_to_send())
    initiator.receive_data(responder.data_to_send())
    responder.receive_data(initiator.data_to_send())
    assert isinstance(initiator.result, Opened)
    assert isinstance(responder.result, Opened)
    return initiator.result, responder.result


@pytest.mark.parametrize("ahead", [False, True])
async def test_two_sides_meet_whether_theirs_was_made_ahead_of_time_or_not(ahead: bool) -> None:
    alice, hers = openings_of("alice")
    bob, his = openings_of("bob")
    if ahead:
        hers.make_ready()
        his.make_ready()
    at_alice, at_bob = joined(hers.take(bob.peer_id, initiator=True), his.take(None, initiator=False))
    assert (at_alice.peer_id, at_bob.peer_id) == (bob.peer_id, alice.peer_id)
    assert at_bob.greeting is not None
    assert at_bob.greeting.agent == "alice"
    assert at_alice.handshake_hash == at_bob.handshake_hash


async def test_no_two_links_have_the_same_one() -> None:
    keys = Keys()
    _, openings = openings_of("alice", keys)
    first_words = set()
    for _ in range(5):
        openings.make_ready()
        first_words |= {openings.take(None, initiator=True).data_to_send() for _ in range(3)}
        openings.take(None, initiator=False)
    assert len(first_words) == 15
    assert keys.made == 20


async def test_one_for_each_side_is_made_ahead_and_no_more() -> None:
    keys = Keys()
    _, openings = openings_of("alice", keys)
    for _ in range(3):
        openings.make_ready()
    assert keys.made == 2
    openings.take(None, initiator=True)
    openings.take(None, initiator=False)
    assert keys.made == 2


async def test_who_is_expected_counts_for_one_that_was_made_before_it_was_known() -> None:
    _, hers = openings_of("alice")
    _, his = openings_of("bob")
    hers.make_ready()
    initiator, responder = hers.take("0" * 64, initiator=True), his.take(None, initiator=False)
    responder.receive_data(initiator.data_to_send())
    with pytest.raises(HandshakeError, match="expected peer 00000000"):
        initiator.receive_data(responder.data_to_send())


async def test_whoever_has_become_somebody_else_greets_as_such() -> None:
    _, hers = openings_of("alice")
    _, his = openings_of("bob")
    hers.make_ready()
    somebody = Identity.generate()
    hers.become(somebody, greeting("somebody"))
    _, at_bob = joined(hers.take(None, initiator=True), his.take(None, initiator=False))
    assert at_bob.peer_id == somebody.peer_id
    assert at_bob.greeting is not None
    assert at_bob.greeting.agent == "somebody"


async def test_a_while_after_one_was_taken_there_is_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.01)
    made_ahead = asyncio.Event()

    class Told(Keys):
        def __call__(self, size: int) -> bytes:
            if self.made == 2:  # the one that was taken, one for one side, and now for the other
                asyncio.get_running_loop().call_soon(made_ahead.set)
            return super().__call__(size)

    keys = Told()
    _, openings = openings_of("alice", keys)
    openings.take(None, initiator=True)
    await asyncio.wait_for(made_ahead.wait(), 20)
    openings.take(None, initiator=True)
    assert keys.made == 3
    openings.close()


async def test_once_closed_it_makes_none_ahead_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST", 0.001)
    keys = Keys()
    _, openings = openings_of("alice", keys)
    openings.take(None, initiator=True)
    openings.close()
    await asyncio.sleep(0.01)
    openings.make_ready()
    assert keys.made == 1
    openings.take(None, initiator=True)
    await asyncio.sleep(0.01)
    assert keys.made == 2


async def test_where_encryption_is_off_there_is_nothing_to_make() -> None:
    keys = Keys()
    _, openings = openings_of("alice", keys, Encryption.OFF)
    openings.make_ready()
    assert isinstance(openings.take(None, initiator=True), PlaintextOpening)
    assert keys.made == 0
