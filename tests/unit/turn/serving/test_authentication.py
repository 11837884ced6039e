"""Who is let in: long-term credentials, challenges, nonces and time-limited users."""

from __future__ import annotations

import base64
import gc
import hashlib
import hmac
import tracemalloc

import pytest
from tests.unit.turn.serving.rig import PASSWORD, PEER, REALM, SERVER, Rig, code_of

from librats._core.relay import pack_address
from librats._core.stun import parse, serialise
from librats.stun.constants import Attribute, Method
from librats.stun.credentials import (
    PasswordAlgorithm,
    SecurityFeature,
    security_features,
    time_limited_password,
    userhash,
)
from librats.turn.serving.allocation import UDP, Client
from librats.turn.serving.machine import AMPLIFICATION

TRANSPORT = (Attribute.REQUESTED_TRANSPORT, UDP)
DATE = 2_000_000_000


def test_who_has_no_credentials_is_asked_for_them_in_few_bytes() -> None:
    rig = Rig()
    request = serialise(Method.ALLOCATE, 0, bytes(12), [TRANSPORT])
    answer = rig.client().send(request)
    assert answer is not None
    message = parse(answer.data)
    assert code_of(message) == 401
    assert set(message.types()) == {Attribute.ERROR_CODE, Attribute.REALM, Attribute.NONCE}
    assert len(answer.data) <= AMPLIFICATION * len(request)


@pytest.mark.parametrize("more", range(0, 40, 4))
def test_a_challenge_tells_as_much_as_there_is_room_for(more: int) -> None:
    rig = Rig()
    request = serialise(Method.ALLOCATE, 0, bytes(12), [TRANSPORT, (Attribute.SOFTWARE, "x" * more)])
    answer = rig.client().send(request)
    assert answer is not None
    message = parse(answer.data)
    offered = message.get(Attribute.PASSWORD_ALGORITHMS)
    features = security_features(message.get(Attribute.NONCE))
    assert len(answer.data) <= AMPLIFICATION * len(request)
    both = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
    assert (offered, features) == ((((1, b""), (2, b"")), both) if more >= 4 else (None, 0))


def test_clients_that_are_connected_are_told_everything() -> None:
    message = Rig().stream().bare(Method.ALLOCATE, TRANSPORT)
    assert message is not None
    assert message.get(Attribute.PASSWORD_ALGORITHMS) is not None


@pytest.mark.parametrize("algorithm", [None, PasswordAlgorithm.MD5, PasswordAlgorithm.SHA256])
def test_every_password_algorithm_lets_in(algorithm: PasswordAlgorithm | None) -> None:
    client = Rig().client(algorithm=algorithm)
    answer = client.allocate()
    assert code_of(answer) == 0
    assert answer.check_integrity(client.key)
    assert answer.integrity_type == (0x001C if algorithm is PasswordAlgorithm.SHA256 else 0x0008)


def test_a_user_may_be_named_by_a_hash() -> None:
    rig = Rig()
    assert rig.client().code(Method.ALLOCATE, TRANSPORT, by_hash=userhash("bob", REALM)) == 0
    assert rig.client(6001).code(Method.ALLOCATE, TRANSPORT, by_hash=userhash("ann", REALM)) == 401


def test_clients_are_asked_not_to_hide_names_that_others_vouch_for() -> None:
    username = f"{DATE}:ann"
    rig = Rig(users={"bob": "pw"}, secrets=["s"])
    rig.machine.time_difference = DATE - rig.now
    asked = rig.stream().bare(Method.ALLOCATE, TRANSPORT)
    assert asked is not None
    assert security_features(asked.get(Attribute.NONCE)) == SecurityFeature.PASSWORD_ALGORITHMS
    assert asked.get(Attribute.PASSWORD_ALGORITHMS) is not None
    client = rig.client(
        user=username, password=time_limited_password("s", username), algorithm=PasswordAlgorithm.SHA256
    )
    assert code_of(client.allocate()) == 0
    assert client.nonce.startswith("obMatJos2gAAA")


