"""Long-term credentials: challenges, stale nonces, protection against weakening, and logins that change."""

from __future__ import annotations

from typing import Any

import pytest
from tests.reference.turn_run import PEER, SERVER, TurnRun
from tests.reference.turn_server import ALGORITHMS, ReferenceServer

from librats._core.stun import StunMessage, parse, serialise
from librats.errors import RatsError, TurnError, UsageError
from librats.stun.constants import Attribute, MessageClass, Method
from librats.stun.credentials import SecurityFeature, nonce_with_features
from librats.turn.allocation_events import TurnAllocated, TurnLost
from librats.turn.client_auth import Authentication, Login
from librats.turn.client_events import AllocationFailed, CredentialsWanted, RequestDone, RequestFailed

BOB = Login("bob", "secret")
USERS = {"bob": "secret"}
ID = b"twelve bytes"


def challenge(nonce: str, algorithms: Any = None, realm: str = "example.org") -> StunMessage:
    attributes: list[tuple[int, Any]] = [(Attribute.ERROR_CODE, (401, "")), (Attribute.REALM, realm)]
    attributes.append((Attribute.NONCE, nonce))
    if algorithms is not None:
        attributes.append((Attribute.PASSWORD_ALGORITHMS, algorithms))
    return parse(serialise(Method.ALLOCATE, MessageClass.ERROR_RESPONSE, ID, attributes))


def authentication() -> Authentication:
    made = Authentication()
    made.set_login(BOB)
    return made


def test_a_login_does_not_show_its_password() -> None:
    assert "secret" not in repr(BOB)


def test_a_plain_challenge_is_answered_with_sha1() -> None:
    auth = authentication()
    auth.take_challenge(challenge("n1"))
    assert auth.integrity == Attribute.MESSAGE_INTEGRITY
    assert auth.attributes() == [
        (Attribute.USERNAME, "bob"),
        (Attribute.REALM, "example.org"),
        (Attribute.NONCE, "n1"),
    ]


def test_a_modern_challenge_is_answered_with_sha256_and_a_hidden_name() -> None:
    run = TurnRun(ReferenceServer(USERS, modern=True), login=BOB)
    run.run(1.0)
    assert run.of(TurnAllocated)
    _, signed = run.server.requests[-1]
    assert signed.integrity_type == Attribute.MESSAGE_INTEGRITY_SHA256
    assert signed.get(Attribute.USERNAME) is None
    assert signed.get(Attribute.PASSWORD_ALGORITHM) == (2, b"")
    assert signed.get(Attribute.PASSWORD_ALGORITHMS) == ALGORITHMS


def test_md5_is_used_where_a_modern_server_has_nothing_better() -> None:
    auth = authentication()
    auth.take_challenge(challenge(nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "n"), ((1, b""),)))
    assert (Attribute.PASSWORD_ALGORITHM, (1, b"")) in auth.attributes()
    assert auth.integrity == Attribute.MESSAGE_INTEGRITY_SHA256
    assert (Attribute.USERNAME, "bob") in auth.attributes()


def test_password_algorithms_that_the_nonce_promises_cannot_be_taken_away() -> None:
    with pytest.raises(TurnError, match="somebody removes"):
        authentication().take_challenge(challenge(nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "n")))


def test_what_a_server_once_offered_cannot_be_taken_away_later() -> None:
    auth = authentication()
    auth.take_challenge(challenge(nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "n"), ALGORITHMS))
    with pytest.raises(TurnError, match="somebody removes"):
        auth.take_challenge(challenge("plain"))
    assert auth.integrity == Attribute.MESSAGE_INTEGRITY_SHA256


def test_unknown_algorithms_alone_are_refused() -> None:
    with pytest.raises(TurnError, match="not known"):
        authentication().take_challenge(
            challenge(nonce_with_features(SecurityFeature.PASSWORD_ALGORITHMS, "n"), ((9, b""), (2, b"odd")))
        )


def test_weakening_ends_the_attempt_with_an_error() -> None:
    server = ReferenceServer(USERS, modern=True)
    run = TurnRun(server, login=BOB, start=False)
    run.copies = lambda _: ()
    run.client.start()
    run.pump()
    request = parse(run.sent[0])
    weak: list[tuple[int, Any]] = [(Attribute.ERROR_CODE, (401, "")), (Attribute.REALM, server.realm)]
    weak.append((Attribute.NONCE, server.nonce))
    answer = serialise(Method.ALLOCATE, MessageClass.ERROR_RESPONSE, request.transaction_id, weak)
    run.client.receive_datagrams([(answer, SERVER)], now=run.now)
    run.pump()
    [failed] = run.of(AllocationFailed)
    assert "somebody removes" in str(failed.error)
    assert len(run.sent) == 1  # nothing was signed


