"""The system's entropy source."""

from __future__ import annotations

import secrets

import pytest

from librats.runtime.entropy import SystemEntropy
from librats.types import Entropy


def test_the_system_source_is_what_protocol_machines_ask_for() -> None:
    entropy: Entropy = SystemEntropy()
    assert len(entropy.token_bytes(32)) == 32
    assert entropy.token_bytes(0) == b""


def test_values_stay_in_their_range_and_differ() -> None:
    entropy = SystemEntropy()
    integers = [entropy.randbelow(1000) for _ in range(500)]
    floats = [entropy.uniform(-1.5, 2.5) for _ in range(500)]
    assert 0 <= min(integers) < max(integers) < 1000
    assert -1.5 <= min(floats) < 0 < max(floats) <= 2.5
    assert len(set(floats)) > 490
    assert len({entropy.token_bytes(16) for _ in range(500)}) == 500


def test_bytes_and_integers_come_from_the_secrets_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"x" * size)
    monkeypatch.setattr(secrets, "randbelow", lambda limit: limit - 1)
    entropy = SystemEntropy()
    assert entropy.token_bytes(3) == b"xxx"
    assert entropy.randbelow(10) == 9


def test_no_integer_lies_below_zero() -> None:
    with pytest.raises(ValueError, match="positive"):
        SystemEntropy().randbelow(0)
