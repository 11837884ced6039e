"""Whatever peers and introducers say: nothing breaks, and no letter goes where it does not belong."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from librats.errors import DecodeError, HandshakeError
from librats.introduce.guard import OfferGuard
from librats.introduce.letters import Letter
from librats.introduce.notices import MAX_SEALED, WITH_ID, WITH_LETTER, WITH_REASON, Notice, Op
from librats.introduce.passing import Passing, PassingLimits
from librats.introduce.sealing import CallerSeal, TargetSeal
from librats.noise.dh import public_key
from librats.services.introducer import Introductions
from librats.services.introduction.ends import Sealing

PEERS = [f"{number:02x}" * 32 for number in range(4)]
KEYS = {peer_id: bytes.fromhex(peer_id) for peer_id in PEERS[:3]}
ANN, BOB = bytes(range(32)), bytes(range(32, 64))

numbers = st.integers(0, 0xFFFFFFFF)


@st.composite
def notices(draw: st.DrawFn, number: st.SearchStrategy[int] = numbers) -> Notice:
    op = draw(st.sampled_from(Op))
    return Notice(
        op,
        draw(number),
        peer=draw(st.sampled_from(PEERS).map(bytes.fromhex)) if op in WITH_ID else b"",
        letter=draw(st.binary(min_size=1, max_size=200)) if op in WITH_LETTER else b"",
        code=draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=32))
        if op in WITH_REASON
        else "",
        words=draw(st.text(max_size=50)) if op in WITH_REASON else "",
    )


@given(notices())
def test_a_notice_is_read_as_it_was_written(notice: Notice) -> None:
    assert Notice.decode(notice.encode()) == notice


@given(st.binary(max_size=MAX_SEALED + 100))
def test_bytes_are_a_notice_or_do_not_parse(body: bytes) -> None:
    try:
        notice = Notice.decode(body)
    except DecodeError:
        return
    if notice.op not in WITH_REASON and notice.op in WITH_LETTER:
        assert notice.encode() == body


@given(st.binary(max_size=300) | st.recursive(st.text(), st.lists).map(lambda v: str(v).encode()))
def test_bytes_are_a_letter_or_do_not_parse(body: bytes) -> None:
    try:
        letter = Letter.decode(body)
    except DecodeError:
        return
    assert Letter.decode(letter.encode()) == letter


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_what_nobody_has_sealed_is_not_opened(one: bytes, other: bytes) -> None:
    target = TargetSeal(BOB, ephemeral=bytes([1]) * 32, protocol="p/1")
    caller = CallerSeal(ANN, public_key(BOB), ephemeral=bytes([2]) * 32, protocol="p/1")
    caller.seal(b"")
    for seal, data in ((target, one), (caller, other)):
        try:
            seal.open(data)
        except HandshakeError:
            continue
        raise AssertionError(data)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(PEERS), notices(st.integers(1, 6)), st.floats(0, 30)), max_size=60))
def test_a_letter_goes_to_whom_it_is_for_and_an_answer_to_whoever_has_called(
    said: list[tuple[str, Notice, float]],
) -> None:
    passing = Passing(KEYS.get, PassingLimits(under_way=3, lifetime=20), first=1)
    now = 0.0
    called: dict[tuple[str, int], tuple[str, int]] = {}
    for sender, notice, pause in said:
        now += pause
        for to, told in passing.take(sender, notice, now=now):
            match told.op:
                case Op.PASSED:
                    assert notice.op is Op.OFFER
                    assert (told.peer.hex(), to) == (sender, notice.peer.hex())
                    assert to in KEYS
                    called[to, told.number] = (sender, notice.number)
                case Op.PASSED_ADD:
                    assert called[to, told.number] == (sender, notice.number)
                case Op.ANSWERED | Op.ADDED:
                    assert called[sender, notice.number] == (to, told.number)
                    assert told.letter == notice.letter
                case Op.KEY:
                    assert told.peer == KEYS[notice.peer.hex()]
                    assert to == sender
                case _:
                    assert told.op is Op.REFUSED
        assert len(passing) <= 3 * len(PEERS)
    for peer_id in PEERS:
        passing.left(peer_id)
    assert len(passing) == 0


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(PEERS), st.binary(max_size=300) | notices(st.integers(1, 4)).map(Notice.encode)))
)
def test_whatever_peers_say_nothing_breaks(said: list[tuple[str, bytes]]) -> None:
    async def main() -> None:
        sealing = Sealing(lambda: BOB, lambda size: bytes([7]) * size, "p/1", lambda: 1_700_000_000.0)
        sent: list[tuple[str, bytes]] = []

        def send(to: str, body: bytes) -> bool:
            sent.append((to, body))
            return to != PEERS[2]

        circle = Introductions(
            send,
            sealing=sealing,
            passing=Passing(KEYS.get),
            guard=OfferGuard(per_minute=30),
            offered=lambda offered: offered.refuse("refused"),
        )
        asking = asyncio.ensure_future(circle.ask(PEERS[0], PEERS[1]))
        call = circle.call(PEERS[0], public_key(ANN), Letter(id="00" * 16))
        await asyncio.sleep(0)
        for sender, body in said:
            circle.received(sender, body)
        for to, body in sent:
            assert to in PEERS or Notice.decode(body).op is Op.OFFER
            Notice.decode(body)
        circle.left(PEERS[0])
        await asyncio.wait([asking])
        asking.exception()
        assert call.answer.done()
        call.close()
        circle.close()

    asyncio.run(main())
