"""One round of ICE, from two sides' credentials to the pair that they use: checks, roles, nomination and consent."""

from __future__ import annotations

from librats.ice.addresses import AddressPolicy
from librats.ice.bases import Base, LocalCandidates
from librats.ice.candidates import IceCandidate, comparable
from librats.ice.check_list import CheckList
from librats.ice.checks_out import Check, ChecksOut
from librats.ice.consent import Consent
from librats.ice.descriptions import RENOMINATION, IceDescription
from librats.ice.early_checks import EarlyCheck, EarlyChecks
from librats.ice.events import IceRole
from librats.ice.messages import (
    CheckRequest,
    CheckResponse,
    Credentials,
    write_error,
    write_response,
)
from librats.ice.nomination import Nomination
from librats.ice.pairs import CandidatePair, PairState, destination_of, may_pair
from librats.ice.remotes import RemoteCandidates
from librats.ice.settings import IceSettings
from librats.stun.constants import ErrorCode
from librats.types import Address, Entropy

__all__ = ["IceRound", "Sending"]

TRANSACTION_ID_SIZE = 12
TIE_BREAKER_SIZE = 8
MAX_SOURCES = 256
"""Addresses that a peer may send data from."""

MAX_CONFLICTS = 16
"""Times that a peer may refuse our role, which one change of it settles."""
Sending = tuple[int, bytes, Address]
"""Number of a base, datagram, address."""


