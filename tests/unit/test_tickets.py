"""Tickets: written, read, damaged, and of later versions."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from librats.connector import Target
from librats.errors import UsageError
from librats.peers.identity import Identity
from librats.tickets import MAX_ADDRESSES, MAX_INTRODUCERS, Ticket
from librats.types import Address

ALICE = Identity(bytes(range(32)))
RELAY = "ab" * 32
TICKET = Ticket(
    public_key=ALICE.public_key,
    verify_key=ALICE.verify_key,
    addresses=(Address("203.0.113.7", 8080), Address("2001:db8::7", 8081), Address("home.example.org", 8080)),
    introducers=(f"{RELAY}@relay.example.org:3478", f"wss://{RELAY}@relay.example.org"),
    content=bytes(range(32)),
)


def with_fields(*fields: tuple[int, bytes]) -> str:
    """Return a ticket's text, right but for what is in it."""
    written = b"".join(bytes([tag, len(value)]) + value for tag, value in fields)
    return of_bytes(written)


def of_bytes(written: bytes) -> str:
    checksum = hashlib.sha256(b"rats1" + written).digest()[:4]
    return "rats1" + base64.b32encode(written + checksum).decode().rstrip("=").lower()


KEYS = ((1, ALICE.public_key), (2, ALICE.verify_key))


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as refused:
        Ticket.parse(text)
    return str(refused.value)


def test_a_ticket_is_one_word_and_is_read_as_it_was_written() -> None:
    text = str(TICKET)
    assert text.isascii()
    assert text.isalnum()
    assert text == text.lower()
    assert text.startswith("rats1")
    assert Ticket.parse(text) == TICKET
    assert Ticket.parse(f"  {text.upper()}\n") == TICKET
    assert TICKET.peer_id == ALICE.peer_id
    assert TICKET.introducers[1] == f"wss://{RELAY}@relay.example.org:443/librats"


@pytest.mark.vectors("protocol/tickets")
def test_tickets_are_read_as_the_vector_says(case: dict[str, Any]) -> None:
    ticket = Ticket.parse(case["text"])
    assert (ticket.public_key.hex(), ticket.verify_key.hex()) == (case["public_key"], case["verify_key"])
    if case["id"] == "keys":
        assert str(ticket) == case["text"]
        return
    assert ticket.addresses == TICKET.addresses
    assert ticket.introducers == (
        f"{case['introducer']}@relay.example.org:3478",
        f"wss://{case['introducer']}@relay.example.org:443/librats",
    )
    assert ticket.content == bytes(range(32))


def test_a_common_ticket_fits_in_a_short_message() -> None:
    common = replace(TICKET, addresses=TICKET.addresses[:2], introducers=TICKET.introducers[:1], content=b"")
    assert len(str(common)) < 260


@given(data=st.data())
def test_a_ticket_with_a_wrong_or_missing_letter_is_refused(data: st.DataObject) -> None:
    text = str(TICKET)
    at = data.draw(st.integers(5, len(text) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    if letter != text[at]:
        refusal(text[:at] + letter + text[at + 1 :])
    refusal(text[:at] + text[at + 1 :])
    refusal(text[:at])
    refusal(text + letter)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "tickets begin with"),
        ("rats", "tickets begin with"),
        ("203.0.113.7:8080", "tickets begin with"),
        ("rats1", "missing"),
        ("rats2" + "a" * 80, "later version"),
        ("rats1" + "a" * 40 + "1", "'1' in it"),
        ("rats1" + "a" * 40 + "-", "'-' in it"),
        ("rats1" + "a" * 9000, "9005 characters"),
        ("rats1A" + "a" * 40, "capitals"),
    ],
)
def test_what_is_no_ticket_is_refused_in_words_that_help(text: str, problem: str) -> None:
    assert problem in refusal(text)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ((), "public_key has 32 bytes"),
        (KEYS[:1], "verify_key has 32 bytes"),
        ((*KEYS, KEYS[0]), "field 1 is there twice"),
        (((1, b"short"), KEYS[1]), "public_key has 32 bytes"),
        ((*KEYS, (3, b"12345")), "another size"),
        ((*KEYS, (3, bytes(6))), "no address to dial"),
        ((*KEYS, (4, b"example.org:0")), "no address to dial"),
        ((*KEYS, (4, b"exa mple.org:1")), "no host name"),
        ((*KEYS, (4, b"example.org")), "not an address"),
        ((*KEYS, (4, b"\xff:1")), "a text that is none"),
        ((*KEYS, (5, b"\xab" * 32 + b"nowhere")), "an introducer at"),
        ((*KEYS, (5, b"\xab" * 31)), "an introducer at"),
        ((*KEYS, (5, b"\xab" * 32 + b"ftp://example.org")), "an introducer at"),
        ((*KEYS, (6, b"short")), "a hash has 32 bytes"),
        ((*KEYS, (6, b"")), "a hash without a byte"),
        ((*KEYS, *[(3, b"\xcb\x00\x71\x07\x00" + bytes([n])) for n in range(1, MAX_ADDRESSES + 2)]), "at most 16"),
        ((*KEYS, *[(99, b"")] * 63), "more than 64 fields"),
    ],
)
def test_fields_that_cannot_be_are_refused(fields: tuple[tuple[int, bytes], ...], problem: str) -> None:
    assert problem in refusal(with_fields(*fields))


