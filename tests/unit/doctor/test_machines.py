from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reference.stun_server import binding_reply
from tests.unit.stun.scripted import SeededEntropy

from librats.doctor.clock import ClockCheck, read_answer
from librats.doctor.path_mtu import SIZES, PathMtu
from librats.errors import DecodeError
from librats.types import Address

SERVER, SERVER6 = Address("192.0.2.1", 3478), Address("2001:db8::1", 3478)
OTHER = Address("192.0.2.9", 3478)
US = ("203.0.113.9", 5000)
UNIX_EPOCH = 2_208_988_800
WALL = 1_800_000_000.0


def answer_to(request: bytes) -> bytes:
    reply = binding_reply(request, US, 0, [(SERVER.host, SERVER.port)])
    assert reply is not None
    return reply[1]


def run_probe(server: Address, carried: int, headers: int, lost: int = 0) -> PathMtu:
    """Let a path carry packets of so many bytes, and lose the first requests of each size."""
    now, probe = 0.0, PathMtu(server, entropy=SeededEntropy(), now=0.0)
    seen: dict[int, int] = {}
    while not probe.is_over:
        for _, data, to in probe.datagrams_to_send():
            assert to == server
            seen[len(data)] = seen.get(len(data), 0) + 1
            if len(data) + headers <= carried and seen[len(data)] > lost:
                probe.receive_datagram(answer_to(data), server, now=now)
        due = probe.next_timer()
        if due is not None:
            now = max(now, due)
            probe.handle_timer(now=now)
    assert {size + headers for size in seen} == set(SIZES)
    return probe


@pytest.mark.parametrize(("server", "headers"), [(SERVER, 28), (SERVER6, 48)])
@pytest.mark.parametrize("carried", [576, 1279, 1280, 1420, 1492, 1500, 9000])
@pytest.mark.parametrize("lost", [0, 2])
def test_the_longest_packet_that_gets_through_is_found(server: Address, headers: int, carried: int, lost: int) -> None:
    expected = max(size for size in SIZES if size <= carried)
    assert run_probe(server, carried, headers, lost).largest == expected


def test_a_path_that_carries_nothing_has_no_mtu_and_ends() -> None:
    assert run_probe(SERVER, 0, 28).largest is None


def test_answers_of_others_and_to_nothing_count_for_nothing() -> None:
    probe = PathMtu(SERVER, entropy=SeededEntropy(), now=0.0)
    requests = [data for _, data, _ in probe.datagrams_to_send()]
    probe.receive_datagram(answer_to(requests[-1]), OTHER, now=0.1)
    probe.receive_datagram(answer_to(requests[-1][:8] + bytes(12) + requests[-1][20:]), SERVER, now=0.1)
    probe.receive_datagram(b"\0\1", SERVER, now=0.1)
    assert probe.largest is None


def told(cookie: bytes, received: float, sent: float, *, first: int = 0x24, stratum: int = 2) -> bytes:
    def stamp(seconds: float) -> bytes:
        whole = int(seconds // 1)
        return struct.pack("!II", (whole + UNIX_EPOCH) % (1 << 32), int((seconds - whole) * (1 << 32)))

    return bytes([first, stratum]) + bytes(22) + cookie + stamp(received) + stamp(sent)


@pytest.mark.parametrize("offset", [0.0, 12.5, -86_400.0])
def test_the_offset_is_that_of_the_middle_of_the_round_trip(offset: float) -> None:
    check = ClockCheck(SERVER, entropy=SeededEntropy(), now=100.0, wall=WALL)
    [(_, question, to)] = check.datagrams_to_send()
    assert (len(question), question[0], to) == (48, 0x23, SERVER)
    there = 100.04 + WALL + offset
    check.receive_datagram(told(question[40:], there, there + 0.01), SERVER, now=100.09)
    assert check.is_over
    assert check.offset == pytest.approx(offset, abs=1e-3)


def test_a_time_server_is_asked_again_and_given_up() -> None:
    check = ClockCheck(SERVER, entropy=SeededEntropy(), now=0.0, wall=WALL)
    asked = 0
    while (due := check.next_timer()) is not None:
        asked += len(check.datagrams_to_send())
        check.handle_timer(now=due)
    assert (asked, check.is_over, check.offset) == (3, True, None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer, other: (answer[:47], SERVER),
        lambda answer, other: (bytes([0x23]) + answer[1:], SERVER),
        lambda answer, other: (bytes([0xE4]) + answer[1:], SERVER),
        lambda answer, other: (answer[:1] + b"\0" + answer[2:], SERVER),
        lambda answer, other: (answer[:24] + bytes(8) + answer[32:], SERVER),
        lambda answer, other: (answer, other),
    ],
    ids=["short", "a question", "unsynchronized", "kiss of death", "another question's", "another host's"],
)
def test_answers_that_are_none_are_not_believed(spoil: object) -> None:
    check = ClockCheck(SERVER, entropy=SeededEntropy(), now=0.0, wall=WALL)
    [(_, question, _)] = check.datagrams_to_send()
    data, source = spoil(told(question[40:], WALL, WALL), OTHER)  # type: ignore[operator]
    check.receive_datagram(data, source, now=0.1)
    assert not check.is_over
    assert check.offset is None


def test_the_era_of_2036_is_told_by_our_own_clock() -> None:
    later = (1 << 32) - UNIX_EPOCH + 1000.0
    assert read_answer(told(bytes(8), later, later), around=later + 5).sent == later
    assert read_answer(told(bytes(8), WALL, WALL), around=WALL - 9).sent == WALL


@given(st.binary(max_size=100))
def test_nothing_but_decode_error_escapes(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        read_answer(data, around=WALL)
