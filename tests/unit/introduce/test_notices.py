"""The bodies of INTRODUCE frames."""

from __future__ import annotations

import pytest

from librats.errors import DecodeError
from librats.introduce.notices import MAX_SEALED, Notice, Op, Refusal

ID = bytes(range(32))

BODIES = {
    Op.ASK: Notice(Op.ASK, 1, peer=ID),
    Op.OFFER: Notice(Op.OFFER, 2, peer=ID, letter=b"sealed"),
    Op.ADD: Notice(Op.ADD, 3, letter=b"more"),
    Op.OPEN_PLACE: Notice(Op.OPEN_PLACE, 17),
    Op.CLOSE_PLACE: Notice(Op.CLOSE_PLACE, 17),
    Op.VISIT: Notice(Op.VISIT, 18, place=7, letter=b"letter"),
    Op.PLACE: Notice(Op.PLACE, 17, place=7),
    Op.VISITED: Notice(Op.VISITED, 19, place=999_999, letter=b"letter"),
    Op.KEY: Notice(Op.KEY, 4, peer=ID),
    Op.ANSWERED: Notice(Op.ANSWERED, 5, letter=b"answer"),
    Op.ADDED: Notice(Op.ADDED, 6, letter=b"more"),
    Op.REFUSED: Notice(Op.REFUSED, 7, code=Refusal.LIMIT, words="too much"),
    Op.SERVICES: Notice(Op.SERVICES, 0, letter=b"{}"),
    Op.PASSED: Notice(Op.PASSED, 8, peer=ID, letter=b"sealed"),
    Op.PASSED_ADD: Notice(Op.PASSED_ADD, 9, letter=b"more"),
    Op.ANSWER: Notice(Op.ANSWER, 10, letter=b"answer"),
    Op.MORE: Notice(Op.MORE, 11, letter=b"more"),
    Op.CARRY: Notice(Op.CARRY, 13, letter=b"\0sealed"),
    Op.CARRIED: Notice(Op.CARRIED, 14, letter=b"\0sealed"),
    Op.CARRY_BACK: Notice(Op.CARRY_BACK, 15, letter=b"\0sealed"),
    Op.CARRIED_BACK: Notice(Op.CARRIED_BACK, 16, letter=b"\0sealed"),
    Op.DECLINE: Notice(Op.DECLINE, 12, code=Refusal.TAMPERED, words="not for us"),
}


@pytest.mark.parametrize("op", Op)
def test_every_body_is_read_as_it_was_written(op: Op) -> None:
    assert Notice.decode(BODIES[op].encode()) == BODIES[op]


def test_the_bytes_are_those_of_the_specification() -> None:
    assert (
        Notice(Op.OFFER, 0x01020304, peer=ID, letter=b"\xaa\xbb").encode() == b"\x02\x01\x02\x03\x04" + ID + b"\xaa\xbb"
    )
    assert Notice(Op.VISIT, 9, place=0x01020304, letter=b"hi").encode() == b"\x07\0\0\0\x09\x01\x02\x03\x04hi"
    assert Notice(Op.PLACE, 9, place=7).encode() == b"\x17\0\0\0\x09\0\0\0\x07"
    assert Notice(Op.REFUSED, 7, code="gone", words="left").encode() == b"\x14\0\0\0\x07\x04goneleft"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01\0\0\0",
        b"\x01\0\0\0\x01" + ID[:-1],
        b"\x02\0\0\0\x01" + ID,
        b"\x03\0\0\0\x01",
        b"\x03\0\0\0\x01" + bytes(MAX_SEALED + 1),
        b"\x02\0\0\0\x01" + ID + bytes(MAX_SEALED + 1),
        b"\x00\0\0\0\x01" + ID,
        b"\x40\0\0\0\x01" + ID,
        b"\x14\0\0\0\x01",
        b"\x14\0\0\0\x01\x05gone",
        b"\x14\0\0\0\x01\x21" + b"a" * 40,
        b"\x14\0\0\0\x01\x04\xff\xff\xff\xff",
    ],
    ids=lambda body: body[:8].hex() + f"-{len(body)}",
)
def test_a_body_of_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        Notice.decode(body)


def test_a_longest_letter_is_taken_and_long_words_are_cut() -> None:
    longest = Notice(Op.ADD, 1, letter=bytes(MAX_SEALED))
    assert Notice.decode(longest.encode()) == longest
    assert len(Notice.decode(b"\x14\0\0\0\x01\x04gone" + b"w" * 5000).words) == 1024