def test_a_ticket_has_64_fields_and_a_host_as_long_as_a_field_at_most() -> None:
    assert Ticket.parse(with_fields(*KEYS, *[(99, b"")] * 62)).peer_id == ALICE.peer_id
    host = "a" * 253
    assert Ticket.parse(str(replace(TICKET, addresses=(Address(host, 1),)))).addresses == (Address(host, 1),)
    with pytest.raises(UsageError, match="no host name"):
        replace(TICKET, addresses=(Address(f"a{host}", 1),))


def test_a_field_that_breaks_off_is_refused() -> None:
    for end in (b"\x03", b"\x03\x06\x01"):
        assert "breaks off" in refusal(of_bytes(b"".join(bytes([tag, 32]) + key for tag, key in KEYS) + end))


def test_unknown_fields_are_skipped() -> None:
    assert Ticket.parse(with_fields((77, b"first"), *KEYS, (200, b""))) == replace(
        TICKET, addresses=(), introducers=(), content=b""
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"public_key": b"short"},
        {"verify_key": "text"},
        {"addresses": (Address("203.0.113.7", 0),)},
        {"addresses": (Address("fe80::1%eth0", 1),)},
        {"addresses": (Address("a" * 260, 1),)},
        {"addresses": (Address("203.0.113.7", 1),) * (MAX_ADDRESSES + 1)},
        {"introducers": ("relay.example.org:3478",)},
        {"introducers": (f"{RELAY}@{'a' * 230}:1",)},
        {"introducers": (f"{RELAY}@relay.example.org:1",) * (MAX_INTRODUCERS + 1)},
        {"content": b"short"},
    ],
)
def test_what_cannot_be_handed_on_makes_no_ticket(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(TICKET, **changes)


@given(written=st.binary(max_size=200))
def test_whatever_is_in_a_ticket_is_read_or_refused(written: bytes) -> None:
    for text in (of_bytes(written), of_bytes(b"".join(bytes([tag, 32]) + key for tag, key in KEYS) + written)):
        try:
            ticket = Ticket.parse(text)
        except UsageError:
            continue
        assert Ticket.parse(str(ticket)) == ticket


@given(text=st.text(max_size=100) | st.text("rats1234567abcz", max_size=100).map("rats1".__add__))
def test_whatever_a_person_writes_is_read_or_refused(text: str) -> None:
    try:
        Ticket.parse(text)
    except UsageError:
        return
    raise AssertionError(text)


def test_a_target_may_be_a_ticket_and_names_its_peer_and_addresses() -> None:
    for given_ in (TICKET, str(TICKET), str(TICKET).upper()):
        target = Target.parse(given_)
        assert (target.peer_id, target.addresses, target.ticket) == (ALICE.peer_id, TICKET.addresses, TICKET)
    assert Target.parse(TICKET, ALICE.peer_id).peer_id == ALICE.peer_id
    with pytest.raises(UsageError, match="another peer's"):
        Target.parse(str(TICKET), "cd" * 32)
    with pytest.raises(UsageError, match="not a whole ticket"):
        Target.parse(str(TICKET)[:-1])


def test_a_host_whose_name_begins_as_tickets_do_is_an_address() -> None:
    assert Target.parse("rats1box:8080").addresses == (Address("rats1box", 8080),)
    assert Target.parse("rats1" + "a" * 40 + ".example:8080").ticket is None
