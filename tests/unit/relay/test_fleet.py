"""The fleet of a relay: what its URL may be."""

from __future__ import annotations

import contextlib

import pytest

from librats.errors import ConfigError
from librats.relay.fleet import Fleet
from librats.runtime.entropy import SystemEntropy
from librats.turn.serving.quotas import QuotaLimits, Quotas


@pytest.mark.parametrize("url", ["redis://:hunter2/x@host:6379", "redis://:hunter2#x@host:6379", "redis://host:99999"])
def test_a_password_that_is_not_escaped_is_not_told(url: str) -> None:
    pytest.importorskip("redis")
    quotas = Quotas(QuotaLimits(), contextlib.nullcontext())
    with pytest.raises(ConfigError) as caught:
        Fleet(url, "rats", quotas, entropy=SystemEntropy())
    assert caught.value.field == "fleet"
    assert "hunter2" not in str(caught.value)