class IceRound:
    """What belongs to one pair of credentials; a restart begins another one (RFC 8445, 9).

    Args:
        local: This side's credentials.
        candidates: This side's candidates; they are the same in every round.
        role: Who decides.
        policy: Says which addresses are checked.
        settings: Times and limits.
        entropy: For transaction ids and the tie-breaker.
    """

    def __init__(
        self,
        local: Credentials,
        candidates: LocalCandidates,
        *,
        role: IceRole,
        policy: AddressPolicy,
        settings: IceSettings,
        entropy: Entropy,
    ) -> None:
        self.local = local
        """This side's credentials."""
        self.remote: Credentials | None = None
        """The peer's, once they are known."""
        self.role = role
        """Who decides."""
        self.pairs = CheckList(settings.max_pairs)
        """What is checked."""
        self.nomination = Nomination(settings)
        """What was agreed on."""
        self.problem = ""
        """Why it has failed; empty while it has not."""
        self.remotes = RemoteCandidates(policy, max_learnt=settings.max_learnt)
        """The peer's candidates."""
        self.began: float | None = None
        """When checks have begun."""
        self._wants_to_begin = self._is_retired = False
        self._candidates = candidates
        self._settings = settings
        self._entropy = entropy
        self._tie_breaker = self._new_tie_breaker()
        self._checks = ChecksOut(settings)
        self._early = EarlyChecks(settings.max_early)
        self._sources: set[tuple[int, Address]] = set()
        self._consent: Consent | None = None
        self._consent_pair: CandidatePair | None = None
        self._conflicts = 0
        self._next_check = 0.0
        self._outbox: list[Sending] = []

    def _new_tie_breaker(self) -> int:
        return int.from_bytes(self._entropy.token_bytes(TIE_BREAKER_SIZE))

    # What it is

    @property
    def in_use(self) -> CandidatePair | None:
        """The pair that data goes over: the one agreed on, before that the best one that works."""
        if self.problem:
            return None
        return self.nomination.selected or self.pairs.best_valid()

    def knows(self, base: int, address: Address) -> bool:
        """Tell whether the peer has shown that it sends from an address."""
        return (base, comparable(address)) in self._sources

    def waits_for(self, transaction_id: bytes) -> bool:
        """Tell whether an answer is one to a request of this round."""
        return transaction_id in self._checks or (self._consent is not None and self._consent.waits_for(transaction_id))

    def take_datagrams(self) -> list[Sending]:
        """Take what is to be sent."""
        outbox, self._outbox = self._outbox, []
        return outbox

    # What the driver and the peer's description tell

    def set_remote(self, description: IceDescription, *, now: float) -> None:
        """Take the peer's credentials and candidates."""
        self.remote = Credentials(description.ufrag, description.password)
        self.nomination.may_repeat = RENOMINATION in description.options
        for candidate in description.candidates:
            self._take(candidate)
        self.remotes.are_complete = self.remotes.are_complete or description.complete
        self.form()
        self._begin(now)
        for early in self._early.take(description.ufrag):
            self._heed(early.request, early.base, early.address, now)

    def add_remote(self, candidate: IceCandidate, *, proven: bool = False) -> None:
        """Take a candidate of the peer's.

        Args:
            candidate: Its host is an IP address.
            proven: Whether something else than the peer's word says that it is there.
        """
        self._take(candidate, proven=proven)
        self.form()

    def _take(self, candidate: IceCandidate, *, proven: bool = False) -> None:
        if self.remotes.add(candidate, proven=proven):
            address = comparable(candidate.address)
            for pair in self.pairs:
                if comparable(pair.destination) == address and pair.remote.transport == candidate.transport:
                    pair.remote = candidate
            self.pairs.prioritise(self.role)

    def form(self) -> None:
        """Make pairs of what is there now (RFC 8445, 6.1.2)."""
        if self.remote is None:
            return
        for candidate, unlikely in self.remotes.to_check():
            if self._candidates.is_own(candidate):
                continue  # what is sent there comes back to us
            for base in self._candidates.bases.values():
                if not may_pair(base, candidate):
                    continue
                to = destination_of(base, candidate)
                known = self.pairs.find(base.number, to)
                if known is None:
                    self.pairs.add(CandidatePair(base, candidate, to, is_unlikely=unlikely), role=self.role)
                else:
                    known.is_unlikely = unlikely

    def start(self, *, now: float) -> None:
        """Check, as soon as the peer's credentials are there."""
        self._wants_to_begin = True
        self._begin(now)

    def _begin(self, now: float) -> None:
        if self._wants_to_begin and self.remote is not None and self.began is None:
            self.began = self._next_check = now

    def retire(self) -> None:
        """Check nothing more, but keep what works going: another round has begun."""
        self._is_retired = True

    def remove_base(self, number: int) -> None:
        """Give up what goes over a base that is there no more."""
        for pair in list(self.pairs):
            if pair.base.number == number:
                self._fail(pair, "the interface is gone")
                self.pairs.remove(pair)
        self._sources = {source for source in self._sources if source[0] != number}

    def way_failed(self, number: int, address: Address, problem: str) -> None:
        """Give up a pair whose connection did not come about, or has ended."""
        pair = self.pairs.find(number, address)
        if pair is not None and pair.state is not PairState.FAILED:
            self._fail(pair, problem)
        self._sources.discard((number, comparable(address)))

    # What comes

    def receive_request(
        self, request: CheckRequest, unknown: tuple[int, ...], base: int, address: Address, *, now: float
    ) -> None:
        """Take an authentic check of the peer's (RFC 8445, 7.3).

        Args:
            request: The check.
            unknown: Attributes that we would have to understand, and do not.
            base: Number of the base that it came to.
            address: Where it came from.
            now: Monotonic seconds.
        """
        if self.problem or (self.remote is not None and request.peer_ufrag != self.remote.ufrag):
            return
        if unknown:
            refusal = write_error(request.transaction_id, ErrorCode.UNKNOWN_ATTRIBUTE, self.local, unknown=unknown)
            self._outbox.append((base, refusal, address))
            return
        if request.role is self.role and not self._settle_roles(request):
            self._outbox.append(
                (base, write_error(request.transaction_id, ErrorCode.ROLE_CONFLICT, self.local), address)
            )
            return
        self._outbox.append((base, write_response(request.transaction_id, address, self.local), address))
        if len(self._sources) < MAX_SOURCES:
            self._sources.add((base, comparable(address)))
        if self.remote is not None:
            self._heed(request, base, address, now)
        else:
            self._early.keep(EarlyCheck(request, base, address))

    def _settle_roles(self, request: CheckRequest) -> bool:
        """Decide which side gives way (RFC 8445, 7.3.1.1); False where it is the peer."""
        stays = self._tie_breaker >= request.tie_breaker
        if self.role is IceRole.CONTROLLED:
            stays = not stays
        if stays:
            return False
        self._switch_role(self.role.opposite)
        return True

    def _switch_role(self, role: IceRole) -> None:
        self.role = role
        self.pairs.prioritise(role)
        self.nomination.pending = None
        for pair in self.pairs:
            pair.nominating = False
            pair.nominate_on_success = None

    def _heed(self, request: CheckRequest, number: int, address: Address, now: float) -> None:
        """Check the way back, and note a nomination (RFC 8445, 7.3.1.3 to 7.3.1.5)."""
        pair = self.pairs.find(number, address) or self._learn(request, number, address)
        if pair is None:
            return
        pair.requests_received += 1
        pair.checked_at = now
        if pair.state is PairState.IN_PROGRESS:
            self._checks.again(pair, load=self.pairs.being_checked, now=now)
        elif not pair.is_valid:
            self.pairs.trigger(pair)
        if request.use_candidate and self.role is IceRole.CONTROLLED:
            if pair.is_valid:
                self._accept(pair, request.nomination, now)
            else:
                pair.nominate_on_success = request.nomination or 0
        elif pair.is_valid:
            self._follow(pair, now)

    def _learn(self, request: CheckRequest, number: int, address: Address) -> CandidatePair | None:
        base = self._candidates.bases.get(number)
        candidate = None if base is None else self.remotes.learn(base, address, request.priority)
        if base is None or candidate is None:
            return None
        self.pairs.add(CandidatePair(base, candidate, Address(*address)), role=self.role)
        return self.pairs.find(number, address)

    def _accept(self, pair: CandidatePair, number: int | None, now: float) -> None:
        pair.was_nominated = True
        if self.nomination.accepts(pair, number):
            self._select(pair, number, now)

    def _follow(self, pair: CandidatePair, now: float) -> None:
        if self.role is IceRole.CONTROLLED and self.nomination.follows(pair, now=now):
            self._select(pair, None, now)

    def receive_response(self, response: CheckResponse, base: int, address: Address, *, now: float) -> None:
        """Take an authentic answer to a request of ours (RFC 8445, 7.2.5)."""
        if self.problem:
            return
        if self._consent is not None and self._consent.waits_for(response.transaction_id):
            self._renew_consent(self._consent, response, base, address, now)
            return
        check = self._checks.answered(response.transaction_id)
        pair = check.pair
        if response.code == ErrorCode.ROLE_CONFLICT:
            self._yield_role(check)
        elif (base, comparable(address)) != pair.key:
            self._fail(pair, f"the answer has come from {address}")
        elif response.mapped is None:
            self._fail(pair, f"the peer has answered {response.code}")
        else:
            pair.rtt = check.clock.rtt(now)
            self._succeed(check, response.mapped, now)

    def _yield_role(self, check: Check) -> None:
        if check.request.role is self.role:
            self._switch_role(self.role.opposite)
            self._tie_breaker = self._new_tie_breaker()  # RFC 8445, 7.2.5.1
        self._conflicts += 1
        if self._conflicts > MAX_CONFLICTS:
            self._fail(check.pair, "the peer refuses either role")
            return
        check.pair.nominating = False
        if check.pair.is_valid:
            self.nomination.drop(check.pair)
        self.pairs.trigger(check.pair)

    def _renew_consent(
        self, consent: Consent, response: CheckResponse, base: int, address: Address, now: float
    ) -> None:
        pair = self._consent_pair
        if pair is None or (base, comparable(address)) != pair.key:
            return
        if response.code == ErrorCode.FORBIDDEN:
            consent.revoke(now)
        elif response.mapped is not None:
            pair.rtt = consent.answered(response.transaction_id, now=now)
            pair.responses_received += 1
            pair.answered_at = now
            self._note_mapped(pair, response.mapped)

    def _succeed(self, check: Check, mapped: Address, now: float) -> None:
        pair = check.pair
        pair.responses_received += 1
        pair.answered_at = now
        pair.problem = ""
        self._sources.add(pair.key)
        self._note_mapped(pair, mapped)
        if not pair.is_valid:
            pair.state = PairState.SUCCEEDED
            pair.valid_since = now
            self.pairs.thaw(pair.foundation)
        if pair.nominate_on_success is not None:
            number, pair.nominate_on_success = pair.nominate_on_success, None
            if self.role is IceRole.CONTROLLED:
                self._accept(pair, number or None, now)
        self._follow(pair, now)
        if pair.nominating:
            pair.nominating = False
            self.nomination.pending = None
            self._select(pair, check.request.nomination, now)

    def _note_mapped(self, pair: CandidatePair, mapped: Address) -> None:
        """Note where the peer sees us, which may be an address that nobody knew of (RFC 8445, 7.2.5.3.1)."""
        number = pair.base.number
        if pair.mapped is not None and comparable(pair.mapped.address) == comparable(mapped):
            return
        found = self._candidates.find(number, mapped) or self._candidates.add_learnt(number, mapped)
        pair.mapped = found or pair.mapped

    def _select(self, pair: CandidatePair, number: int | None, now: float) -> None:
        self.nomination.select(pair, number, now=now)

    def _fail(self, pair: CandidatePair, problem: str) -> None:
        pair.state = PairState.FAILED
        pair.problem = problem
        pair.nominating = False
        self._checks.cancel(pair)
        self.nomination.drop(pair)

    # What time brings

    def advance(self, *, now: float, gathers: bool) -> None:
        """Do what is due: send, give up, nominate, renew.

        Args:
            now: Monotonic seconds.
            gathers: Whether this side may yet have more candidates.
        """
        if self.began is None or self.problem:
            return
        self._watch_checks(now)
        self._watch_consent(now)
        self._nominate(now)
        self._send_checks(now)
        self._judge(now, gathers)

    def _watch_checks(self, now: float) -> None:
        due, over = self._checks.due(now)
        for check in over:
            self._fail(check.pair, "no answer")
        for check in due:
            self._send(check)

    def _send(self, check: Check) -> None:
        check.pair.requests_sent += 1
        self._outbox.append((check.pair.base.number, check.datagram, check.pair.destination))

    def _watch_consent(self, now: float) -> None:
        pair = self.in_use
        if pair is not self._consent_pair:
            self._consent_pair = pair
            self._consent = None
            if pair is not None:
                self._consent = Consent(self._settings, self._entropy, now=pair.answered_at)
        consent = self._consent
        if consent is None or pair is None:
            return
        consent.renew(pair.answered_at)
        if consent.is_lost(now):
            self._fail(pair, "the peer answers no more")
            self._watch_consent(now)
            if self.in_use is None:
                self.problem = "the peer answers no more"
        elif consent.is_due(now):
            request = self._new_request(pair.base, use_candidate=False)
            consent.asked(request.transaction_id, now=now)
            pair.requests_sent += 1
            assert self.remote is not None  # noqa: S101 - without it nothing works
            self._outbox.append((pair.base.number, request.write(self.remote), pair.destination))

    def _nominate(self, now: float) -> None:
        pair = self._next_nominated()
        if pair is not None and now >= self.nomination.due_at(pair, self.pairs):
            self.nomination.pending = pair
            pair.nominating = True
            self._check(pair, now, number=self.nomination.next_number())

    def _next_nominated(self) -> CandidatePair | None:
        if self.role is not IceRole.CONTROLLING or self._is_retired:
            return None
        pair = self.nomination.candidate(self.pairs)
        return pair if pair is not None and pair.transaction is None else None

    def _send_checks(self, now: float) -> None:
        # What the peer has called for goes at once, and puts off what it has not.
        while (pair := self.pairs.next_triggered()) is not None:
            self._check(pair, now)
            self._next_check = max(self._next_check, now + self._settings.pace)
        if now >= self._next_check and (pair := self._next_ordinary(now)) is not None:
            self._check(pair, now)
            self._next_check = now + self._settings.pace

    def _next_ordinary(self, now: float) -> CandidatePair | None:
        if self._is_retired or not self.nomination.still_looks(now):
            return None
        selected = self.nomination.selected
        return self.pairs.next_ordinary(-1 if selected is None else selected.priority)

    def _check(self, pair: CandidatePair, now: float, number: int | None = None) -> None:
        assert self.remote is not None  # noqa: S101 - checks begin when it is known
        if not pair.is_valid:
            pair.state = PairState.IN_PROGRESS
        request = self._new_request(pair.base, use_candidate=pair.nominating, nomination=number)
        load = self.pairs.being_checked
        self._send(self._checks.add(pair, request, request.write(self.remote), load=load, now=now))

    def _new_request(self, base: Base, *, use_candidate: bool, nomination: int | None = None) -> CheckRequest:
        return CheckRequest(
            transaction_id=self._entropy.token_bytes(TRANSACTION_ID_SIZE),
            peer_ufrag=self.local.ufrag,
            priority=base.learnt_priority,
            role=self.role,
            tie_breaker=self._tie_breaker,
            use_candidate=use_candidate,
            nomination=nomination,
        )

    def _judge(self, now: float, gathers: bool) -> None:
        """Give up where nothing works and nothing can come that does."""
        assert self.began is not None  # noqa: S101 - it is looked at while it runs
        if self.problem or self.in_use is not None:
            return
        if now >= self.began + self._settings.timeout:
            self.problem = f"no pair works after {self._settings.timeout:g} seconds"
        elif self._may_give_up(gathers) and now >= self.began + self._settings.patience:
            self.problem = "no pair works" if len(self.pairs) else "no candidate of the peer's may be checked"

    def _may_give_up(self, gathers: bool) -> bool:
        return self.pairs.all_failed and not gathers and not self.remotes.may_grow

    def next_timer(self, *, gathers: bool) -> float | None:
        """Return when :meth:`advance` is to be called; None where nothing is waited for."""
        if self.began is None or self.problem:
            return None
        times = self._checks.times
        if self._next_ordinary(self._next_check) is not None:
            times.append(self._next_check)
        if self._consent is not None:
            times.append(self._consent.next_timer)
        if self.in_use is None:
            times.append(self.began + self._settings.timeout)
            if self._may_give_up(gathers):
                times.append(self.began + self._settings.patience)
        if (pair := self._next_nominated()) is not None:
            times.append(self.nomination.due_at(pair, self.pairs))
        return min(times, default=None)
