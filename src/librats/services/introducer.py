"""Introductions among the sessions of one client: it introduces, asks to be introduced, and is called."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.errors import DecodeError, HandshakeError, IntroductionError
from librats.introduce.carrying import CARRIER_OPS, Carrying
from librats.introduce.guard import OfferGuard
from librats.introduce.letters import Letter
from librats.introduce.notices import Notice, Op, Refusal
from librats.introduce.parcels import CarryEnd, Parcel, ParcelKind
from librats.introduce.passing import Passing
from librats.introduce.sealing import CallerSeal, TargetSeal
from librats.introduce.services import Services
from librats.services.introduction.carried import CarriedPaths
from librats.services.introduction.ends import Call, Offered, Sealing
from librats.services.introduction.meetings import Meetings
from librats.session.opening import peer_id_of
from librats.session.pace import PaceTable

if TYPE_CHECKING:
    pass

__all__ = ["Introductions"]

logger = logging.getLogger("librats.introducer")

NUMBERS = 1 << 32
MAX_OFFERED = 256
"""Offers of others that are under way here."""

LOGGED_EVERY = 60.0
"""Seconds in which one kind of misbehaviour of one introducer is told once."""

FROM_INTRODUCER = frozenset({Op.KEY, Op.ANSWERED, Op.ADDED, Op.REFUSED})
TO_AN_INTRODUCER = frozenset(
    {Op.OPEN_PLACE, Op.CLOSE_PLACE, Op.VISIT, Op.ASK, Op.OFFER, Op.ADD, Op.ANSWER, Op.MORE, Op.DECLINE}
)
TO_TARGET = frozenset({Op.PASSED, Op.PASSED_ADD})
TO_AN_END = frozenset({Op.CARRIED, Op.CARRIED_BACK})


class Introductions:
    """Introductions over one set of sessions, which are told apart by peer id.

    Args:
        send: Sends a body to the peer with an id; False where that cannot be done.
        sealing: What letters are sealed and opened with.
        passing: What this side does as an introducer; None where it does not introduce.
        carrying: What it does where it carries sessions, too; None where it does not.
        guard: What it makes of offers; None where it takes none.
        offered: Called with every offer that is to be answered.
        served: Called with the peer id of an introducer, and what it does beside introducing.
    """

    def __init__(
        self,
        send: Callable[[str, bytes], bool],
        *,
        sealing: Sealing | None = None,
        passing: Passing | None = None,
        carrying: Carrying | None = None,
        guard: OfferGuard | None = None,
        offered: Callable[[Offered], object] | None = None,
        served: Callable[[str, Services], object] | None = None,
    ) -> None:
        self._served = served
        self._send = send
        self._sealing = sealing
        self.passing = passing
        """What this side does as an introducer."""
        self.carrying = carrying
        """What it does where it carries sessions."""
        self.carried = CarriedPaths(self.tell)
        """The connections of this side that others carry."""
        self._carry_timer: asyncio.TimerHandle | None = None
        self._guard = guard
        self._offered = offered
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self.meetings = Meetings(self.tell, self._numbers)
        """Where this side meets others who know a number."""
        self._asked: dict[tuple[str, int], tuple[str, asyncio.Future[bytes]]] = {}
        self._calls: dict[tuple[str, int], Call] = {}
        self._offers: dict[tuple[str, int], Offered] = {}
        self._logged = PaceTable(1 / LOGGED_EVERY, 1)
        self.counters = dict.fromkeys(
            ("asked", "called", "answered", "refused", "forged", "malformed", "unexpected"), 0
        )
        """What has happened so far to this side as a caller, and what nobody here understands."""

    @property
    def is_idle(self) -> bool:
        """True while no introduction is under way, nothing is carried, and nobody is met."""
        under_way = (self._asked, self._calls, self._offers, self.carried, self.meetings)
        return not any(len(each) for each in under_way)

    # Bodies in and out

    def tell(self, peer_id: str, notice: Notice) -> bool:
        """Send a notice, with an empty id to this side itself; False where that cannot be done."""
        return self._send(peer_id, notice.encode()) if peer_id else self._told_here(notice)

    def _told_here(self, notice: Notice) -> bool:
        """Take what this side says to itself, where it is its own introducer: places where others meet it."""
        if notice.op in TO_AN_INTRODUCER:
            if self.passing is None:
                return False
            self._pass_on(self.passing.take("", notice, now=self._loop.time()))
            return True
        return self.meetings.take("", notice)

    def received(self, sender: str, body: bytes, *, source: str = "") -> None:
        """Take what a peer says.

        Args:
            sender: The peer's id.
            body: Of its frame.
            source: What counts as one source of its address, for the limits of an introducer.
        """
        try:
            notice = Notice.decode(body)
        except DecodeError as error:
            self.note("malformed", sender, str(error))
            return
        if notice.op is Op.SERVICES:
            self._heard_of_services(sender, notice)
        elif notice.op not in TO_AN_INTRODUCER and self.meetings.take(sender, notice):
            return
        elif notice.op in FROM_INTRODUCER:
            self._heard_as_caller(sender, notice)
        elif notice.op in TO_TARGET:
            self._heard_as_target(sender, notice)
        elif notice.op in TO_AN_END:
            self._take_parcel(sender, notice)
        elif notice.op in CARRIER_OPS:
            if self.carrying is not None:
                self._carry(self.carrying.take(sender, notice, now=self._loop.time()))
        elif self.passing is None:
            if notice.op in (Op.ASK, Op.OFFER, Op.OPEN_PLACE, Op.VISIT):
                words = "that node does not introduce"
                self.tell(sender, Notice(Op.REFUSED, notice.number, code=Refusal.NOT_ALLOWED, words=words))
        else:
            self._pass_on(self.passing.take(sender, notice, now=self._loop.time(), source=source))

    def _heard_of_services(self, introducer: str, notice: Notice) -> None:
        try:
            services = Services.decode(notice.letter)
        except DecodeError as error:
            self.note("malformed", introducer, str(error))
            return
        if self._served is not None:
            self._served(introducer, services)

    def _pass_on(self, told: list[tuple[str, Notice]]) -> None:
        waiting = deque(told)
        while waiting:
            to, notice = waiting.popleft()
            if not self.tell(to, notice) and notice.op in (Op.PASSED, Op.VISITED) and self.passing is not None:
                # Whoever waits for an answer is told that there will be none.
                declined = Notice(Op.DECLINE, notice.number, code=Refusal.GONE, words="it does not take letters now")
                waiting.extend(self.passing.take(to, declined, now=self._loop.time()))

    def _carry(self, told: list[tuple[str, Notice]]) -> None:
        """Tell the sides of what is carried, and look again when it is time."""
        carrying, waiting = self.carrying, deque(told)
        if carrying is None:
            return
        while waiting:
            to, notice = waiting.popleft()
            if not self.tell(to, notice):
                waiting.extend(carrying.stuck(to, notice))
        if self._carry_timer is not None:
            self._carry_timer.cancel()
            self._carry_timer = None
        due = carrying.next_timer()
        if due is not None:
            self._carry_timer = self._loop.call_at(due, self._carry_on)

    def _carry_on(self) -> None:
        self._carry_timer = None
        if self.carrying is not None:
            # The loop may call a little early, by the resolution of its clock.
            due = self.carrying.next_timer() or 0.0
            self._carry(self.carrying.handle_timer(now=max(self._loop.time(), due)))

    def _take_parcel(self, introducer: str, notice: Notice) -> None:
        try:
            if self.carried.take(introducer, notice) or notice.op is Op.CARRIED_BACK:
                return
            offered = self._offers.get((introducer, notice.number))
            if offered is not None and offered.carried_to is not None:
                (factory, address), offered.carried_to = offered.carried_to, None
                self.carried.open(introducer, notice.number, is_caller=False, address=address, factory=factory)
                self.carried.take(introducer, notice)
            elif Parcel.decode(notice.letter).kind is ParcelKind.DATA:
                end = Parcel(ParcelKind.END, code=CarryEnd.NOT_CARRIED)
                self.tell(introducer, Notice(Op.CARRY_BACK, notice.number, letter=end.encode()))
        except DecodeError as error:
            self.note("malformed", introducer, str(error))

    def left(self, peer_id: str) -> None:
        """Take that the session with a peer has ended."""
        self.carried.left(peer_id)
        self.meetings.left(peer_id)
        if self.carrying is not None:
            self._carry(self.carrying.left(peer_id))
        if self.passing is not None:
            self._pass_on(self.passing.left(peer_id))
        if not (self._asked or self._calls or self._offers):
            return
        gone = IntroductionError(Refusal.GONE, "the session with the introducer has ended")
        for key in [key for key in self._asked if key[0] == peer_id]:
            _settle_with(self._asked[key][1], gone)
        for call in [call for call in self._calls.values() if call.introducer == peer_id]:
            _settle_with(call.answer, gone)
        for offered in [offered for offered in self._offers.values() if offered.introducer == peer_id]:
            offered.close()

    def note(self, what: str, peer_id: str, why: str) -> None:
        """Count and log what an introducer, or somebody through it, does wrong; each kind once a minute for each."""
        if what in self.counters:
            self.counters[what] += 1
        frequent = self._logged.wait((what, peer_id), now=self._loop.time()) is None
        level = logging.DEBUG if frequent or what in ("malformed", "unexpected") else logging.WARNING
        logger.log(level, "introductions by %s: %s: %s", peer_id[:8], what, why)

    # The caller

    async def ask(self, introducer: str, target: str) -> bytes:
        """Ask an introducer for the X25519 key of a peer, and check that it is the one.

        Args:
            introducer: Its peer id.
            target: The peer's id.

        Raises:
            IntroductionError: It does not know that peer, or tells another key.
        """
        number = next(self._numbers) % NUMBERS
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked[introducer, number] = (target, answer)
        self.counters["asked"] += 1
        try:
            if not self.tell(introducer, Notice(Op.ASK, number, peer=bytes.fromhex(target))):
                raise IntroductionError(Refusal.GONE, "there is no session with the introducer")
            return await answer
        finally:
            del self._asked[introducer, number]

    def call(self, introducer: str, key: bytes, letter: Letter) -> Call:
        """Send a sealed offer; the answer is waited for at what is returned, which has to be closed.

        Args:
            introducer: Peer id of the introducer.
            key: X25519 key of the target.
            letter: The offer.

        Raises:
            IntroductionError: The introducer is gone.
            HandshakeError: Nothing can be sealed for that key, or the letter is too long.
        """
        sealing = self._with_seal()
        seal = CallerSeal(sealing.private_key(), key, ephemeral=sealing.new_key(32), protocol=sealing.protocol)
        number = next(self._numbers) % NUMBERS
        sealed = seal.seal(letter.encode())
        call = Call(self, introducer, number, seal, letter.id, self._loop.create_future())
        target = bytes.fromhex(peer_id_of(key))
        if not self.tell(introducer, Notice(Op.OFFER, number, peer=target, letter=sealed)):
            raise IntroductionError(Refusal.GONE, "there is no session with the introducer")
        self._calls[introducer, number] = call
        self.counters["called"] += 1
        return call

    def _with_seal(self) -> Sealing:
        if self._sealing is None:
            raise IntroductionError(Refusal.NOT_ALLOWED, "this side only introduces")
        return self._sealing

    def forget_call(self, call: Call) -> None:
        """Wait for nothing of a call any more."""
        self._calls.pop((call.introducer, call.number), None)
        call.answer.cancel()

    def _heard_as_caller(self, introducer: str, notice: Notice) -> None:
        key = (introducer, notice.number)
        asked, call = self._asked.get(key), self._calls.get(key)
        if asked is not None and notice.op in (Op.KEY, Op.REFUSED):
            self._key_told(introducer, notice, *asked)
        elif call is not None and notice.op is not Op.KEY:
            self._answered(call, notice)
        else:
            self.note("unexpected", introducer, f"{notice.op.name} of an introduction that is over, or never was")

    def _key_told(self, introducer: str, notice: Notice, target: str, answer: asyncio.Future[bytes]) -> None:
        if notice.op is Op.REFUSED:
            self.counters["refused"] += 1
            _settle_with(answer, IntroductionError(notice.code, notice.words))
        elif peer_id_of(notice.peer) != target:
            self.note("forged", introducer, f"the key that it tells is not that of {target[:8]}")
            _settle_with(answer, IntroductionError(Refusal.TAMPERED, "the introducer tells another peer's key"))
        elif not answer.done():
            answer.set_result(notice.peer)

    def _answered(self, call: Call, notice: Notice) -> None:
        if notice.op is Op.REFUSED:
            self.counters["refused"] += 1
            _settle_with(call.answer, IntroductionError(notice.code, notice.words))
            return
        is_answer = notice.op is Op.ANSWERED
        if call.answer.done() == is_answer:
            self.note("unexpected", call.introducer, f"{notice.op.name} out of turn")
            return
        try:
            plain = call.seal.open(notice.letter) if is_answer else call.seal.open_further(notice.letter)
            letter = Letter.decode(plain)
            if letter.id != call.letter_id:
                raise DecodeError("a letter of another introduction")
        except (HandshakeError, DecodeError) as error:
            self.note("forged", call.introducer, str(error))
            _settle_with(call.answer, IntroductionError(Refusal.TAMPERED, "the answer was changed on its way"))
            return
        if not is_answer:
            if call.on_letter is not None:
                call.on_letter(letter)
            else:
                call.early.append(letter)
        elif letter.refused:
            self.counters["refused"] += 1
            call.answer.set_exception(IntroductionError(letter.refused, letter.words, by_peer=True))
            call.answer.exception()
        else:
            self.counters["answered"] += 1
            call.answer.set_result(letter)

    # The target

    def _heard_as_target(self, introducer: str, notice: Notice) -> None:
        key = (introducer, notice.number)
        offered = self._offers.get(key)
        if notice.op is Op.PASSED_ADD:
            if offered is not None:
                offered.heard(notice.letter)
            else:
                self.note("unexpected", introducer, "a letter of an introduction that is over, or never was")
        elif offered is None:
            self._take_offer(introducer, notice)
        else:
            self.note("unexpected", introducer, "the number of an introduction that is under way")

    def _take_offer(self, introducer: str, notice: Notice) -> None:
        guard, sealing, caller, now = self._guard, self._sealing, notice.peer.hex(), self._loop.time()
        if guard is None or sealing is None or self._offered is None:
            self._decline(introducer, notice.number, Refusal.REFUSED, "it takes no introductions")
            return
        if len(self._offers) >= MAX_OFFERED or not guard.hears(introducer, caller, now=now):
            self.note("flooded", introducer, f"more offers than are looked at, this one from {caller[:8]}")
            self._decline(introducer, notice.number, Refusal.LIMIT, "too many offers")
            return
        seal = TargetSeal(sealing.private_key(), ephemeral=sealing.new_key(32), protocol=sealing.protocol)
        try:
            letter = Letter.decode(seal.open(notice.letter))
            if seal.caller_id != caller:
                raise HandshakeError(f"the introducer says {caller[:8]}, but {seal.caller_id[:8]} has sealed it")
        except (HandshakeError, DecodeError) as error:
            self.note("tampered", introducer, str(error))
            self._decline(introducer, notice.number, guard.tampered(), "the letter cannot be opened")
            return
        why = guard.judge(caller, letter, now=now, wall=sealing.wall())
        if why is Refusal.REPLAYED:
            self.note("replayed", introducer, f"the offer of {caller[:8]} was here before")
            self._decline(introducer, notice.number, why, "that letter was here before")
            return
        offered = self._offers[introducer, notice.number] = Offered(self, introducer, notice.number, seal, letter)
        if why is None:
            self._offered(offered)
        else:
            self.note(why, introducer, f"the offer of {caller[:8]} is not answered")
            offered.refuse(why)

    def _decline(self, introducer: str, number: int, code: str, words: str) -> None:
        self.tell(introducer, Notice(Op.DECLINE, number, code=code, words=words))

    def forget_offered(self, offered: Offered) -> None:
        """Hear nothing more of an offer."""
        self._offers.pop((offered.introducer, offered.number), None)

    def close(self) -> None:
        """End everything that is under way."""
        self.carried.close()
        self.meetings.close()
        self.carrying = None
        if self._carry_timer is not None:
            self._carry_timer.cancel()
            self._carry_timer = None
        for _, answer in self._asked.values():
            _settle_with(answer, IntroductionError(Refusal.GONE, "the client is stopped"))
        for call in list(self._calls.values()):
            _settle_with(call.answer, IntroductionError(Refusal.GONE, "the client is stopped"))
        self._offers.clear()


def _settle_with(future: asyncio.Future[bytes] | asyncio.Future[Letter], error: IntroductionError) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # told to whoever waits; where nobody does, nobody need be
