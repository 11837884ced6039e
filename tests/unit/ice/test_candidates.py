from __future__ import annotations

import json
from typing import Any

import pytest

from librats.errors import DecodeError
from librats.ice.candidate_text import candidate_from_json, format_candidate, parse_candidate
from librats.ice.candidates import (
    CandidateType,
    Foundations,
    IceCandidate,
    TcpType,
    candidate_priority,
    pair_priority,
    tcp_local_preference,
    tcp_priority,
)
from librats.types import Address


@pytest.mark.vectors("ice/candidate_priority")
def test_priorities_are_those_of_the_standard(case: dict[str, Any]) -> None:
    kind = CandidateType(case["type"])
    assert candidate_priority(kind, case["local_preference"], case["component"]) == case["priority"]


@pytest.mark.vectors("ice/pair_priority")
def test_priorities_of_pairs_are_those_of_the_standard(case: dict[str, Any]) -> None:
    assert str(pair_priority(case["controlling"], case["controlled"])) == case["pair_priority"]


@pytest.mark.vectors("ice/foundation")
def test_foundations_are_equal_where_the_standard_says_so(case: dict[str, Any]) -> None:
    foundations = Foundations()
    a, b = (
        foundations.of(CandidateType(side["type"]), side["transport"], side["base"], side["server"])
        for side in (case["a"], case["b"])
    )
    assert (a == b) is case["same_foundation"]
    assert a.isalnum()


@pytest.mark.vectors("ice/candidate_lines")
def test_lines_are_read_and_written_as_the_standard_has_them(case: dict[str, Any]) -> None:
    if case["expect"] == "reject":
        with pytest.raises(DecodeError):
            parse_candidate(case["text"])
        return
    fields = case["fields"]
    candidate = parse_candidate(f"a=candidate:{case['text']}")
    related = None if fields["related_address"] is None else Address(fields["related_address"], fields["related_port"])
    found = {
        "foundation": candidate.foundation,
        "component": candidate.component,
        "priority": candidate.priority,
        "address": candidate.address.host,
        "port": candidate.address.port,
        "type": str(candidate.type),
        "tcptype": None if candidate.tcp_type is None else str(candidate.tcp_type),
    }
    assert found == {key: fields[key] for key in found}
    assert candidate.transport == fields["transport"].lower()
    assert candidate.related == related
    generation = candidate.extension("generation")
    assert generation == ("" if fields["generation"] is None else str(fields["generation"]))
    assert parse_candidate(format_candidate(candidate)) == candidate
    assert candidate_from_json(json.loads(json.dumps(candidate.to_json()))) == candidate


LINE = "1 1 udp 2130706431 192.0.2.7 8998 typ host"


@pytest.mark.parametrize(
    "text",
    [
        LINE + " " * 1024,
        LINE.replace(" ", "  "),
        LINE.replace("192.0.2.7", "fe80::1%eth0"),
        LINE.replace("192.0.2.7", "192.0.2.256"),
        LINE.replace("192.0.2.7", "-a.local"),
        LINE.replace("192.0.2.7", "a" * 64 + ".local"),
        LINE.replace("2130706431", "2147483648"),
        LINE.replace("2130706431", "0"),
        LINE.replace("8998", "٣"),
        LINE.replace("udp", "u/dp"),
        LINE.replace("udp", "tcp"),
        LINE.replace("udp", "tcp") + " tcptype both",
        LINE + " name value" * 17,
        LINE + " name \x01",
    ],
)
def test_what_is_not_of_the_form_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_candidate(text)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        [LINE],
        {},
        {"candidate": 7},
        {**parse_candidate(LINE).to_json(), "port": True},
        {**parse_candidate(LINE).to_json(), "port": 10**400},
        {**parse_candidate(LINE).to_json(), "address": "192.0.2.7 1 typ relay"},
        {**parse_candidate(LINE).to_json(), "extensions": [["a"]]},
        {**parse_candidate(LINE).to_json(), "extensions": 3},
    ],
)
def test_json_that_is_no_candidate_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        candidate_from_json(value)


def test_a_candidate_as_browsers_have_it_is_read() -> None:
    value = {"candidate": f"candidate:{LINE}", "sdpMid": "0", "sdpMLineIndex": 0}
    assert candidate_from_json(value).address == Address("192.0.2.7", 8998)


def test_a_tcp_candidate_says_who_connects() -> None:
    candidate = parse_candidate("1 1 TCP 1518280447 198.51.100.1 9 typ host tcptype active generation 0")
    assert (candidate.transport, candidate.tcp_type) == ("tcp", TcpType.ACTIVE)
    assert candidate.extensions == (("generation", "0"),)
    assert format_candidate(candidate).endswith("tcptype active generation 0")


def test_local_preferences_of_tcp_are_those_of_its_standard() -> None:
    # RFC 6544, 4.2: active over passive over simultaneous where nothing is in between, else the last one first.
    direct = [tcp_local_preference(CandidateType.HOST, kind, 8191) for kind in TcpType]
    mapped = [tcp_local_preference(CandidateType.SERVER_REFLEXIVE, kind, 0) for kind in TcpType]
    assert direct == [6 * 8192 + 8191, 4 * 8192 + 8191, 2 * 8192 + 8191]
    assert mapped == [4 * 8192, 2 * 8192, 6 * 8192]


def test_tcp_comes_after_udp_unless_that_takes_a_relay() -> None:
    direct = [kind for kind in CandidateType if kind is not CandidateType.RELAYED]
    best = max(tcp_priority(kind, each, 8191) for kind in direct for each in TcpType)
    worst = min(tcp_priority(kind, each, 0) for kind in direct for each in TcpType)
    assert best < min(candidate_priority(kind, 0) for kind in direct)
    assert worst > candidate_priority(CandidateType.RELAYED, 65535)


def test_a_zone_is_not_told() -> None:
    candidate = IceCandidate(foundation="1", priority=1, address=Address("fe80::1%eth0", 5000), type=CandidateType.HOST)
    assert " fe80::1 5000 " in format_candidate(candidate)