def test_a_wrong_password_is_told() -> None:
    run = TurnRun(ReferenceServer(USERS), login=Login("bob", "guess"))
    run.run(60.0)
    [failed] = run.of(AllocationFailed)
    assert isinstance(failed.error, TurnError)
    assert failed.error.code == 401
    assert len(run.server.requests) < 6


def test_a_server_that_wants_credentials_gets_none_where_there_are_none() -> None:
    run = TurnRun(ReferenceServer(USERS))
    run.run(60.0)
    [failed] = run.of(AllocationFailed)
    assert "wants a username" in str(failed.error)


@pytest.mark.parametrize("modern", [False, True])
def test_a_stale_nonce_costs_one_more_round_trip(modern: bool) -> None:
    server = ReferenceServer(USERS, modern=modern)
    server.nonce_limit = 2
    run = TurnRun(server, login=BOB, keep_alive=10.0)
    run.run(600.0)
    assert not run.of(TurnLost)
    assert server.nonces > 10


def test_requests_under_way_together_share_a_new_nonce() -> None:
    run = TurnRun(ReferenceServer(USERS), login=BOB)
    run.run(1.0)
    run.server.nonces += 1
    numbers = [run.client.create_permission([f"203.0.113.{n}"], now=run.now) for n in range(5)]
    run.run(1.0)
    assert [event.request for event in run.of(RequestDone)] == numbers
    assert run.server.methods().count(Method.CREATE_PERMISSION) == 10


def test_a_late_challenge_does_not_bring_an_old_nonce_back() -> None:
    run = TurnRun(ReferenceServer(USERS), login=BOB)
    run.run(1.0)
    run.copies = lambda _: ()

    def ask(host: str) -> StunMessage:
        run.client.create_permission([host], now=run.now)
        run.pump()
        return parse(run.sent[-1])

    def stale(request: StunMessage, nonce: str) -> StunMessage:
        """Answer a request, and return what is sent then."""
        attributes = [(Attribute.ERROR_CODE, (438, "")), (Attribute.REALM, "example.org"), (Attribute.NONCE, nonce)]
        answer = serialise(request.method, MessageClass.ERROR_RESPONSE, request.transaction_id, attributes)
        run.client.receive_datagrams([(answer, SERVER)], now=run.now)
        run.pump()
        return parse(run.sent[-1])

    first, second = ask("203.0.113.1"), ask("203.0.113.2")
    assert stale(stale(first, "n1"), "n2").get(Attribute.NONCE) == "n2"
    assert stale(second, "n1").get(Attribute.NONCE) == "n2"


def test_a_server_with_a_new_nonce_for_each_refusal_is_understood() -> None:
    server = ReferenceServer(USERS)
    authenticate = server._authenticate

    def refusing(message: StunMessage) -> tuple[str, bytes] | int:
        found = authenticate(message)
        if isinstance(found, int):
            server.nonces += 1
        return found

    server._authenticate = refusing  # type: ignore[method-assign]
    answers = iter([Login("bob", "old"), BOB])
    run = TurnRun(server, logins=lambda _: next(answers))
    run.run(2.0)
    assert run.of(TurnAllocated)
    assert [event.rejected for event in run.of(CredentialsWanted)] == [False, True]
    assert len(server.requests) == 4


def test_over_a_stream_a_forged_answer_fails_the_request_at_once() -> None:
    run = TurnRun(ReferenceServer(USERS, reliable=True), login=BOB, reliable=True)
    run.run(1.0)
    run.copies = lambda _: ()
    number = run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    request = parse(run.sent[-1])
    answer = serialise(request.method, MessageClass.SUCCESS_RESPONSE, request.transaction_id)
    run.client.receive_data(answer, now=run.now)
    run.pump()
    assert [event.request for event in run.of(RequestFailed)] == [number]


def test_a_server_that_always_calls_the_nonce_stale_is_given_up() -> None:
    server = ReferenceServer(USERS)
    server.nonce_limit = 0
    run = TurnRun(server, login=BOB)
    run.run(60.0)
    [failed] = run.of(AllocationFailed)
    assert isinstance(failed.error, TurnError)
    assert failed.error.code == 438
    assert len(server.requests) < 10


def forge(run: TurnRun, code: int | None, key: bytes | None) -> None:
    """Answer the newest request as somebody who does not know the password."""
    request = parse(run.sent[-1])
    kind = MessageClass.SUCCESS_RESPONSE if code is None else MessageClass.ERROR_RESPONSE
    attributes = [] if code is None else [(Attribute.ERROR_CODE, (code, ""))]
    answer = serialise(request.method, kind, request.transaction_id, attributes, key=key)
    run.client.receive_datagrams([(answer, SERVER)], now=run.now)
    run.pump()


