"""The compiled gate and the machine in Python give strangers the same bytes, and count the same."""

from __future__ import annotations

import hashlib
import hmac
import struct
import zlib
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.turn.serving.rig import PASSWORD, REALM, SERVER, USER, CountingEntropy, Rig

from librats._core.gate import Gate
from librats._core.relay import pack_address
from librats._core.stun import parse, serialise
from librats.stun.constants import Attribute, Method
from librats.stun.credentials import long_term_key
from librats.turn.serving.allocation import Client
from librats.turn.serving.strangers import new_gate
from librats.turn.serving.tables import host_of

HOSTS = ("203.0.113.1", "127.0.0.1", "127.9.9.9", "2001:db8::7", "::1", "fe80::1", "0.0.0.0", "::")  # noqa: S104 - one of them is a client's
KEY = long_term_key(USER, REALM, PASSWORD)
NONCE = b"the nonce goes here"
SHA1, SHA256 = 0x0008, 0x001C

Attributes = list[tuple[int, bytes]]


def raw(type_: int, value: Any, transaction: bytes = bytes(12)) -> tuple[int, bytes]:
    """Return an attribute as its bytes."""
    found = parse(serialise(1, 0, transaction, [(type_, value)])).raw(type_)
    assert found is not None
    return int(type_), found


def seal(
    method: int, class_: int, transaction: bytes, attributes: Attributes, guards: list[tuple[int, bytes]], *, crc: bool
) -> bytes:
    """Return a message of any attributes, right or not, with right guards."""
    kind = (method & 0xF) | (method & 0x70) << 1 | (method & 0xF80) << 2 | (class_ & 1) << 4 | (class_ & 2) << 7
    body = b"".join(
        struct.pack(">HH", type_, len(value)) + value + bytes(-len(value) % 4) for type_, value in attributes
    )

    def head(size: int) -> bytes:
        return struct.pack(">HHI", kind, size, 0x2112A442) + transaction

    for guard, key in guards:
        name, size = ("sha1", 20) if guard == SHA1 else ("sha256", 32)
        digest = hmac.digest(key, head(len(body) + 4 + size) + body, name)
        body += struct.pack(">HH", guard, size) + digest
    if crc:
        body += struct.pack(">HHI", 0x8028, 4, zlib.crc32(head(len(body) + 8) + body) ^ 0x5354554E)
    return head(len(body)) + body


ODD_TYPES = (0x0002, 0x0031, 0x0032, 0x7FFF, 0x8031, 0x0026, 0x0013)
READ_TYPES = (0x0006, 0x000C, 0x000D, 0x0012, 0x0014, 0x0015, 0x0017, 0x0019, 0x001D, 0x001E, 0x8002, 0x8030)
PEERS = [
    raw(Attribute.XOR_PEER_ADDRESS, (host, 9 * port)) for host in ("203.0.113.9", "2001:db8::9") for port in (0, 1)
]

odd = st.tuples(st.sampled_from(ODD_TYPES), st.binary(max_size=9))
sound = st.sampled_from(
    [
        raw(Attribute.REQUESTED_TRANSPORT, 17),
        raw(Attribute.LIFETIME, 600),
        raw(Attribute.LIFETIME, 0),
        raw(Attribute.REQUESTED_ADDRESS_FAMILY, 1),
        raw(Attribute.CHANNEL_NUMBER, 0x4001),
        raw(Attribute.CHANNEL_NUMBER, 0x3FFF),
        raw(Attribute.CHANNEL_NUMBER, 0x8000),
        raw(Attribute.SOFTWARE, "a client with a long name, and a version"),
        raw(Attribute.PASSWORD_ALGORITHM, (1, b"")),
        raw(Attribute.USERHASH, bytes(32)),
        *PEERS,
    ]
)
flawed = st.tuples(
    st.sampled_from(READ_TYPES),
    st.one_of(st.binary(max_size=24), st.text(max_size=12).map(str.encode), st.just(b"x" * 764)),
)
credentials = st.one_of(
    st.sampled_from([raw(Attribute.USERNAME, name) for name in (USER, "bobby", "é", "x" * 508)]),
    st.sampled_from([raw(Attribute.REALM, REALM), raw(Attribute.REALM, "other"), (int(Attribute.NONCE), NONCE)]),
)
complete = [raw(Attribute.USERNAME, USER), raw(Attribute.REALM, REALM), (int(Attribute.NONCE), NONCE)]


