"""Two that have the same code: something secret goes from one to the other, and nobody guesses twice."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spake2.spake2 import OnlyCallFinishOnce

from librats.codes import exchange
from librats.codes.code import Code
from librats.codes.exchange import CodeGiver, CodeTaker
from librats.errors import TransferError, UsageError

CODE, OTHER = Code(7, ("acorn", "tiger")), Code(7, ("acorn", "zebra"))


def entropy(seed: int) -> exchange.Entropy:
    return random.Random(seed).randbytes  # noqa: S311 - the same in every run


def refused(call: object, *args: bytes) -> str:
    with pytest.raises(TransferError) as refusal:
        call(*args)  # type: ignore[operator]
    return refusal.value.code


def test_whoever_has_the_code_gets_what_is_given() -> None:
    taker, giver = CodeTaker(CODE, os.urandom), CodeGiver(CODE, b"secret" * 1000, os.urandom)
    assert taker.end(giver.proven(taker.prove(giver.begun(taker.begin())))) == b"secret" * 1000
    assert (giver.is_used, giver.is_burnt) == (True, False)


def test_a_secret_that_just_fits_into_a_letter_arrives_and_a_longer_one_is_refused() -> None:
    secret = bytes(12_288 - 1 - 16)
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, secret, entropy(2))
    assert taker.end(giver.proven(taker.prove(giver.begun(taker.begin())))) == secret
    with pytest.raises(UsageError, match="too many"):
        CodeGiver(CODE, secret + b"x", entropy(2))


def test_the_number_of_a_code_has_six_digits_at_most() -> None:
    assert Code(999_999, CODE.words).place == 999_999
    for place in (0, 1_000_000):
        with pytest.raises(UsageError, match="from 1 to 999999"):
            Code(place, CODE.words)


def test_another_code_is_told_to_both_and_burnt() -> None:
    taker, giver = CodeTaker(OTHER, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    answer = giver.proven(taker.prove(giver.begun(taker.begin())))
    assert giver.is_burnt
    assert b"secret" not in answer
    assert refused(taker.end, answer) == "wrong_code"


def test_a_code_is_of_no_use_once_somebody_came() -> None:
    giver = CodeGiver(CODE, b"secret", entropy(2))
    giver.begun(CodeTaker(OTHER, entropy(1)).begin())
    assert refused(giver.begun, CodeTaker(CODE, entropy(3)).begin()) == "wrong_code"


def test_a_proof_is_looked_at_once() -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    proof = taker.prove(giver.begun(taker.begin()))
    assert giver.proven(proof[:-1] + bytes([proof[-1] ^ 1])) == b"\x04"
    assert refused(giver.proven, proof) == "bad_code"


def test_nothing_is_given_without_a_proof() -> None:
    giver = CodeGiver(CODE, b"secret", entropy(2))
    assert refused(giver.proven, b"\x02" + bytes(32)) == "bad_code"


def test_the_number_is_part_of_the_code() -> None:
    taker, giver = CodeTaker(Code(8, CODE.words), entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    giver.proven(taker.prove(giver.begun(taker.begin())))
    assert giver.is_burnt


@pytest.mark.parametrize("flip", [1, 16, -1])
def test_what_is_given_cannot_be_changed_on_its_way(flip: int) -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    sealed = bytearray(giver.proven(taker.prove(giver.begun(taker.begin()))))
    sealed[flip] ^= 1
    assert refused(taker.end, bytes(sealed)) == "wrong_code"


@pytest.mark.parametrize(
    "damaged",
    [lambda letter: b"\x07" + letter[1:], lambda letter: letter[:-1], lambda letter: letter + b"x"],
    ids=["of another kind", "too short", "too long"],
)
def test_a_letter_of_another_kind_or_size_is_refused_and_burns_the_code(damaged: Callable[[bytes], bytes]) -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    first = taker.begin()
    answer = giver.begun(first)
    proof = taker.prove(answer)
    fresh = CodeGiver(CODE, b"secret", entropy(3))
    assert refused(fresh.begun, damaged(first)) == "bad_code"
    assert fresh.is_burnt
    assert refused(giver.proven, damaged(proof)) == "bad_code"
    assert giver.is_burnt
    late = CodeTaker(CODE, entropy(1))
    late.begin()
    assert refused(late.prove, damaged(answer)) == "bad_code"


def test_what_is_given_comes_in_a_letter_of_its_kind_that_is_not_too_long() -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    sealed = giver.proven(taker.prove(giver.begun(taker.begin())))
    assert refused(taker.end, b"\x02" + sealed[1:]) == "bad_code"
    assert refused(taker.end, sealed[:1] + bytes(exchange.MAX_LETTER)) == "bad_code"
    assert taker.end(sealed) == b"secret"


SMALL_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
NO_POINT = (2).to_bytes(32, "little")


@pytest.mark.parametrize(
    "message",
    [b"A" + bytes(31) + b"\x01", b"?" + bytes(32), b"B" + NO_POINT, b"B\x01" + bytes(31), b"B" + SMALL_ORDER],
    ids=["of our own side", "of no side", "no point of the curve", "zero", "outside of the group"],
)
def test_a_message_that_spake2_does_not_take_is_the_peers_mistake(message: bytes) -> None:
    taker = CodeTaker(CODE, entropy(1))
    taker.begin()
    assert refused(taker.prove, b"\x01" + message) == "bad_code"


def test_our_own_message_sent_back_as_the_other_sides_is_refused() -> None:
    taker = CodeTaker(CODE, entropy(1))
    own = taker.begin()
    assert refused(taker.prove, b"\x01B" + own[2:]) == "bad_code"


def test_a_second_answer_is_out_of_turn() -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    answer = giver.begun(taker.begin())
    taker.prove(answer)
    assert refused(taker.prove, answer) == "bad_code"


@pytest.mark.parametrize("mistake", [TypeError("not bytes"), AssertionError(), MemoryError(), AttributeError("start")])
def test_a_mistake_of_ours_is_not_told_as_the_peers(monkeypatch: pytest.MonkeyPatch, mistake: Exception) -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    answer = giver.begun(taker.begin())

    def finish(_: bytes) -> bytes:
        raise mistake

    monkeypatch.setattr(taker._side, "finish", finish)
    with pytest.raises(type(mistake)):
        taker.prove(answer)


def test_what_runs_twice_by_our_mistake_is_told_as_that() -> None:
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    answer = giver.begun(taker.begin())
    taker._side.finish(answer[1:])
    with pytest.raises(OnlyCallFinishOnce):
        taker.prove(answer)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([0, 1, 2]))
def test_any_letter_is_taken_or_refused(letter: bytes, kind: int) -> None:
    letter = bytes([kind + 1]) + letter
    taker, giver = CodeTaker(CODE, entropy(1)), CodeGiver(CODE, b"secret", entropy(2))
    first = taker.begin()
    calls = [(giver.begun, letter), (taker.prove, letter)]
    fresh = CodeGiver(CODE, b"secret", entropy(3))
    proof = CodeTaker(CODE, entropy(4))
    proof.begin()
    fresh.begun(first)
    calls.append((fresh.proven, letter))
    for call, what in calls:
        answer, code = b"", "bad_code"
        try:
            answer = call(what)
        except TransferError as error:
            code = error.code
        assert code in {"bad_code", "wrong_code"}
        assert b"secret" not in answer


def test_too_much_is_not_given() -> None:
    with pytest.raises(UsageError):
        CodeGiver(CODE, bytes(20_000), os.urandom)


def test_without_the_package_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "spake2", None)
    with pytest.raises(UsageError, match=r"librats\[files\]"):
        CodeTaker(CODE, os.urandom)