@pytest.mark.parametrize("key", [None, b"a guess"])
@pytest.mark.parametrize("code", [None, 403, 437, 441, 300])
def test_forged_answers_are_ignored_and_the_right_one_is_taken(code: int | None, key: bytes | None) -> None:
    run = TurnRun(ReferenceServer(USERS), login=BOB)
    run.run(1.0)
    number = run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    forge(run, code, key)
    assert run.client.counters.forged == 1
    assert not run.of(RequestFailed)
    assert not run.of(RequestDone)
    run.run(1.0)
    assert [event.request for event in run.of(RequestDone)] == [number]
    assert not run.of(TurnLost)


def test_an_answer_signed_in_another_way_than_the_request_is_forged() -> None:
    run = TurnRun(ReferenceServer(USERS, modern=True), login=BOB)
    run.run(1.0)
    run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    forge(run, None, run.client.authentication.key)
    assert run.client.counters.forged == 1


def test_an_unsigned_refusal_is_the_error_where_nothing_else_comes() -> None:
    run = TurnRun(ReferenceServer(USERS), login=BOB)
    run.run(1.0)
    run.copies = lambda _: ()
    number = run.client.create_permission([PEER.host], now=run.now)
    run.pump()
    forge(run, 400, None)
    run.run(60.0)
    [failed] = [event for event in run.of(RequestFailed) if event.request == number]
    assert isinstance(failed.error, TurnError)
    assert failed.error.code == 400


# Logins that are asked for


def test_a_login_is_asked_for_when_the_server_wants_one() -> None:
    run = TurnRun(ReferenceServer(USERS), logins=lambda _: BOB)
    run.run(1.0)
    assert run.of(TurnAllocated)
    assert run.of(CredentialsWanted) == [CredentialsWanted("example.org", rejected=False)]


def test_a_rejected_login_is_asked_for_once_more() -> None:
    answers = iter([Login("bob", "old"), BOB])
    run = TurnRun(ReferenceServer(USERS), logins=lambda _: next(answers))
    run.run(2.0)
    assert run.of(TurnAllocated)
    assert [event.rejected for event in run.of(CredentialsWanted)] == [False, True]


def test_a_login_that_nobody_can_tell_is_the_error() -> None:
    refusal = UsageError("the password service is away")
    run = TurnRun(ReferenceServer(USERS), logins=lambda _: refusal)
    run.run(2.0)
    [failed] = run.of(AllocationFailed)
    assert failed.error is refusal


def test_a_login_is_asked_for_again_before_it_expires() -> None:
    run = TurnRun(ReferenceServer(USERS), logins=lambda _: BOB, start=False)
    run.login_expires = run.now + 300
    run.client.start()
    run.run(200.0)
    assert len(run.of(CredentialsWanted)) == 1
    run.login_expires = run.now + 1_000_000
    run.run(45.0)
    assert len(run.of(CredentialsWanted)) == 2


def test_another_username_is_kept_until_the_old_one_is_rejected() -> None:
    server = ReferenceServer({"old": "a", "new": "b"})
    run = TurnRun(server, login=Login("old", "a"), keep_alive=15.0)
    run.run(1.0)
    run.client.set_login(Login("new", "b"), expires=None, now=run.now)
    run.run(120.0)
    assert not run.of(TurnLost)
    del server.users["old"]
    run.run(30.0)
    # The allocation belongs to the old name (441), so there is a gap, and the next one has the new name.
    assert len(run.of(TurnLost)) == 1
    assert run.of(TurnAllocated)[-1].again
    assert [allocation.username for allocation in server.allocations.values()][-1] == "new"


def test_another_password_of_the_same_user_is_used_at_once() -> None:
    server = ReferenceServer(dict(USERS))
    run = TurnRun(server, login=BOB, keep_alive=15.0)
    run.run(1.0)
    server.users["bob"] = "changed"
    run.client.set_login(Login("bob", "changed"), expires=None, now=run.now)
    run.run(60.0)
    assert not run.of(TurnLost)


def test_a_callback_that_fails_later_is_asked_again() -> None:
    answers: list[Login | RatsError] = [BOB, UsageError("away"), UsageError("away"), BOB]
    run = TurnRun(ReferenceServer(USERS), logins=lambda _: answers.pop(0), start=False)
    run.login_expires = run.now + 100
    run.client.start()
    run.run(70.0)
    assert not answers
    assert not run.of(TurnLost)


def test_characters_that_are_not_allowed_are_refused() -> None:
    with pytest.raises(UsageError):
        Authentication().set_login(Login("bob\0", "secret"))
