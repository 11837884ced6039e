"""Further letters of an introduction that come before they can be heard: an introduction has only so many."""

from __future__ import annotations

from librats.introduce.guard import OfferGuard
from librats.introduce.letters import Letter
from librats.introduce.notices import Notice, Op
from librats.introduce.sealing import MAX_FURTHER, CallerSeal
from librats.noise.dh import public_key
from librats.services.introducer import Introductions
from librats.services.introduction.ends import Offered, Sealing
from librats.session.opening import peer_id_of

ANN, BOB = bytes(range(32)), bytes(range(32, 64))
INTRODUCER = "cd" * 32
NOW = 1_700_000_000.0
MANY = 1000


async def test_no_more_letters_wait_for_the_answer_than_an_introducer_passes() -> None:
    sealing = Sealing(lambda: BOB, lambda size: bytes([7]) * size, "p/1", lambda: NOW)
    offers: list[Offered] = []
    bob = Introductions(lambda to, body: True, sealing=sealing, guard=OfferGuard(per_minute=30), offered=offers.append)
    seal = CallerSeal(ANN, public_key(BOB), ephemeral=bytes([9]) * 32, protocol="p/1")
    offer = seal.seal(Letter(id="00" * 16, time=int(NOW * 1000)).encode())
    caller = bytes.fromhex(peer_id_of(public_key(ANN)))
    bob.received(INTRODUCER, Notice(Op.PASSED, 1, peer=caller, letter=offer).encode())
    for _ in range(MANY):
        bob.received(INTRODUCER, Notice(Op.PASSED_ADD, 1, letter=bytes(16384)).encode())
    assert len(offers[0].further) == MAX_FURTHER
    assert bob.counters["unexpected"] == MANY - MAX_FURTHER
    offers[0].close()
