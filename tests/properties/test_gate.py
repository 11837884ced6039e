"""The compiled gate and the machine in Python give strangers the same bytes, and count the same."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

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

HOSTS = ("203.0.113.1", "127.0.0.1", "127.9.9.9", "2001:db8::7", "::1", "fe80::1", "0.0.0.0", "::")
KEY = long_term_key(USER, REALM, PASSWORD)
NONCE = object()
SMALL = st.integers(0, 300)

Attributes = list[tuple[int, Any]]

odd = st.tuples(
    st.sampled_from([0x0002, 0x0031, 0x0032, 0x7FFF, 0x8031, 0x0026, 0x0013]),
    st.binary(max_size=9),
)
seldom: st.SearchStrategy[tuple[int, Any]] = st.one_of(
    odd,
    st.tuples(st.just(int(Attribute.REQUESTED_TRANSPORT)), st.just(17)),
    st.tuples(st.just(int(Attribute.SOFTWARE)), st.text(max_size=60)),
    st.tuples(st.just(int(Attribute.USERHASH)), st.binary(min_size=32, max_size=32)),
    st.tuples(st.just(int(Attribute.PASSWORD_ALGORITHM)), st.just((1, b""))),
)
credentials: st.SearchStrategy[tuple[int, Any]] = st.one_of(
    st.tuples(st.just(int(Attribute.USERNAME)), st.sampled_from([USER, "bobby", "é", "x" * 508])),
    st.tuples(st.just(int(Attribute.REALM)), st.sampled_from([REALM, "other"])),
    st.tuples(st.just(int(Attribute.NONCE)), st.one_of(st.just(NONCE), st.text(max_size=40))),
)
complete = st.just([(int(Attribute.USERNAME), USER), (int(Attribute.REALM), REALM), (int(Attribute.NONCE), NONCE)])


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], Attributes]:
    """Return what to serialise besides the nonce."""
    attributes: Attributes = draw(st.lists(seldom, max_size=4))
    attributes += draw(st.one_of(st.just([]), complete, st.lists(credentials, max_size=4)))
    attributes += draw(st.lists(odd, max_size=2))
    more = {
        "method": draw(st.one_of(st.sampled_from([1, 1, 3, 4, 8, 9, 10, 11]), st.integers(0, 0xFFF))),
        "message_class": draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3])),
        "transaction_id": draw(st.binary(min_size=12, max_size=12)),
        "key": draw(st.sampled_from([None, KEY, KEY, b"another key of 1"])),
        "integrity": draw(st.sampled_from([0x0008, 0x0008, 0x001C, (0x0008, 0x001C)])),
        "fingerprint": draw(st.booleans()),
    }
    return more, attributes


class MixedEntropy(CountingEntropy):
    """The same random values each time, that look like some."""

    def token_bytes(self, size: int) -> bytes:
        return hashlib.shake_128(super().token_bytes(8)).digest(size)


class Pair:
    """A machine and a gate with the same settings."""

    def __init__(self, *, authenticated: bool, answers: int, realm: str = REALM) -> None:
        self.rig = Rig(authenticated=authenticated, source_answers=answers)
        self.rig.credentials.realm = realm
        self.gate: Gate = new_gate(
            self.rig.shared.settings, self.rig.authenticator, binding=True, entropy=MixedEntropy()
        )
        self.passed = 0

    def login(self) -> None:
        """Let the gate know the user."""
        self.gate.remember(USER, KEY, "the user", sole=True)

    def take(self, host: str, port: int, data: bytes) -> str:
        """Give a datagram to both, and compare; what was passed on is the machine's alone."""
        packed = pack_address(host, port)
        client = Client(0, packed, SERVER)
        plain = packed[8:24] if ":" in host else packed[8:12]
        verdict, answer, user = self.gate.judge(plain, port, data, now=self.rig.now)
        counted = Counter(self.rig.machine.answers), self.rig.machine.malformed, self.rig.machine.unanswered
        expected = self.rig.machine.receive(client, data, now=self.rig.now)
        if verdict == "passed on":
            # It counts for the source all the same, as both draw on one account in a server.
            self.rig.machine.answers = dict(counted[0])
            self.rig.machine.malformed, self.rig.machine.unanswered = counted[1:]
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


def nonce_for(pair: Pair, host: str, *, features: bool, age: float) -> str:
    packed = pack_address(host, 1)
    source = packed[8:24] if ":" in host else packed[8:12]
    authenticator = pair.rig.authenticator
    return "" if authenticator is None else authenticator.nonces.make(source, now=pair.rig.now - age, features=features)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(HOSTS),
            st.integers(0, 0xFFFF),
            requests(),
            st.booleans(),
            st.sampled_from([0.0, 0.0, 599.5, 600.5, 700.0, -1.0]),
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
    if known:
        pair.login()
    for host, port, (more, attributes), features, age in sent:
        nonce = nonce_for(pair, host, features=features, age=age)
        filled = [(type_, nonce if value is NONCE else value) for type_, value in attributes]
        pair.take(host, port, serialise(attributes=filled, **more))
    pair.compare_counts()


@given(
    requests(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3),
    st.integers(0, 40),
)
def test_damaged_requests_get_the_same_from_both(
    request: tuple[dict[str, Any], Attributes], features: bool, flips: list[tuple[int, int]], cut: int
) -> None:
    pair = Pair(authenticated=True, answers=0)
    pair.login()
    more, attributes = request
    nonce = nonce_for(pair, HOSTS[0], features=features, age=0.0)
    filled = [(type_, nonce if value is NONCE else value) for type_, value in attributes]
    data = bytearray(serialise(attributes=filled, **more))
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