@st.composite
def requests(draw: st.DrawFn) -> tuple[Any, ...]:
    """Return what to seal."""
    attributes: Attributes = draw(st.lists(st.one_of(sound, odd, flawed), max_size=3))
    attributes += draw(st.one_of(st.just([]), st.just(complete), st.just(complete), st.lists(credentials, max_size=4)))
    attributes += draw(st.lists(st.one_of(sound, sound, sound, odd, flawed), max_size=3))
    key = draw(st.sampled_from([KEY, KEY, KEY, b"another key of 1"]))
    guards = draw(st.sampled_from([[], [SHA1], [SHA1], [SHA1], [SHA256], [SHA1, SHA256]]))
    return (
        draw(st.one_of(st.sampled_from([1, 3, 4, 4, 8, 8, 9, 9, 10, 11]), st.integers(0, 0xFFF))),
        draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2, 3])),
        b"t" + draw(st.binary(min_size=11, max_size=11)),
        attributes,
        [(guard, key) for guard in guards],
        draw(st.booleans()),
    )


def sealed(request: tuple[Any, ...], nonce: bytes) -> bytes:
    method, class_, transaction, attributes, guards, crc = request
    filled = [(type_, nonce if value is NONCE else value) for type_, value in attributes]
    return seal(method, class_, transaction, filled, guards, crc=crc)


class MixedEntropy(CountingEntropy):
    """The same random values each time, that look like some."""

    def token_bytes(self, size: int) -> bytes:
        return hashlib.shake_128(super().token_bytes(8)).digest(size)


class Pair:
    """A machine and a gate with the same settings."""

    def __init__(self, *, authenticated: bool, answers: int, realm: str = REALM, secrets: tuple[str, ...] = ()) -> None:
        self.rig = Rig(authenticated=authenticated, source_answers=answers, secrets=secrets)
        self.rig.credentials.realm = realm
        self.gate: Gate = new_gate(
            self.rig.shared.settings, self.rig.authenticator, binding=True, entropy=MixedEntropy()
        )
        self.passed = 0

    def login(self) -> None:
        """Let the gate know the user."""
        self.gate.remember(USER, KEY, "the user", sole=True)

    def take(self, host: str, port: int, data: bytes, *, allocated: bool = False) -> str:
        """Give a datagram to both, and compare; what was passed on is the machine's alone."""
        machine, now = self.rig.machine, self.rig.now
        packed = pack_address(host, port)
        client = Client(0, packed, SERVER)
        verdict, answer, user = self.gate.judge(host_of(packed), port, data, now=now, allocated=allocated)
        counted = dict(machine.answers), machine.malformed, machine.unanswered
        expected = machine.receive(client, data, now=now)
        if verdict == "passed on":
            machine.answers, machine.malformed, machine.unanswered = counted
            assert user is None or parse(data).check_integrity(KEY)
        else:
            assert answer == (b"" if expected is None else expected.data)
            assert expected is None or expected[:3] == client
        return verdict

    def compare_counts(self) -> None:
        def known(answers: dict[tuple[int, int], int]) -> Counter[tuple[int, int]]:
            total: Counter[tuple[int, int]] = Counter()
            for (method, code), count in answers.items():
                total[method if method < 16 else 0, int(code)] += count
            return total

        machine = self.rig.machine
        assert known(self.gate.answers) == known(machine.answers)
        assert (self.gate.malformed, self.gate.unanswered) == (machine.malformed, machine.unanswered)


def nonce_for(pair: Pair, host: str, *, features: bool, age: float) -> bytes:
    authenticator, now = pair.rig.authenticator, pair.rig.now - age
    if authenticator is None:
        return b""
    return authenticator.nonces.make(host_of(pack_address(host, 1)), now=now, features=features).encode()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(HOSTS),
            st.integers(0, 0xFFFF),
            requests(),
            st.booleans(),
            st.sampled_from([0.0, 0.0, 0.0, 599.5, 600.5, 700.0, -1.0]),
        ),
        min_size=1,
        max_size=6,
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from([REALM, "r", "a realm with a name of its own"]),
)
def test_strangers_get_the_same_from_both(sent: list[Any], authenticated: bool, known: bool, realm: str) -> None:
    pair = Pair(authenticated=authenticated, answers=0, realm=realm)
    if known and realm == REALM:
        pair.login()
    for host, port, request, features, age in sent:
        pair.take(host, port, sealed(request, nonce_for(pair, host, features=features, age=age)))
    pair.compare_counts()


