"""Datagrams that are sealed one by one: each is heard once, whatever comes in between, and only the peer's."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from librats.session.datagrams import OVERHEAD, REPLAY_WINDOW, SealedDatagrams
from librats.session.frames import Kind
from librats.session.path_keys import PathKeys

SECRET = bytes(range(9, 41))


def ends(epoch: int = 0, secret: bytes = SECRET) -> tuple[SealedDatagrams, SealedDatagrams]:
    alice, bob = (SealedDatagrams(PathKeys(secret, initiator=first), epoch) for first in (True, False))
    return alice, bob


def test_each_side_opens_what_the_other_seals() -> None:
    alice, bob = ends()
    for number in range(20):
        payload = bytes([number]) * number
        sealed = alice.seal(Kind.BYTES, payload)
        assert len(sealed) == number + OVERHEAD
        assert bob.open(sealed) == (Kind.BYTES, payload)
        assert alice.open(bob.seal(Kind.TEXT, memoryview(payload))) == (Kind.TEXT, payload)


def test_each_is_heard_once_in_any_order() -> None:
    alice, bob = ends()
    sealed = [alice.seal(Kind.BYTES, b"%d" % number) for number in range(REPLAY_WINDOW)]
    order = list(range(REPLAY_WINDOW)) * 2
    random.Random(5).shuffle(order)  # noqa: S311 - a test that does the same every time
    heard = [opened[1] for number in order if (opened := bob.open(sealed[number])) is not None]
    assert sorted(map(int, heard)) == list(range(REPLAY_WINDOW))
    assert bob.ignored == REPLAY_WINDOW


def test_what_is_older_than_the_window_counts_as_heard() -> None:
    alice, bob = ends()
    sealed = [alice.seal(Kind.BYTES, b"") for _ in range(REPLAY_WINDOW + 2)]
    assert bob.open(sealed[-1]) is not None
    assert bob.open(sealed[1]) is None
    assert bob.open(sealed[2]) is not None
    assert bob.open(sealed[2]) is None


def test_a_leap_forgets_what_is_older_and_nothing_newer() -> None:
    alice, bob = ends()
    sealed = [alice.seal(Kind.BYTES, b"") for _ in range(3 * REPLAY_WINDOW)]
    for number in (0, 3 * REPLAY_WINDOW - 1, 3 * REPLAY_WINDOW - 2):
        assert bob.open(sealed[number]) is not None
        assert bob.open(sealed[number]) is None
    assert bob.open(sealed[0]) is None


def test_a_forged_one_is_ignored_and_spoils_nothing() -> None:
    alice, bob = ends()
    sealed = alice.seal(Kind.BYTES, b"hello")
    for at in range(len(sealed)):
        assert bob.open(sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
        assert bob.open(sealed[:at]) is None
    assert bob.open(b"\xff" * 60) is None
    assert bob.open(sealed) == (Kind.BYTES, b"hello")


def test_directions_paths_and_sessions_have_keys_of_their_own() -> None:
    alice, bob = ends()
    sealed = alice.seal(Kind.BYTES, b"hello")
    assert alice.open(sealed) is None
    assert ends(epoch=2)[1].open(sealed) is None
    assert ends(secret=bytes(32))[1].open(sealed) is None
    assert bob.open(sealed) is not None


def test_a_kind_that_is_not_known_is_dropped() -> None:
    alice, bob = ends()
    cipher = PathKeys(SECRET, initiator=True).datagram_ciphers(0)[0]
    assert bob.open(bytes(8) + cipher.seal(b"\x07what")) is None
    alice.seal(Kind.BYTES, b"")
    assert bob.open(alice.seal(Kind.BYTES, b"next")) == (Kind.BYTES, b"next")


VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "protocol" / "datagrams.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["id"])
def test_vectors(case: dict[str, Any]) -> None:
    keys = [PathKeys(bytes.fromhex(VECTORS["secret"]), initiator=first) for first in (True, False)]
    sender, receiver = keys if case["sender"] == "initiator" else keys[::-1]
    datagram, payload = bytes.fromhex(case["datagram"]), bytes.fromhex(case["payload"])
    assert SealedDatagrams(receiver, case["epoch"]).open(datagram) == (Kind(case["kind"]), payload)
    cipher = sender.datagram_ciphers(case["epoch"])[0]
    cipher.nonce = case["counter"]
    assert datagram[8:] == cipher.seal(bytes([case["kind"]]) + payload)
