"""The hello frame: what a peer tells about itself, and what is taken from a stranger's."""

from __future__ import annotations

import json

import pytest

from librats.errors import DecodeError
from librats.peers.hello import Hello
from librats.types import Address


def test_what_one_side_says_is_what_the_other_hears() -> None:
    said = Hello(listen=["192.0.2.7:8081", "[2001:db8::7]:8081"], observed="198.51.100.4:40000")
    heard = Hello.decode(said.encode())
    assert heard == said
    assert heard.addresses == [Address("192.0.2.7", 8081), Address("2001:db8::7", 8081)]


def test_an_empty_hello_is_fine() -> None:
    assert Hello.decode(b"{}") == Hello()
    assert Hello.decode(b"{}").addresses == []


def test_members_of_later_versions_are_ignored() -> None:
    assert Hello.decode(b'{"listen":["192.0.2.7:1"],"colour":{"deep":[1]}}').listen == ["192.0.2.7:1"]


@pytest.mark.parametrize(
    "text", ["", "host.example:80", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:99999", "::1:80", "[::1]", "a@b:1", "\0:1"]
)
def test_what_is_no_address_with_a_port_is_left_out(text: str) -> None:
    assert Hello(listen=[text, "192.0.2.7:80"]).addresses == [Address("192.0.2.7", 80)]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"7",
        b"{",
        b"\xff\xfe",
        b'{"listen":"192.0.2.7:80"}',
        b'{"listen":[7]}',
        b'{"observed":null}',
        b'{"listen":["\xff"]}',
        b"[" * 4000,
        json.dumps({"listen": ["192.0.2.7:80"] * 17}).encode(),
        json.dumps({"listen": ["x" * 65]}).encode(),
        json.dumps({"observed": "x" * 65}).encode(),
    ],
)
def test_what_does_not_parse_or_says_too_much_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        Hello.decode(body)