@given(st.lists(requests(), max_size=4))
def test_known_users_are_refused_the_same_by_both(sent: list[Any]) -> None:
    pair = Pair(authenticated=True, answers=0)
    pair.login()
    caller = pair.rig.client(host=HOSTS[0], port=6000)
    caller.allocate()
    pair.rig.machine.answers.clear()
    for request in sent:
        data = sealed(request, nonce_for(pair, HOSTS[0], features=False, age=0.0))
        present = caller.client in pair.rig.machine.tables
        pair.take(HOSTS[0], 6000, data, allocated=present)
    pair.compare_counts()


@given(
    requests(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.integers(0, 40),
)
def test_damaged_requests_get_the_same_from_both(
    request: tuple[Any, ...], features: bool, flips: list[tuple[int, int]], cut: int
) -> None:
    pair = Pair(authenticated=True, answers=0)
    pair.login()
    data = bytearray(sealed(request, nonce_for(pair, HOSTS[0], features=features, age=0.0)))
    for at, value in flips:
        data[at % len(data)] ^= value
    pair.take(HOSTS[0], 7000, bytes(data[: len(data) - cut] if cut < 20 else data))
    pair.compare_counts()


@given(st.binary(max_size=200), st.booleans())
def test_noise_gets_silence_from_both(noise: bytes, shaped: bool) -> None:
    pair = Pair(authenticated=True, answers=0)
    if shaped:
        noise = b"\x00\x01" + len(noise).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + noise
    pair.take(HOSTS[0], 7000, noise)
    pair.compare_counts()


@given(st.lists(st.tuples(st.sampled_from(HOSTS[:4]), st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0])), max_size=30))
def test_sources_get_as_many_answers_from_both(asked: list[tuple[str, float]]) -> None:
    pair = Pair(authenticated=True, answers=3)
    for number, (host, later) in enumerate(asked):
        pair.rig.now += later
        method = Method.BINDING if number % 2 else Method.ALLOCATE
        pair.take(host, 7000, serialise(method, 0, number.to_bytes(12, "big")))
    pair.compare_counts()


@pytest.mark.parametrize("more", range(0, 40, 4))
def test_both_ask_for_names_in_clear_where_others_may_vouch_for_them(more: int) -> None:
    pair = Pair(authenticated=True, answers=0, secrets=("s",))
    request = serialise(Method.ALLOCATE, 0, bytes(12), [(Attribute.SOFTWARE, "x" * more)])
    assert pair.take(HOSTS[0], 7000, request) == "answered"


def test_nonces_that_told_another_thing_of_names_are_good_at_both() -> None:
    for secrets in ((), ("s",)):
        pair = Pair(authenticated=True, answers=0, secrets=secrets)
        pair.login()
        authenticator = pair.rig.authenticator
        assert authenticator is not None
        host = host_of(pack_address(HOSTS[0], 1))
        for names in (True, False):
            nonce = authenticator.nonces.make(host, now=pair.rig.now, features=True, names=names).encode()
            request = (Method.REFRESH, 0, b"t" * 12, [*complete, raw(Attribute.LIFETIME, 600)], [(SHA1, KEY)], True)
            assert pair.take(HOSTS[0], 7000, sealed(request, nonce)) == "passed on"
            assert pair.take(HOSTS[3], 7000, sealed(request, nonce)) == "answered"


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize(
    ("age", "verdict"), [(0.0, "passed on"), (600.0, "passed on"), (601.0, "answered"), (-1.0, "answered")]
)
def test_nonces_are_good_as_long_at_both(features: bool, age: float, verdict: str) -> None:
    pair = Pair(authenticated=True, answers=0)
    pair.login()
    attributes = [*complete, raw(Attribute.LIFETIME, 600)]
    request = (Method.REFRESH, 0, b"t" * 12, attributes, [(SHA1, KEY)], True)
    data = sealed(request, nonce_for(pair, HOSTS[0], features=features, age=age))
    assert pair.take(HOSTS[0], 7000, data) == verdict
    other_host = sealed(request, nonce_for(pair, HOSTS[3], features=features, age=age))
    assert pair.take(HOSTS[0], 7000, other_host) == "answered"