def test_wrong_passwords_and_unknown_users_are_refused_alike() -> None:
    rig = Rig()
    assert code_of(rig.client(password="other").allocate()) == 401
    assert code_of(rig.client(user="ann").allocate()) == 401
    assert rig.ports.open_now == {}


@pytest.mark.parametrize("missing", [Attribute.USERNAME, Attribute.REALM, Attribute.NONCE])
def test_credentials_with_a_part_missing_are_a_bad_request(missing: Attribute) -> None:
    client = Rig().client()
    client.signed(Method.REFRESH)
    parts = {Attribute.USERNAME: "bob", Attribute.REALM: REALM, Attribute.NONCE: client.nonce}
    del parts[missing]
    assert code_of(client.bare(Method.ALLOCATE, TRANSPORT, *parts.items(), key=client.key)) == 400


def test_a_choice_among_password_algorithms_must_be_one_of_those_offered() -> None:
    client = Rig().client()
    client.signed(Method.REFRESH)
    parts = [(Attribute.USERNAME, "bob"), (Attribute.REALM, REALM), (Attribute.NONCE, client.nonce)]
    offered = (Attribute.PASSWORD_ALGORITHMS, ((1, b""), (2, b"")))
    fewer = (Attribute.PASSWORD_ALGORITHMS, ((1, b""),))
    for wrong in (
        [offered],
        [(Attribute.PASSWORD_ALGORITHM, (1, b""))],
        [fewer, (Attribute.PASSWORD_ALGORITHM, (1, b""))],
        [offered, (Attribute.PASSWORD_ALGORITHM, (3, b""))],
        [offered, (Attribute.PASSWORD_ALGORITHM, (1, b"abcd"))],
    ):
        assert code_of(client.bare(Method.ALLOCATE, TRANSPORT, *parts, *wrong, key=client.key)) == 400


def test_a_nonce_is_good_for_its_lifetime_and_then_stale() -> None:
    rig = Rig()
    client = rig.client()
    client.allocate()
    rig.now += 600
    assert client.code(Method.REFRESH) == 0
    rig.now += 1
    answer = client.ask(Method.REFRESH)
    assert code_of(answer) == 438
    client.nonce = answer.get(Attribute.NONCE)
    assert client.code(Method.REFRESH) == 0


def test_a_nonce_is_good_for_one_host_and_all_its_ports() -> None:
    rig = Rig()
    first = rig.client(6000)
    first.allocate()
    second = rig.client(6001)
    second.nonce = first.nonce
    assert code_of(second.allocate()) == 0
    third = rig.client(6002, "203.0.113.2")
    third.nonce = first.nonce
    assert code_of(third.allocate()) == 438


@pytest.mark.parametrize("change", ["cut", "longer", "flipped", "time", "features", "no base64", "no text"])
def test_a_nonce_that_was_not_made_here_is_stale(change: str) -> None:
    rig = Rig()
    client = rig.client()
    client.signed(Method.REFRESH)
    nonce = client.nonce
    client.nonce = {
        "cut": nonce[:-1],
        "longer": nonce + "A",
        "flipped": nonce[:-1] + ("A" if nonce[-1] != "A" else "B"),
        "time": nonce[:13] + "B" + nonce[14:],
        "features": nonce[:9] + "AAAA" + nonce[13:],
        "no base64": nonce[:13] + "!" * 16,
        "no text": "é" * 16,
    }[change]
    assert code_of(client.allocate()) == 438


def test_nonces_of_another_server_are_stale() -> None:
    client, other = Rig().client(), Rig()
    client.signed(Method.REFRESH)
    other.entropy.count = 77
    stranger = Rig()
    stranger.authenticator.nonces.key = b"k" * 32  # type: ignore[union-attr]
    visitor = stranger.client()
    visitor.nonce = client.nonce
    assert code_of(visitor.allocate()) == 438


def time_limited(rig: Rig, username: str, secret: str, port: int = 6000):  # type: ignore[no-untyped-def]
    password = base64.b64encode(hmac.digest(secret.encode(), username.encode(), hashlib.sha1)).decode()
    return rig.client(port, user=username, password=password)


