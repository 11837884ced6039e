"""Tokens: good for their address, for what was asked for, and for a while."""

from __future__ import annotations

import random

from librats.dht.tokens import SECONDS, Tokens

HOST, OTHER = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8])
HASH = b"h" * 20


class SeededEntropy(random.Random):
    """Numbers that are the same in every run."""

    def token_bytes(self, size: int) -> bytes:
        return self.randbytes(size)

    def randbelow(self, limit: int) -> int:
        return self.randrange(limit)


def test_a_token_is_good_for_its_address_and_its_hash_only() -> None:
    tokens = Tokens(SeededEntropy(1), now=0.0)
    token = tokens.give(HOST, HASH, now=1.0)
    assert len(token) == 8
    assert tokens.accepts(token, HOST, HASH, now=2.0)
    assert not tokens.accepts(token, OTHER, HASH, now=2.0)
    assert not tokens.accepts(token, HOST, b"i" * 20, now=2.0)
    assert not tokens.accepts(b"", HOST, HASH, now=2.0)
    assert not Tokens(SeededEntropy(2), now=0.0).accepts(token, HOST, HASH, now=2.0)


def test_a_token_is_good_for_five_minutes_at_the_least_and_for_ten_at_the_most() -> None:
    for given in (0.0, 299.0, 301.0, 1000.0):
        tokens = Tokens(SeededEntropy(1), now=0.0)
        token = tokens.give(HOST, HASH, now=given)
        assert tokens.accepts(token, HOST, HASH, now=given + SECONDS)
        assert not tokens.accepts(token, HOST, HASH, now=given + 2 * SECONDS)


def test_a_key_does_not_last_longer_where_nobody_asks_for_a_while() -> None:
    tokens = Tokens(SeededEntropy(1), now=0.0)
    token = tokens.give(HOST, HASH, now=0.0)
    assert tokens.accepts(token, HOST, HASH, now=599.0)
    assert not tokens.accepts(token, HOST, HASH, now=600.0)


def test_a_token_from_before_a_long_silence_is_not_taken() -> None:
    tokens = Tokens(SeededEntropy(1), now=0.0)
    token = tokens.give(HOST, HASH, now=0.0)
    assert not tokens.accepts(token, HOST, HASH, now=10_000.0)