@pytest.mark.parametrize("username", [f"{DATE}:ann", f"ann:{DATE}", str(DATE), f"{DATE}:"])
def test_a_secret_vouches_for_users_until_their_date(username: str) -> None:
    rig = Rig(users={}, secrets=["old", "new"])
    rig.machine.time_difference = DATE - rig.now
    for number, secret in enumerate(["old", "new"]):
        assert code_of(time_limited(rig, username, secret, 6000 + number).allocate()) == 0
    assert code_of(time_limited(rig, username, "none of them", 7000).allocate()) == 401
    rig.machine.time_difference += 1
    assert code_of(time_limited(rig, username, "new", 7001).allocate()) == 401


def test_what_was_allocated_in_time_goes_on_after_the_date() -> None:
    rig = Rig(users={}, secrets=["s"])
    rig.machine.time_difference = DATE - rig.now
    client = time_limited(rig, f"{DATE}:ann", "s")
    client.allocate()
    rig.machine.time_difference += 1000
    assert client.permit(PEER) == client.code(Method.REFRESH) == 0


def test_the_quota_of_time_limited_users_counts_by_name() -> None:
    rig = Rig(users={}, secrets=["s"])
    time_limited(rig, f"{DATE}:ann", "s", 6000).allocate()
    time_limited(rig, f"{DATE + 1}:ann", "s", 6001).allocate()
    assert rig.shared.quotas.by_owner() == {"ann": 2}


def test_without_a_secret_there_are_no_time_limited_users() -> None:
    assert code_of(time_limited(Rig(), f"{DATE}:ann", "").allocate()) == 401


@pytest.mark.parametrize("username", ["9" * 16 + ":ann", "²:ann", ":ann", "x:y"])
def test_what_is_no_date_lets_nobody_in(username: str) -> None:
    assert code_of(time_limited(Rig(users={}, secrets=["s"]), username, "s").allocate()) == 401


def test_new_users_are_known_at_once() -> None:
    rig = Rig()
    client = rig.client(user="ann", password=PASSWORD)
    assert code_of(client.allocate()) == 401
    assert rig.authenticator is not None
    rig.authenticator.credentials = type(rig.credentials)(realm=REALM, users={"ann": PASSWORD})
    assert code_of(client.allocate()) == 0
    assert code_of(rig.client(6001).allocate()) == 401


def test_where_nobody_is_asked_everybody_is_served() -> None:
    rig = Rig(authenticated=False)
    client = rig.client()
    assert code_of(client.bare(Method.ALLOCATE, TRANSPORT)) == 0
    assert code_of(client.bare(Method.CREATE_PERMISSION, (Attribute.XOR_PEER_ADDRESS, PEER))) == 0


def test_a_source_gets_so_many_answers_a_second_before_it_proves_who_it_is() -> None:
    rig = Rig(source_answers=10)
    client = rig.client()
    answers = [client.bare(Method.ALLOCATE, TRANSPORT) for _ in range(12)]
    assert [answer is not None for answer in answers] == [True] * 10 + [False] * 2
    assert rig.machine.unanswered == 2
    rig.now += 1
    assert client.bare(Method.BINDING) is not None


def test_who_has_proven_who_it_is_is_not_limited() -> None:
    rig = Rig(source_answers=2)
    client = rig.client()
    client.allocate()
    assert [client.code(Method.REFRESH) for _ in range(10)] == [0] * 10


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_the_loopback_is_not_limited(host: str) -> None:
    client = Rig(source_answers=1).client(host=host)
    assert all(client.bare(Method.BINDING) for _ in range(5))


def flood(rig: Rig) -> None:
    for number in range(3000):
        address = pack_address(f"203.0.{number % 113}.{number % 250}", 1024 + number)
        request = serialise(Method.ALLOCATE, 0, number.to_bytes(12, "big"), [TRANSPORT])
        rig.machine.receive(Client(0, address, SERVER), request, now=rig.now)


def test_a_flood_of_made_up_sources_holds_no_state() -> None:
    rig = Rig()
    flood(rig)
    assert sum(rig.machine.answers.values()) == 3000
    assert (len(rig.shared.live), rig.shared.reserved, len(rig.machine.tables)) == (0, {}, 0)
    assert rig.shared.quotas.total == 0
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    flood(rig)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000
